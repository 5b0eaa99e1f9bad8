"""The page in a real Chromium, against the real service and its sandbox provider."""

import csv
import io
import json
import re
import zipfile
from importlib.resources import files
from pathlib import Path

import pytest
from playwright.sync_api import Download, Locator, Page, Route, expect

from .conftest import SOURCE, stream

EXAMPLE = json.loads((files("recto") / "playground/example.json").read_text())["source_text"]

REFUSALS = [
    (
        401,
        {"error": "unauthorized", "message": "A valid bearer token is needed."},
        "The server did not accept your access token.",
        "Paste a fresh one",
    ),
    (
        400,
        {"error": "invalid_request", "message": "source_text must not contain NUL characters."},
        "The server refused what was sent.",
        "must not contain NUL",
    ),
    (
        429,
        {"error": "rate_limited", "message": ""},
        "You have reached this server’s limit for now.",
        "Wait a little",
    ),
    (
        500,
        {"error": "internal_error", "message": ""},
        "The server failed.",
        "tell the people who run this server",
    ),
    (503, {"error": "unavailable", "message": ""}, "The server cannot work at the moment.", "in a minute"),
    (
        418,
        {"error": "teapot", "message": "Short and stout."},
        "The server refused the request.",
        "Short and stout.",
    ),
    (502, "<html>Bad gateway</html>", "Something other than Recto answered.", "HTTP status 502"),
    (200, "<html>Sign in</html>", "Something other than Recto answered.", "A proxy on the way"),
    (200, {"flashcards_proposals": "none"}, "Something other than Recto answered.", "A proxy on the way"),
]


def generate(page: Page, text: str = SOURCE) -> Locator:
    """The cards after another generation."""
    edit = button(page, "Edit text")
    if edit.is_visible():
        edit.click()
    page.get_by_label("Your text").fill(text)
    page.get_by_role("button", name="Make flashcards").click()
    expect(page.get_by_role("status")).to_have_text(re.compile("arrived"))
    return page.locator(".card")


def card(page: Page, number: int) -> Locator:
    return page.get_by_role("article", name=f"Card {number}", exact=True)


def button(page: Page, name: str) -> Locator:
    return page.get_by_role("button", name=name, exact=True)


def rewrite(page: Page, number: int, front: str, back: str) -> None:
    button(page, f"Edit card {number}").click()
    editor = page.locator(".card").nth(number - 1)
    editor.get_by_role("textbox", name="Front").fill(front)
    editor.get_by_role("textbox", name="Back").fill(back)
    editor.get_by_role("button", name="Save").click()
    expect(button(page, f"Edit card {number}")).to_be_focused()


def download(page: Page, name: str) -> Download:
    with page.expect_download() as info:
        button(page, name).click()
    return info.value


def content(downloaded: Download) -> bytes:
    return Path(downloaded.path()).read_bytes()


def answer_with(page: Page, status: int, body: object, **headers: str) -> None:
    text = body if isinstance(body, str) else json.dumps(body)
    page.route("**/generations", lambda route: route.fulfill(status=status, body=text, headers=headers))


def never_answer(route: Route) -> None:
    """Leave the request open."""


def submit(page: Page, text: str = SOURCE) -> Locator:
    """Press the button; the panel that will explain the failure."""
    edit = button(page, "Edit text")
    if edit.is_visible():
        edit.click()
    page.get_by_label("Your text").fill(text)
    page.get_by_role("button", name="Make flashcards").click()
    return page.locator("#failure")


# The text


def test_a_typed_text_becomes_cards_and_only_this_server_is_called(page, service, problems):
    requests = []
    page.on("request", lambda request: requests.append((request.method, request.url)))
    source = page.get_by_label("Your text")
    source.fill(SOURCE)
    source.press_sequentially("The end.")
    page.get_by_role("button", name="Make flashcards").click()
    expect(page.get_by_role("status")).to_have_text(re.compile(r"^\d+ proposals arrived\.$"))
    expect(card(page, 1)).to_be_focused()
    assert requests == [("POST", f"{service.url}/generations")]
    assert "loaded" in page.evaluate("[...document.fonts].map((font) => font.status)")
    assert problems == []


def test_an_empty_page_shows_a_sample_and_offers_an_example(page):
    sample = page.get_by_role("figure")
    expect(sample).to_contain_text("What is a palimpsest?")
    button(page, "Try an example").click()
    expect(page.get_by_label("Your text")).to_have_value(EXAMPLE)
    expect(page.get_by_role("button", name="Make flashcards")).to_be_focused()
    expect(sample).to_be_hidden()
    expect(button(page, "Try an example")).to_be_hidden()


@pytest.mark.parametrize(
    ("text", "count", "hint", "name", "fits"),
    [
        ("", "0 of 10,000", "at least 1,000", "Make flashcards", False),
        ("a" * 999, "999 of 10,000", "1 more to go", "Make flashcards", False),
        (" \n" + "a" * 1000 + "\t ", "1,000 of 10,000", "", "Make flashcards", True),
        ("😀" * 1000, "1,000 of 10,000", "", "Make flashcards", True),
        ("a" * 10_000, "10,000 of 10,000", "", "Make flashcards", True),
        ("a" * 10_001, "10,001 of 200,000", "section by section", "Split into a deck", True),
        ("a" * 200_001, "200,001 of 200,000", "1 too many", "Make flashcards", False),
    ],
)
def test_the_count_is_of_trimmed_code_points_and_the_button_keeps_to_the_bounds(page, text, count, hint, name, fits):
    page.get_by_label("Your text").fill(text)
    expect(page.locator("#count")).to_have_text(f"{count} characters")
    expect(page.locator("#hint")).to_have_text(hint)
    expect(page.get_by_role("button", name=name)).to_be_enabled(enabled=fits)


def test_a_text_that_is_too_long_is_cut_after_a_sentence_and_can_be_brought_back(page):
    long = "This sentence has exactly forty letters. " * 300
    source = page.get_by_label("Your text")
    source.fill(long)
    button(page, "Shorten to fit").click()
    expect(source).to_have_value(("This sentence has exactly forty letters. " * 243).strip())
    button(page, "Undo").click()
    expect(source).to_have_value(long)


def test_a_text_file_is_opened(page):
    page.locator("#file").set_input_files(
        {"name": "chapter.md", "mimeType": "text/markdown", "buffer": SOURCE.encode()}
    )
    expect(page.get_by_label("Your text")).to_have_value(SOURCE)


def test_a_text_file_is_dropped_anywhere_on_the_page(page):
    page.evaluate(
        """text => {
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File([text], "chapter.txt", { type: "text/plain" }));
            const drop = new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true });
            document.querySelector("h1").dispatchEvent(drop);
        }""",
        "Žluťoučký kůň.",
    )
    expect(page.get_by_label("Your text")).to_have_value("Žluťoučký kůň.")


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("leaf.pdf", b"%PDF-1.7", "“leaf.pdf” is not a text file."),
        ("leaf.txt", b"\x89PNG\r\n\x1a\n", "“leaf.txt” does not hold plain text."),
        ("leaf.txt", b"null\x00", "“leaf.txt” does not hold plain text."),
        ("leaf.txt", b"a" * 800_001, "“leaf.txt” is too large."),
    ],
)
def test_a_file_that_cannot_be_read_is_explained_and_the_text_stays(page, name, content, sentence):
    page.get_by_label("Your text").fill("Mine.")
    page.locator("#file").set_input_files({"name": name, "mimeType": "application/octet-stream", "buffer": content})
    expect(page.get_by_role("heading", name=sentence)).to_be_visible()
    expect(page.locator("#failure")).to_be_focused()
    expect(page.get_by_label("Your text")).to_have_value("Mine.")


def test_where_the_sandbox_makes_the_cards_the_page_says_so_beside_them(page):
    note = page.get_by_text("Sandbox: these cards are made by rule, not by a model.")
    expect(note).to_be_hidden()
    cards = generate(page)
    expect(note).to_be_visible()
    assert note.bounding_box()["y"] < cards.first.bounding_box()["y"]


# The token


def test_the_token_is_taken_from_the_address_and_removed_from_it(page, service):
    assert page.url == f"{service.url}/"
    assert page.evaluate("Object.keys(localStorage).length + document.cookie.length") == 0
    expect(page.locator("#access")).not_to_have_attribute("open", "")
    page.reload()
    generate(page)


def test_without_a_token_it_is_asked_for_where_that_is_said_and_the_call_is_not_made(page, service):
    page.evaluate("sessionStorage.clear()")
    page.reload()
    expect(page.get_by_label("Your token")).to_be_visible()
    failure = submit(page)
    expect(failure).to_contain_text("An access token is needed.")
    expect(failure).to_be_focused()
    page.keyboard.press("Tab")
    expect(failure.get_by_label("Your token")).to_be_focused()
    page.keyboard.insert_text(f"Bearer {service.token()}\n")
    page.keyboard.press("Enter")
    expect(page.locator(".card").first).to_be_visible()
    page.locator("#access summary").click()
    expect(page.get_by_label("Your token")).to_be_visible()


def test_a_page_that_has_a_token_signs_in_and_does_so_again_by_a_button(page, service):
    def with_token(route):
        answer = route.fetch()
        body = answer.text().replace("<html ", f'<html data-token="{service.token()}" ')
        route.fulfill(response=answer, body=body)

    page.route(f"{service.url}/", with_token)
    page.evaluate("sessionStorage.clear()")
    page.reload()
    generate(page)
    page.evaluate("sessionStorage.setItem('recto.token', 'expired')")
    failure = submit(page)
    expect(failure).to_contain_text("The server did not accept your access token.")
    button(page, "Sign in again").click()
    expect(page.locator("#left-out")).to_contain_text("were already here.")
    expect(failure).to_be_hidden()


# The call


def test_the_wait_is_shown_and_can_be_cancelled(page):
    page.route("**/generations", never_answer)
    page.clock.install()
    submit(page)
    expect(button(page, "Cancel")).to_be_focused()
    expect(page.get_by_role("button", name="Make flashcards")).to_be_disabled()
    page.clock.fast_forward(12_000)
    expect(page.get_by_role("timer")).to_have_text(re.compile(r"^1[23] s$"))
    page.clock.fast_forward(60_000)
    expect(page.locator("#progress")).to_contain_text("longer than usual")
    page.keyboard.press("Enter")
    expect(page.locator("#progress")).to_be_hidden()
    expect(page.locator("#notice")).to_contain_text("Cancelled.")
    expect(page.get_by_label("Your text")).to_have_value(SOURCE)
    expect(page.get_by_role("button", name="Make flashcards")).to_be_enabled()


def test_cards_come_as_they_are_written_and_stay_when_the_rest_fails_or_is_cancelled(page):
    submit(page, f"{SOURCE}\n[sandbox: stall]")
    expect(page.locator("#stage")).to_have_text("Writing cards")
    expect(card(page, 1)).to_be_focused()
    came = page.locator(".card").count()
    with page.expect_event("requestfailed"):
        button(page, "Cancel").click()
    expect(page.locator("#notice")).to_contain_text("Cancelled. The cards that came are here")
    expect(page.locator(".card")).to_have_count(came)
    page.get_by_role("button", name="Make flashcards").click()
    expect(page.locator("#left-out")).to_contain_text(f"{came} of {came} were already here.")
    expect(page.locator(".card")).to_have_count(came)
    expect(page.locator("#incomplete")).to_have_text("Not all cards came. The language model took too long.")
    expect(page.get_by_role("status")).to_contain_text("No new proposals arrived. Not all")
    expect(page.get_by_role("heading", name="Proposals")).to_be_focused()
    expect(page.locator("#failure")).to_be_hidden()


def test_events_are_read_whatever_their_bytes_are_torn_into(page):
    read = """async ([text, chunkSize]) => {
        const { readEvents } = await import("/playground/events.js");
        const bytes = new TextEncoder().encode(text);
        const body = new ReadableStream({ start(controller) {
            for (let at = 0; at < bytes.length; at += chunkSize) controller.enqueue(bytes.slice(at, at + chunkSize));
            controller.close();
        } });
        const found = [];
        for await (const { name, id, data } of readEvents(new Response(body))) found.push([name, id, data]);
        return JSON.stringify(found);
    }"""
    text = ': hm\n\nevent: a\nid: 1\ndata: "Ž😀: x"\n\n: hm\n\ndata: 2\n\nevent: lost'
    for chunk_size in range(1, 60):
        assert json.loads(page.evaluate(read, [text, chunk_size])) == [["a", "1", '"Ž😀: x"'], [None, None, "2"]]


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("timeout", "The language model took too long."),
        ("http-429", "The language model is busy."),
        ("http-500", "The language model’s provider failed."),
        ("invalid-json", "The language model answered, but with no usable flashcard."),
    ],
)
def test_a_failing_model_is_explained_with_the_request_to_quote(page, fault, sentence):
    with page.expect_response("**/generations", timeout=40_000) as response:
        failure = submit(page, f"{SOURCE}\n[sandbox: {fault}]\n")
    expect(failure).to_contain_text(sentence)
    expect(failure).to_be_focused()
    expect(page.locator("#request-id")).to_have_text(response.value.header_value("X-Request-ID"))
    expect(button(page, "Try again")).to_be_enabled()


@pytest.mark.parametrize(("status", "body", "sentence", "advice"), REFUSALS)
def test_every_refusal_says_what_happened_and_what_to_do(page, status, body, sentence, advice):
    answer_with(page, status, body, **{"X-Request-ID": "req-42"})
    failure = submit(page)
    expect(failure.get_by_role("heading", name=sentence)).to_be_visible()
    expect(failure).to_contain_text(advice)
    expect(failure).to_contain_text("req-42")
    expect(failure).to_be_focused()
    expect(page.get_by_label("Your token")).to_be_visible(visible=status == 401)
    assert (page.get_by_label("Your token").input_value() == "") is (status == 401)


def test_a_lost_connection_is_explained_and_the_next_try_succeeds(page):
    page.route("**/generations", lambda route: route.abort())
    failure = submit(page)
    expect(failure).to_contain_text("The server could not be reached.")
    page.unroute("**/generations")
    button(page, "Try again").click()
    expect(page.locator(".card").first).to_be_visible()
    expect(failure).to_be_hidden()


def test_a_rate_limit_is_counted_down_until_the_next_try_is_allowed(page):
    page.clock.install()
    page.clock.pause_at(page.evaluate("Date.now()") + 1000)
    answer_with(page, 429, {"error": "rate_limited", "message": ""}, **{"Retry-After": "65"})
    failure = submit(page)
    expect(failure).to_contain_text("You can try again in 1 min 5 s.")
    expect(button(page, "Try again")).to_be_disabled()
    page.clock.run_for(60_000)
    expect(failure).to_contain_text("You can try again in 5 s.")
    page.clock.run_for(5_000)
    expect(failure).to_contain_text("You can try again now.")
    expect(button(page, "Try again")).to_be_enabled()


def test_options_are_sent_if_set_kept_and_explained_at_their_fields(page):
    page.get_by_text("Options", exact=True).click()
    wanted, language, focus = map(page.get_by_label, ("How many cards", "In which language", "About what"))
    wanted.fill("16")
    language.fill("Polish")
    focus.fill(" dates ")
    page.get_by_label("Kind of card").select_option("cloze")
    page.reload()
    expect(page.locator("#chosen")).to_have_text("16 cards, Polish, “dates”, cloze")
    submit(page)
    expect(page.locator("#problem-count")).to_have_text("A whole number from 1 to 15.")
    expect(wanted).to_be_focused()
    expect(page.locator("#failure")).to_be_hidden()
    wanted.fill("2")
    expect(page.locator("#problem-count")).to_be_empty()
    with page.expect_request("**/generations") as request:
        wanted.press("Enter")
    sent = {name: request.value.post_data_json.get(name) for name in ("count", "language", "focus", "style")}
    assert sent == {"count": 2, "language": "pl", "focus": "dates", "style": "cloze"}
    expect(page.locator("#incomplete")).to_have_text("They look like English, not Polish.")
    gap = card(page, 1).get_by_role("img", name="gap")
    expect(gap).to_have_text("____")
    rewrite(page, 2, "Is a gap gone?", "Yes.")
    button(page, "Accept all").click()
    with page.expect_request("**/exports/anki") as request:
        download(page, "Download Anki deck")
    assert [sent.get("style") for sent in request.value.post_data_json["flashcards"]] == ["cloze", None]

    dropped = {"leak": 2, "duplicate": 1}
    wanted.fill("3")
    page.route("**/generations", lambda route: route.fulfill(**stream({"front": "?", "back": "!"}, dropped=dropped)))
    generate(page)
    expect(page.locator("#incomplete")).to_have_text("1 of the 3 cards came.")
    left_out = "The server left out 3 cards: 2 with the answer in the question, 1 said twice."
    expect(page.locator("#left-out")).to_have_text(left_out)


# The cards


def test_a_card_shows_both_sides_and_turns_only_to_be_studied(page):
    page.emulate_media(reduced_motion="reduce")
    first = generate(page).first
    front, back = first.locator(".recto"), first.locator(".verso")
    assert [side.is_visible() and side.get_attribute("aria-hidden") for side in (front, back)] == ["false", "false"]
    expect(button(page, "Turn card 1 to its back")).to_be_hidden()
    expect(page.locator("#passage .is-lit")).not_to_have_count(0)

    button(page, "Study").click()
    expect(back).to_have_attribute("aria-hidden", "true")
    expect(page.locator("#passage .is-lit")).to_have_count(0)  # it would give the answer away
    assert first.locator(".leaf").evaluate("leaf => getComputedStyle(leaf).transitionDuration") == "0s"
    button(page, "Turn card 1 to its back").click()
    expect(front).to_have_attribute("aria-hidden", "true")
    expect(back).to_have_attribute("aria-hidden", "false")
    expect(page.get_by_role("status")).to_have_text(f"Back: {first.locator('[data-part=back]').text_content()}")
    first.locator(".stage").click()
    expect(front).to_have_attribute("aria-hidden", "false")
    card(page, 1).press("t")
    expect(front).to_have_attribute("aria-hidden", "true")
    button(page, "Back to review").click()
    expect(front).to_have_attribute("aria-hidden", "false")


def test_cards_are_accepted_and_rejected_and_all_of_them_can_be_taken_back(page):
    cards, summary = generate(page), page.locator("#summary")
    number = cards.count()
    button(page, "Accept card 1").click()
    button(page, "Reject card 2").click()
    expect(summary).to_have_text(f"{number} cards, 1 accepted, 1 rejected")
    button(page, "Accept all").click()
    expect(summary).to_have_text(f"{number} cards, {number - 1} accepted, 1 rejected")
    expect(page.locator("#notice-text")).to_have_text(f"{number - 2} cards accepted.")
    button(page, "Undo").click()
    expect(summary).to_have_text(f"{number} cards, 1 accepted, 1 rejected")
    expect(button(page, "Accept all")).to_be_focused()

    page.emulate_media(forced_colors="active")  # the colours that told them apart are gone
    colors = "mark => [mark, mark.parentElement].map((element) => getComputedStyle(element).color)"
    page.emulate_media(color_scheme="dark")
    text, around = page.locator("#passage mark:not(.is-lit)").first.evaluate(colors)
    assert text == around
    outlines = [card(page, at).evaluate("card => getComputedStyle(card).outlineStyle") for at in (1, 2, 3)]
    edges = [card(page, at).evaluate("card => getComputedStyle(card).borderTopStyle") for at in (1, 2, 3)]
    assert (outlines, edges) == (["solid", "none", "none"], ["solid", "dashed", "solid"])
    assert card(page, 3).evaluate("card => getComputedStyle(card).borderTopColor") != "rgba(0, 0, 0, 0)"
    button(page, "Accepted card 1").click()
    button(page, "Rejected card 2").click()
    expect(summary).to_have_text(f"{number} cards, 0 accepted")


def test_a_card_is_edited_within_its_bounds(page):
    card = generate(page).first
    button(page, "Edit card 1").click()
    front, back = card.get_by_role("textbox", name="Front"), card.get_by_role("textbox", name="Back")
    expect(front).to_be_focused()
    front.fill("😀" * 201)
    back.fill("b" * 500)
    expect(card).to_contain_text("201 / 200")
    card.get_by_role("button", name="Save").click()
    expect(card.get_by_role("alert")).to_contain_text("The front may have at most 200 characters.")
    front.fill("😀" * 200)
    back.fill("b" * 501)
    card.get_by_role("button", name="Save").click()
    expect(card.get_by_role("alert")).to_contain_text("The back may have at most 500 characters.")
    back.fill(" ")
    card.get_by_role("button", name="Save").click()
    expect(card.get_by_role("alert")).to_contain_text("The back is empty.")
    back.fill("b" * 500)
    card.get_by_role("button", name="Save").click()
    expect(card.locator("[data-part=front]")).to_have_text("😀" * 200)
    expect(card.locator(".edited")).to_be_visible()

    button(page, "Edit card 1").click()
    front.fill("Something else")
    front.press("Escape")
    expect(card.locator("[data-part=front]")).to_have_text("😀" * 200)


def test_everything_can_be_done_from_the_keyboard(page):
    press = page.keyboard.press

    def tab_to(target: Locator) -> None:
        for _ in range(200):
            if target.evaluate("element => element === document.activeElement"):
                return
            press("Tab")
        pytest.fail(f"Tab never reaches {target}")

    tab_to(page.get_by_label("Your text"))
    page.keyboard.insert_text(SOURCE)
    press("Control+Enter")
    expect(page.get_by_role("status")).to_have_text(re.compile("arrived"))
    expect(card(page, 1)).to_be_focused()
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    number = page.locator(".card").count()
    for at in range(1, number + 1):
        expect(card(page, at)).to_be_focused()
        press("r" if at == 2 else "a")
    expect(page.locator("#summary")).to_have_text(f"{number} cards, {number - 1} accepted, 1 rejected")
    expect(page.get_by_role("status")).to_have_text("All cards are decided.")
    button(page, "Accepted card 1").focus()
    press("a")  # takes it back, and stays
    expect(page.locator("#summary")).to_have_text(f"{number} cards, {number - 2} accepted, 1 rejected")
    press("ArrowRight")
    expect(card(page, 2)).to_be_focused()
    press("e")
    press("Control+a")
    page.keyboard.insert_text("Which keys?")
    press("Control+Enter")
    expect(button(page, "Edit card 2")).to_be_focused()
    expect(page.locator(".card").nth(1)).to_contain_text("Which keys?")
    tab_to(button(page, "Download CSV"))
    with page.expect_download():
        press("Enter")


def test_a_card_that_holds_a_script_is_shown_as_text_and_never_run(page, problems):
    generate(page, f"{SOURCE}\n[sandbox: html]\n")
    script = page.locator("[data-part=front]", has_text="<script>alert(1)</script>")
    expect(script).to_be_visible()
    assert page.locator(".card script, .card img").count() == 0
    assert problems == []


def test_the_policy_refuses_an_inline_script(page, problems):
    page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "window.ran = 1";
            document.body.append(script);
        }"""
    )
    assert page.evaluate("window.ran") is None
    assert "Content Security Policy" in problems.pop()


def test_a_second_text_adds_its_cards_to_the_first_ones_and_none_comes_twice(page):
    cards = generate(page)
    button(page, "Accept card 1").click()
    before = cards.count()
    generate(page, EXAMPLE)
    both = cards.count()
    assert both > before
    expect(card(page, before + 1)).to_be_focused()
    expect(button(page, "Accepted card 1")).to_be_visible()

    front = cards.first.locator("[data-part=front]").text_content()
    rewrite(page, 1, "Another front?", "Another back.")
    new, changed = {"front": "C#?", "back": "."}, {"front": f"«{front.upper()}» ", "back": "."}
    page.route("**/generations", lambda route: route.fulfill(**stream(changed, new, {"front": "C?", "back": "."})))
    generate(page)
    expect(cards).to_have_count(both + 2)
    expect(page.locator("#left-out")).to_have_text("1 of 3 were already here.")


def test_starting_over_can_be_undone(page):
    cards = generate(page)
    button(page, "Accept card 1").click()
    before = cards.count()
    button(page, "Start over").click()
    expect(cards).to_have_count(0)
    expect(page.get_by_label("Your text")).to_have_value("")
    button(page, "Undo").click()
    expect(cards).to_have_count(before)
    expect(button(page, "Accepted card 1")).to_be_visible()


def test_a_card_lights_its_sentence_and_a_sentence_finds_its_cards(page):
    first, second = "The abbey was founded in 1382.", "Its library burned down in 1623."
    text = "😀" * 900 + f" {first} {second} Nobody knows why in this place, so far from Rome. {first}"

    def proposal(front, quote, start):
        place = {"quote": quote, "start": start, "end": quote and start + len(quote)}
        return {"front": front, "back": "…", "grounded": quote is not None, **place}

    two = f"{first} {second}"
    proposals = [
        proposal("When was it founded?", first, text.rindex(first)),
        proposal("What happened?", two, text.index(two)),
        proposal("When did it burn?", second, text.index(second)),
        proposal("Who burned it?", None, None),
    ]
    page.route("**/generations", lambda route: route.fulfill(**stream(*proposals)))
    generate(page, f" \n{text}\n")
    marks, lit = page.locator("#passage mark"), page.locator("#passage .is-lit")
    expect(card(page, 1)).to_be_focused()
    expect(marks).to_have_text([f"{first} ", second, first], use_inner_text=False)
    expect(lit).to_have_text([first])
    expect(marks.last).to_have_class(re.compile("is-lit"))
    page.keyboard.press("ArrowRight")
    expect(lit).to_have_text([first, second])
    marks.nth(1).click()
    expect(card(page, 3)).to_be_focused()
    expect(lit).to_have_text([second])
    marks.nth(1).click()
    expect(card(page, 2)).to_be_focused()
    card(page, 1).hover()
    expect(lit).to_have_text([first])
    page.keyboard.press("ArrowRight")  # the mouse rests, the focus has moved
    expect(lit).to_have_text([second])
    page.keyboard.press("s")
    expect(marks.nth(1)).to_be_focused()
    expect(marks.nth(1)).to_have_attribute("aria-description", "card 2, card 3")
    expect(page.locator(".card.is-lit")).to_have_count(2)
    page.keyboard.press("Enter")
    expect(card(page, 2)).to_be_focused()
    page.keyboard.press("s")
    page.keyboard.press("ArrowLeft")
    expect(marks.first).to_be_focused()
    expect(page.locator(".card.is-lit")).to_have_count(1)
    page.keyboard.press("Tab")  # one stop for all of them
    expect(button(page, "Edit text")).to_be_focused()
    expect(page.locator(".card.is-lit")).to_have_count(0)
    quote = page.get_by_role("button", name=f"In the text: {second}").first
    expect(quote).to_be_hidden()
    page.set_viewport_size({"width": 768, "height": 1024})
    quote.click()
    expect(marks.nth(1)).to_be_focused()
    expect(marks.nth(1)).to_be_in_viewport()
    page.set_viewport_size({"width": 1280, "height": 800})
    expect(page.locator("#margin .is-kept")).to_have_count(3)
    expect(page.locator("#coverage")).to_have_text("5 % has cards")
    expect(card(page, 4).get_by_text("The text does not say this.")).to_be_visible()
    expect(page.get_by_text("The text does not say this.")).to_have_count(4)
    expect(card(page, 1).get_by_text("The text does not say this.")).to_be_hidden()

    button(page, "Edit text").click()
    expect(page.get_by_label("Your text")).to_be_focused()
    page.get_by_label("Your text").fill(f"Before. {second}")
    button(page, "Show cards in text").click()
    expect(marks).to_have_text([second])


def test_a_reload_keeps_text_cards_decisions_and_a_half_done_edit(page):
    cards = generate(page)
    before = cards.count()
    rewrite(page, 1, "Rewritten?", "Yes.")
    button(page, "Accept card 1").click()
    button(page, "Edit card 2").click()
    cards.nth(1).get_by_role("textbox", name="Front").fill("Half a thou")
    page.get_by_label("Deck name").fill("Abbeys")
    page.reload()
    expect(cards).to_have_count(before)
    expect(page.get_by_label("Your text")).to_have_value(SOURCE)
    expect(cards.first).to_contain_text("Rewritten?")
    expect(button(page, "Accepted card 1")).to_be_visible()
    expect(cards.nth(1).get_by_role("textbox", name="Front")).to_have_value("Half a thou")
    expect(page.get_by_label("Deck name")).to_have_value("Abbeys")


# The downloads


def test_the_csv_holds_the_accepted_cards_quoted_and_safe_for_a_spreadsheet(page):
    generate(page)
    expect(button(page, "Download CSV")).to_be_disabled()
    rewrite(page, 1, '=HYPERLINK("x")', 'Ž, "quoted"\nsecond line')
    rewrite(page, 2, "-5 °C?", "plain")
    button(page, "Accept card 1").click()
    button(page, "Accept card 2").click()
    page.get_by_label("Deck name").fill("Abbeys")
    downloaded = download(page, "Download CSV")
    assert downloaded.suggested_filename == "Abbeys.csv"
    expect(page.locator("#notice-text")).to_have_text("2 cards downloaded as Abbeys.csv.")
    head = b"\xef\xbb\xbf#separator:Comma\r\n#html:false\r\n#columns:Front,Back\r\n"
    assert content(downloaded).startswith(head)
    assert list(csv.reader(io.StringIO(content(downloaded).removeprefix(head).decode(), newline=""))) == [
        ['\'=HYPERLINK("x")', 'Ž, "quoted"\nsecond line'],
        ["'-5 °C?", "plain"],
    ]
    expect(page.locator("#export-note")).to_contain_text("apostrophe")


def test_the_anki_deck_is_made_of_the_accepted_cards(page):
    generate(page)
    rewrite(page, 1, "What is the recto?", "The front.")
    button(page, "Accept card 1").click()
    page.get_by_label("Deck name").fill("Abbeys")
    with page.expect_request("**/exports/anki") as request:
        downloaded = download(page, "Download Anki deck")
    assert request.value.post_data_json == {
        "deck_name": "Abbeys",
        "flashcards": [{"front": "What is the recto?", "back": "The front."}],
    }
    assert downloaded.suggested_filename == "Abbeys.apkg"
    with zipfile.ZipFile(io.BytesIO(content(downloaded))) as deck:
        assert "collection.anki2" in deck.namelist()


def test_a_failed_anki_download_is_explained(page):
    generate(page)
    button(page, "Accept all").click()
    page.route("**/exports/anki", lambda route: route.abort())
    button(page, "Download Anki deck").click()
    expect(page.locator("#failure")).to_contain_text("The server could not be reached.")
    page.unroute("**/exports/anki")
    assert download(page, "Try again").suggested_filename == "Recto.apkg"


# The look


def test_nothing_scrolls_sideways(page):
    generate(page)
    rewrite(page, 1, "W" * 200, "w" * 500)
    button(page, "Edit card 2").click()
    answer_with(page, 400, {"error": "invalid_request", "message": "m" * 300}, **{"X-Request-ID": "i" * 128})
    expect(submit(page, "x" * 10_000)).to_be_focused()
    page.locator("#access summary").click()
    for width, scheme in (
        (320, "light"),
        (390, "dark"),
        (768, "light"),
        (1024, "light"),
        (1280, "dark"),
        (1920, "dark"),
    ):
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 844})
        for view in ("Study", "Back to review"):
            assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
            button(page, view).click()
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(23, 21, 18)"
        assert dark is (scheme == "dark")


def test_the_cards_are_in_view_without_scrolling(page):
    generate(page, EXAMPLE)
    in_view = """() => {
        const bar = document.querySelector(".export").getBoundingClientRect();
        const places = [...document.querySelectorAll(".card")].map((card) => card.getBoundingClientRect());
        return places.filter(({ top, bottom }) => top >= 0 && bottom <= Math.min(bar.top, innerHeight)).length;
    }"""
    for width, height, least in ((1280, 800, 6), (768, 1024, 2), (1920, 1080, 9)):
        page.set_viewport_size({"width": width, "height": height})
        page.evaluate("scrollTo(0, 0)")
        assert page.evaluate(in_view) >= least
    page.set_viewport_size({"width": 1280, "height": 800})
    for number in (5, 9):
        button(page, f"Edit card {number}").click()
        page.get_by_role("textbox", name="Back").fill("The abbey of Saint Gall. " * 18)
        save = button(page, "Save").bounding_box()
        assert save["y"] + save["height"] <= page.locator(".export").bounding_box()["y"]
        button(page, "Save").click()
