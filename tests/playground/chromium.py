"""Find the Chromium of the page's tests. Run as a script, get one where none is found: `make test` does."""

import os
import shutil
import subprocess
import sys

from playwright.sync_api import sync_playwright

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
    if shutil.which("apt-get") and (root := _root()) is not None:
        _say("Installing Debian's Chromium for the page's tests …")
        apt = [*root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300"]
        _run(*apt, "update")
        _run(*apt, "install", "-y", "--no-install-recommends", "chromium", "fonts-dejavu-core")
        if path := find():
            return path
    _say("Installing Playwright's own Chromium for the page's tests …")
    _run(sys.executable, "-m", "playwright", "install", "chromium")
    return find()


def _starts(path: str) -> bool:
    # Ubuntu's chromium-browser may only say that a snap is needed; Playwright's may lack libraries of the system.
    return _run(path, "--version")


def _root() -> list[str] | None:
    """Return what stands before a command to run it as root without being asked anything, None if nothing does."""
    if os.geteuid() == 0:
        return []
    return ["sudo", "-n"] if _run("sudo", "-n", "true") else None


def _run(*command: str) -> bool:
    try:
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True).returncode == 0
    except OSError:
        return False


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(None if get() else MISSING)
