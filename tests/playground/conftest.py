"""A real Chromium for the page's tests."""

import json
from collections.abc import Iterator
from uuid import uuid4

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from . import chromium

SOURCE = (
    "A palimpsest is a leaf of parchment whose first writing was scraped off. "
    "The recto is the front of a leaf. The verso is the back of a leaf. The abbey was founded in 1382. "
    "Its library burned down in 1623. A codex is a book of leaves that are bound at one edge. "
    "Brother Anselm copied the chronicle in eleven winters. "
) * 4


def stream(*proposals: dict[str, object], **done: object) -> dict[str, object]:
    """Return what makes a route answer with these proposals as events, and ``done`` with their end."""
    done = {"generation_id": 1, "generated_count": len(proposals), "dropped": {}, "incomplete": None} | done
    events = [("proposal", proposal) for proposal in proposals] + [("done", done)]
    body = "".join(f"event: {name}\ndata: {json.dumps(data)}\n\n" for name, data in events)
    return {"body": body, "content_type": "text/event-stream"}


# How long the page may take on a busy machine.
expect.set_options(timeout=30_000)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    # Not for the whole session: while Playwright runs, other tests of this process cannot use asyncio.run.
    path = chromium.find() or pytest.fail(chromium.MISSING, pytrace=False)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path,
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
            ],
        )
        yield browser
        browser.close()


@pytest.fixture
def problems() -> list[str]:
    """What the page complained of: console errors (CSP violations are among them), exceptions, dialogs."""
    return []


@pytest.fixture
def user_id():
    """Whose page it is."""
    return uuid4()


@pytest.fixture
def page(browser, service, problems, user_id) -> Iterator[Page]:
    """The page with a fresh user's token in its address."""
    context = browser.new_context()
    page = context.new_page()
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("dialog", lambda dialog: (problems.append(dialog.message), dialog.dismiss()))
    page.goto(f"{service.url}/#token={service.token(user_id)}")
    expect(page.get_by_label("Your text")).to_be_visible()
    yield page
    context.close()
    assert [problem for problem in problems if not problem.startswith("Failed to load resource")] == []
