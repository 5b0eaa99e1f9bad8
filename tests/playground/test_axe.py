"""The page in each of its states, judged by axe-core."""

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Page, expect

from .conftest import SOURCE, stream

PROPOSALS = [
    {"front": "What is the recto?", "back": "The front of a leaf", "quote": "The recto is the front of a leaf."},
    {"front": "Why is $x^2$ even?", "back": "```\nx = 2\n```", "grounded": False},
    {"front": "Who burned it?", "back": "Nobody knows."},
]


def judge(page: Page, state: str) -> None:
    """Fail where axe-core finds a violation, in light or in dark."""
    for scheme, options in (("light", {}), ("dark", {"runOnly": ["color-contrast"]})):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        found = page.evaluate("options => axe.run({ resultTypes: ['violations'], ...options })", options)
        problems = [
            (rule["id"], [(node["html"], node["failureSummary"]) for node in rule["nodes"]])
            for rule in found["violations"]
        ]
        assert problems == [], f"{state}, {scheme}"


def button(page: Page, name: str):
    return page.get_by_role("button", name=name, exact=True)


@pytest.mark.soak
def test_axe_finds_nothing_in_any_state(page):
    page.evaluate(AXE_SCRIPT)
    judge(page, "empty")
    page.get_by_label("Your text").fill(SOURCE * 10)
    page.get_by_text("Access token").click()
    judge(page, "too long, with the token's field")

    limited = {"status": 429, "json": {"error": "rate_limited", "message": ""}, "headers": {"Retry-After": "60"}}
    page.route("**/generations", lambda route: route.fulfill(**limited), times=1)
    page.get_by_label("Your text").fill(SOURCE)
    button(page, "Make flashcards").click()
    expect(page.locator("#failure")).to_contain_text("You can try again in")
    judge(page, "counting down")
    refused = {"status": 400, "json": {"error": "invalid_request", "message": "It is short and stout."}}
    page.route("**/generations", lambda route: route.fulfill(**refused), times=1)
    button(page, "Make flashcards").click()
    expect(page.locator("#failure")).to_contain_text("It is short and stout.")
    judge(page, "an error with the server's words")
    page.route("**/generations", lambda route: route.fulfill(status=401, json={"error": "unauthorized"}), times=1)
    button(page, "Make flashcards").click()
    expect(page.locator("#failure").get_by_label("Your token")).to_be_visible()
    judge(page, "another token is needed")

    page.get_by_label("Your text").fill(f"{SOURCE}\n[sandbox: stall]")
    button(page, "Make flashcards").click()
    expect(page.locator("#stage")).to_have_text("Writing cards")
    judge(page, "streaming")
    button(page, "Cancel").click()
    expect(page.locator("#notice")).to_be_visible()
    judge(page, "cancelled")
    button(page, "Start over").click()

    page.route("**/generations", lambda route: route.fulfill(**stream(*PROPOSALS, incomplete="max_tokens")), times=1)
    page.get_by_label("Your text").fill(SOURCE)
    button(page, "Make flashcards").click()
    expect(page.locator("math")).to_be_visible()
    button(page, "Accept card 1").click()
    button(page, "Reject card 2").click()
    judge(page, "reviewing")
    button(page, "Edit card 2").click()
    page.get_by_role("textbox", name="Back").fill("")
    button(page, "Save").click()
    judge(page, "editing")
    button(page, "Cancel").click()
    button(page, "Illustrate card 1").click()
    expect(page.locator(".card img")).to_be_visible()
    judge(page, "with a picture")
    button(page, "Study").click()
    button(page, "Turn card 3 to its back").click()
    judge(page, "studying")
    button(page, "Back to review").click()
    button(page, "Accept all").click()
    page.set_viewport_size({"width": 390, "height": 844})
    judge(page, "done, on a phone")

    button(page, "Start over").click()
    page.get_by_label("In the background").check()
    page.get_by_label("Your text").fill(f"{SOURCE}\n[sandbox: http-400]")
    button(page, "Make flashcards").click()
    expect(page.locator("#failure")).to_be_visible()
    page.get_by_label("Your text").fill(f"{SOURCE}\n[sandbox: timeout]")
    button(page, "Make flashcards").click()
    page.get_by_text("Past generations").first.click()
    expect(page.locator(".generation")).to_have_count(2)
    judge(page, "in the background, with the list of past generations")
