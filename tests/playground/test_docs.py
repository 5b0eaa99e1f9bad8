"""``/docs`` in a real browser: all of it is ours, its samples work as they are copied, its requests are answered."""

import json
import re
import subprocess
import sys
from urllib.parse import urlsplit

import pytest
import requests
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.soak  # Scalar's page takes seconds for each of them

TELL_VIOLATIONS = "addEventListener('securitypolicyviolation', (event) => console.error(event.violatedDirective))"


@pytest.fixture(scope="module")
def docs(browser, service):
    """``/docs`` at an operation, with a token as an operator's user pastes it; once, since it takes seconds to load."""
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"], reduced_motion="reduce")
    page, problems, asked = context.new_page(), [], set()
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: asked.add(urlsplit(request.url).netloc))
    page.add_init_script(TELL_VIOLATIONS)
    page.goto(f"{service.url}/docs#tag/generations/POST/generations")
    page.get_by_role("textbox", name="Bearer Token").fill(service.token())
    yield page
    context.close()
    assert problems == []
    assert asked == {urlsplit(service.url).netloc}


def sample(page: Page, client: str) -> str:
    """Return the operation's sample for a client, as its button copies it."""
    card = page.get_by_role("group", name="Request Example for post/generations")
    card.get_by_role("button", name="Change code sample language").click()
    page.get_by_role("option", name=client, exact=True).click()
    expect(card.get_by_role("button", name="Change code sample language")).to_contain_text(client)
    card.get_by_role("button", name=re.compile("^Copy .* code$")).click()
    expect(page.get_by_text("Copied", exact=True)).to_have_count(0)
    return page.evaluate("navigator.clipboard.readText()")


def test_axe_finds_nothing(docs):
    """The first one: axe takes the label of a button that was clicked to stand on another background than it does."""
    docs.evaluate(AXE_SCRIPT)
    for scheme, options in (("light", {}), ("dark", {"runOnly": ["color-contrast"]})):
        docs.emulate_media(color_scheme=scheme)
        expect(docs.locator("body")).to_contain_class(f"{scheme}-mode")
        found = docs.evaluate("options => axe.run({ resultTypes: ['violations'], ...options })", options)
        assert [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in found["violations"]] == [], scheme


def test_samples_work_as_they_are_copied(docs):
    python, curl = sample(docs, "http.client"), sample(docs, "Curl")
    for command in ([sys.executable, "-c", python], ["sh", "-c", curl]):
        answer = subprocess.run(command, capture_output=True, check=True).stdout
        assert json.loads(answer)["flashcards_proposals"]
    answer = docs.evaluate(f"async () => (await {sample(docs, 'Fetch')}).json()")
    assert answer["flashcards_proposals"]


def test_each_tag_is_in_the_navigation(docs, service):
    navigation = docs.get_by_role("complementary", name="Sidebar for Recto")
    for tag in requests.get(f"{service.url}/openapi.json", timeout=30).json()["tags"]:
        expect(navigation.get_by_role("link", name=tag["name"], exact=True)).to_be_visible()


def test_a_request_is_tried_on_a_phone(docs):
    docs.set_viewport_size({"width": 390, "height": 844})
    docs.get_by_role("button", name="Open Menu").click()
    docs.get_by_role("link", name="Make flashcard proposals of a source text, and").click()
    expect(docs.get_by_role("banner")).to_contain_text("Make flashcard proposals")
    assert docs.evaluate("document.documentElement.scrollWidth") == 390
    docs.get_by_role("button", name="Test Request (post /generations)").click()
    docs.get_by_role("button", name="Send post request").click()
    expect(docs.get_by_text("200 OK")).to_be_visible()
    assert docs.evaluate("document.documentElement.scrollWidth") == 390
