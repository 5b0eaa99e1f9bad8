"""Find the Chromium of the page's tests. Run as a script, get one where none is found: `make test` does."""

import shutil
import sys

from playwright.sync_api import sync_playwright
from tests.debian import install, runs, say

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MISSING = (
    "The page's tests need Chromium, and none could be installed here: install chromium or google-chrome, "
    "or leave these tests out with `.venv/bin/python -m pytest --ignore tests/playground`."
)


def find() -> str | None:
    """Return the path of a Chromium that starts, under any of its usual names or of Playwright's own; else None."""
    for name in _NAMES:
        if (path := shutil.which(name)) and _starts(path):
            return path
    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if _starts(path) else None


def get() -> str | None:
    """Return what ``find`` does; where that is None, install Debian's package or Playwright's own Chromium first."""
    if path := find():
        return path
    if install("Chromium for the page's tests", "chromium", "fonts-dejavu-core") and (path := find()):
        return path
    say("Installing Playwright's own Chromium for the page's tests …")
    runs(sys.executable, "-m", "playwright", "install", "chromium")
    return find()


def _starts(path: str) -> bool:
    # Ubuntu's chromium-browser may only say that a snap is needed; Playwright's may lack libraries of the system.
    return runs(path, "--version")


if __name__ == "__main__":
    sys.exit(None if get() else MISSING)
