"""Pictures of cards on the page: asked for one after the other, shown, kept, and in the downloaded deck."""

import io
import json
import re
import zipfile
from contextlib import nullcontext
from pathlib import Path

from playwright.sync_api import Page, expect

from .conftest import SOURCE, stream

PICTURES = "**/v1/generations"


def open_cards(page: Page, *fronts: str) -> None:
    """Put cards on the page without asking a model."""
    proposals = [{"front": front, "back": f"The back of {front}"} for front in fronts]
    page.route("**/generations", lambda route: route.fulfill(**stream(*proposals)), times=1)
    page.get_by_label("Your text").fill(SOURCE)
    page.get_by_role("button", name="Make flashcards").click()
    expect(page.locator(".card")).to_have_count(len(fronts))


def button(page: Page, name: str):
    return page.get_by_role("button", name=name, exact=True)


def line(page: Page, number: int = 1):
    return page.locator(".illustration").nth(number - 1)


def picture(page: Page, number: int = 1):
    return page.locator(".card").nth(number - 1).locator("img")


def is_loaded(page: Page, number: int = 1) -> None:
    expect(picture(page, number)).to_be_visible()
    handle = picture(page, number).element_handle()
    page.wait_for_function("image => image.complete && image.naturalWidth > 0", arg=handle)


def refuse(page: Page, status: int, **answer: str) -> None:
    page.route(PICTURES, lambda route: route.fulfill(status=status, json=answer), times=1)


def test_a_card_is_illustrated_and_its_picture_is_kept_and_downloaded(page, problems):
    open_cards(page, "What is a codex?")
    held = []
    page.route(f"{PICTURES}/*", lambda route: route.continue_() if held else held.append(route))
    with page.expect_request(f"{PICTURES}/*"):
        button(page, "Illustrate card 1").click()
    expect(line(page)).to_contain_text("Drawing a picture")
    expect(page.get_by_role("status")).to_have_text("Card 1: Drawing a picture.")
    expect(button(page, "Cancel the picture of card 1")).to_be_focused()
    held[0].continue_()
    expect(page.get_by_role("status")).to_have_text("Card 1: a picture is on its back.")
    is_loaded(page)
    expect(picture(page)).to_have_attribute("alt", "Illustration of: What is a codex?")
    expect(button(page, "Illustrate card 1")).to_be_hidden()
    expect(button(page, "Remove the picture of card 1")).to_be_focused()

    page.reload()
    is_loaded(page)
    button(page, "Accept card 1").click()
    with page.expect_download() as info:
        button(page, "Download Anki deck").click()
    with zipfile.ZipFile(io.BytesIO(Path(info.value.path()).read_bytes())) as deck:
        (name,) = json.loads(deck.read("media")).values()
        assert re.fullmatch(r"recto-[0-9a-f-]{36}\.jpg", name)
        assert deck.read("0").startswith(b"\xff\xd8")
    with page.expect_download() as info:
        button(page, "Download CSV").click()
    assert "recto-" not in Path(info.value.path()).read_text()

    with page.expect_response(lambda answer: answer.request.method == "DELETE") as deleted:
        button(page, "Remove the picture of card 1").click()
    assert deleted.value.status == 204
    expect(button(page, "Illustrate card 1")).to_be_focused()
    expect(picture(page)).to_have_count(0)
    assert problems == []


def test_several_are_made_one_after_the_other_also_over_a_reload(page, problems):
    open_cards(page, "One", "Two", "Three")
    sent = []
    page.on("request", lambda request: sent.append(request.post_data_json) if request.method == "POST" else None)
    page.route(f"{PICTURES}/*", lambda route: None)  # the first is not heard of before the reload
    for number in (1, 2, 3):
        with page.expect_request(f"{PICTURES}/*") if number == 1 else nullcontext():
            button(page, f"Illustrate card {number}").click()
    expect(line(page, 1)).to_contain_text("Drawing a picture")
    expect(line(page, 3)).to_contain_text("Waiting for its turn")
    button(page, "Cancel the picture of card 2").click()
    page.unroute(f"{PICTURES}/*")
    page.reload()
    is_loaded(page, 1)
    is_loaded(page, 3)
    expect(line(page, 2)).to_be_hidden()
    # What was on its way when the page went is sent again, under its own key.
    assert list(dict.fromkeys(body["front"] for body in sent)) == ["One", "Three"]
    assert problems == []


def test_a_picture_that_fails_says_so_and_is_asked_for_anew(page):
    open_cards(page, "What is [sandbox: fails] here?")
    button(page, "Illustrate card 1").click()
    expect(line(page)).to_contain_text("The image model’s provider could not make this picture.")
    expect(page.get_by_role("status")).to_contain_text("Card 1: The image model’s provider could not")
    with page.expect_response(PICTURES) as again:
        button(page, "Try again to illustrate card 1").click()
    assert again.value.status == 202
    expect(button(page, "Dismiss the picture of card 1")).to_be_visible()
    button(page, "Dismiss the picture of card 1").click()
    expect(button(page, "Illustrate card 1")).to_be_focused()


def test_a_canceled_picture_is_canceled_at_the_server_before_the_next_is_asked_for(page):
    open_cards(page, "It does [sandbox: never] end", "Next")
    with page.expect_response(PICTURES):
        button(page, "Illustrate card 1").click()
    button(page, "Illustrate card 2").click()
    with page.expect_response(lambda answer: answer.request.method == "PATCH") as canceled:
        button(page, "Cancel the picture of card 1").click()
    assert canceled.value.status == 200
    is_loaded(page, 2)


def test_every_refusal_is_said_on_the_card(page):
    open_cards(page, "One")
    refuse(page, 402, error="LIMIT_EXCEEDED", message="", resetsAt="2026-12-15T12:00:00Z")
    button(page, "Illustrate card 1").click()
    expect(line(page)).to_contain_text("This month’s pictures are used up. The next ones begin on Dec 15, 2026.")
    expect(button(page, "Try again to illustrate card 1")).to_be_hidden()
    refuse(page, 400, error="VALIDATION_ERROR", message="front asks for what is not made here.")
    button(page, "Illustrate card 1").click()
    expect(line(page)).to_contain_text("no picture of this card. front asks for what is not made here.")
    refuse(page, 404, error="NOT_FOUND", message="")
    button(page, "Illustrate card 1").click()
    expect(line(page)).to_contain_text("This server makes no pictures.")
    refuse(page, 409, error="TOO_MANY_INFLIGHT", message="")
    button(page, "Illustrate card 1").click()
    expect(line(page)).to_contain_text("there is one at a time")
    page.route(PICTURES, lambda route: route.abort(), times=1)
    button(page, "Try again to illustrate card 1").click()
    expect(line(page)).to_contain_text("The server could not be reached.")
    answer = {"status": 429, "json": {"error": "RATE_LIMITED", "message": ""}, "headers": {"Retry-After": "1"}}
    page.route(PICTURES, lambda route: route.fulfill(**answer), times=1)
    button(page, "Try again to illustrate card 1").click()
    expect(line(page)).to_contain_text("This server’s limit is reached. Goes on at")
    is_loaded(page)  # by itself


def test_a_deck_with_a_picture_that_is_gone_is_explained(page):
    open_cards(page, "One")
    button(page, "Accept card 1").click()
    page.route("**/exports/anki", lambda route: route.fulfill(status=404, json={"error": "not_found", "message": ""}))
    button(page, "Download Anki deck").click()
    expect(page.locator("#failure")).to_contain_text("The server does not have one of the pictures any more.")


def test_where_pictures_are_off_nothing_offers_them(page, service):
    def without(route):
        answer = route.fetch()
        route.fulfill(response=answer, body=answer.text().replace(" data-pictures>", ">"))

    page.route(f"{service.url}/", without)
    page.reload()
    open_cards(page, "One")
    page.locator("article").first.press("i")
    expect(line(page)).to_be_hidden()
    expect(button(page, "Illustrate card 1")).to_be_hidden()
    expect(button(page, "Edit card 1")).to_be_visible()


def test_nothing_scrolls_sideways_with_pictures_and_failures(page):
    open_cards(page, "One", "W" * 200)
    page.locator("article").first.press("i")
    is_loaded(page)
    refuse(page, 400, error="VALIDATION_ERROR", message="m" * 300)
    button(page, "Illustrate card 2").click()
    expect(line(page, 2)).to_contain_text("mmm")
    for width in (320, 390, 768, 1024, 1280):
        page.set_viewport_size({"width": width, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
