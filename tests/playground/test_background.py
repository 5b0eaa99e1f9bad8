"""Generating in the background on the page: nothing is lost, whatever is reloaded, and decisions reach the server."""

import json
import re
from time import monotonic
from uuid import uuid4

import psycopg
import pytest
import requests
from playwright.sync_api import Page, expect

from .conftest import SOURCE

SLOW = f"{SOURCE}\n[sandbox: slow]"
BROKEN = f"{SOURCE}\n[sandbox: http-400]"


@pytest.fixture
def api(service, user_id):
    """What the server knows of the page's user."""

    def ask(path, method="GET", **kwargs):
        headers = {"Authorization": f"Bearer {service.token(user_id)}", "Connection": "close"}
        response = requests.request(method, f"{service.url}{path}", headers=headers, timeout=30, **kwargs)
        return response.json() if response.content else None

    return ask


@pytest.fixture
def generations(api):
    return lambda: api("/ai/generations")["generations"]


@pytest.fixture
def sql(service_database, user_id):
    """Change the user's jobs past the service."""

    def run(change):
        with psycopg.connect(service_database) as conn:
            conn.execute(f"update generation_jobs set {change} where user_id = %s", (user_id,))

    return run


def begin(page: Page, text: str = SOURCE) -> None:
    page.get_by_label("In the background").check()
    page.get_by_label("Your text").fill(text)
    page.get_by_role("button", name="Make flashcards").click()


def cards(page: Page):
    expect(page.get_by_role("status")).to_contain_text("arrived", timeout=15_000)
    return page.locator(".card")


def open_past(page: Page):
    page.get_by_text("Past generations").first.click()
    expect(page.locator(".generation").first).to_be_visible()
    return page.locator(".generation")


def statuses(api, generations):
    path = f"/ai/generations/{generations()[0]['generation_id']}/suggestions"
    return [suggestion["status"] for suggestion in api(path)["suggestions"]]


def test_proposals_come_and_decisions_reach_the_server(page, api, generations):
    begin(page)
    number = cards(page).count()
    assert [generation["status"] for generation in generations()] == ["succeeded"]
    page.get_by_role("button", name="Accept card 1", exact=True).click()
    page.get_by_role("button", name="Reject card 2", exact=True).click()
    third = page.locator(".card").nth(2)
    third.get_by_role("button", name="Edit card 3").click()
    third.get_by_role("textbox", name="Back").fill("In my own words")
    third.get_by_role("button", name="Save").click()
    third.get_by_role("button", name="Accept card 3").click()
    expected = ["accepted", "rejected", "accepted_edited", *["proposed"] * (number - 3)]
    give_up = monotonic() + 60
    while statuses(api, generations) != expected:
        assert monotonic() < give_up, statuses(api, generations)
    page.get_by_role("button", name="Accept all").click()
    page.get_by_role("button", name="Undo").click()
    page.get_by_role("button", name="Accept all").click()
    assert statuses(api, generations) == expected  # not before it is too late to undo
    with page.expect_response("**/suggestions/review"):
        page.get_by_role("button", name="Dismiss").last.click()
    assert statuses(api, generations)[3:] == ["accepted"] * (number - 3)

    costs = page.get_by_text("Costs, and what was kept")
    costs.click()
    cells = page.locator("#models :is(th, td)")
    expect(cells).to_have_text(["sandbox/extractive", *map(str, (number, number - 2, 1, 1)), "$0.00"])
    shares = page.locator("#models rect").evaluate_all(
        "bars => bars.map(bar => [bar.x, bar.width].map(at => at.baseVal.value))"
    )
    assert shares == [[0, number - 2], [number - 2, 1], [number - 1, 1]]
    expect(page.locator("#cost-chart")).to_be_hidden()  # nothing was paid
    paid = api("/stats") | {"since": "2026-02-10T00:00:00Z", "cost_by_day": [{"date": "2026-03-01", "cost_usd": 0.02}]}
    page.route("**/stats", lambda route: route.fulfill(json=paid))
    costs.click()
    costs.click()
    expect(page.get_by_role("img", name="Cost a day; the highest is $0.02.")).to_be_visible()
    page.get_by_text("As a table").click()
    expect(page.get_by_role("row", name="Mar 1 $0.02")).to_be_visible()
    bars = page.locator("#cost-bars rect").evaluate_all("bars => bars.map(bar => bar.height.baseVal.value)")
    assert bars == [0] * 19 + [1] + [0] * 10
    page.route("**/stats", lambda route: route.fulfill(json=paid | {"models": [], "cost_by_day": []}))
    costs.click()
    costs.click()
    expect(page.get_by_text("Nothing yet. Make flashcards")).to_be_visible()
    expect(page.locator("#figures")).to_be_hidden()


@pytest.mark.parametrize("moment", ["waiting", "reviewed"])
def test_a_reload_loses_nothing(page, generations, moment):
    begin(page, SLOW)
    if moment == "waiting":
        expect(page.locator("#stage")).to_have_text("Reading your text")
    else:
        cards(page)
        with page.expect_response("**/suggestions/review"):
            page.get_by_role("button", name="Accept card 1", exact=True).click()
    page.reload()
    expect(page.get_by_label("In the background")).to_be_checked()
    expect(page.get_by_label("Your text")).to_have_value(SLOW)
    expect(page.locator(".card").first).to_be_visible()
    assert len(generations()) == 1
    if moment == "reviewed":
        expect(page.get_by_role("button", name="Accepted card 1", exact=True)).to_be_visible()


def test_a_reload_while_it_is_handed_over_starts_no_second_one(page, generations):
    held = []
    page.route("**/ai/generations", lambda route: route.continue_() if held else held.append(route))
    with page.expect_request("**/ai/generations"):
        begin(page)
    expect(page.locator("#stage")).to_have_text("Handing over your text")
    key = held[0].request.headers["idempotency-key"]
    held[0].fetch()  # the server accepts it, and the page never hears of it
    with page.expect_request(lambda request: request.method == "POST") as again:
        page.reload()
    assert again.value.headers["idempotency-key"] == key
    cards(page)
    assert len(generations()) == 1


def test_a_server_that_goes_away_is_waited_for(page, generations):
    begin(page, SLOW)
    expect(page.locator("#stage")).to_have_text("Reading your text")
    page.route("**/ai/generations/**", lambda route: route.abort())
    page.reload()
    expect(page.locator("#stage")).to_have_text("The server cannot be reached. Still trying")
    page.unroute("**/ai/generations/**")
    cards(page)
    assert len(generations()) == 1


def test_a_server_that_fails_is_said_to_fail(page):
    failed = {"status": 500, "json": {"error": "internal_error", "message": ""}}
    page.route("**/ai/generations", lambda route: route.fulfill(**failed))
    begin(page)
    expect(page.locator("#failure")).to_contain_text("The server failed.")


def test_cards_that_come_over_a_broken_connection_come_once(page, api, generations):
    asked = []

    def break_off(route):
        first, second, _ = route.fetch().text().split("event: suggestion", 2)
        route.fulfill(body=f"{first}event: suggestion{second}", content_type="text/event-stream")

    page.on("request", lambda request: asked.append(request) if request.url.endswith("/events") else None)
    page.route("**/events", break_off, times=1)
    begin(page)
    assert cards(page).count() == len(statuses(api, generations))
    assert [request.headers.get("last-event-id") for request in asked] == [None, "1"]


def test_a_long_text_becomes_a_deck_section_by_section(page, api):
    asked = []

    def start(route):
        asked.append(route.request.post_data_json)
        route.continue_(post_data=json.dumps(asked[0] | {"source_text": SOURCE}))

    def tell_sections(route):
        bare = [{"number": 2, "title": "Of bees"}, {"number": 3, "title": None}]
        sections = {"sections": 3, "sections_done": 1, "sections_without_cards": bare}
        route.fulfill(json=route.fetch().json() | sections)

    held = []
    page.route("**/decks/*/generation", start)
    page.route(re.compile("/ai/generations/[^/]+$"), tell_sections)
    page.route("**/events", lambda route: route.continue_() if held else held.append(route))
    long = SOURCE + "Nothing is known of the bees. " * 600
    page.get_by_label("Your text").fill(long)
    page.get_by_role("button", name="Split into a deck").click()
    expect(page.locator("#stage")).to_have_text("Writing cards: 1 of 3 sections done")
    expect(page.get_by_role("progressbar", name="Sections done")).to_have_attribute("value", "1")
    held[0].continue_()
    number = cards(page).count()
    assert asked == [{"source_text": long.strip(), "count": 29}]
    expect(page.locator("#incomplete")).to_have_text(
        f"{number} of the 29 cards came. The model found no more. 2 of the 3 sections gave no card: “Of bees”, 3."
    )
    (generation,) = api("/ai/generations")["generations"]
    assert (generation["kind"], generation["suggestions_count"]) == ("deck", number)
    expect(page.get_by_role("progressbar", name="Sections done")).to_be_hidden()


def test_a_failed_one_says_why_and_is_retried_when_its_time_has_come(page, generations, sql):
    begin(page, BROKEN)
    expect(page.get_by_role("heading", name="The language model’s provider failed.")).to_be_visible()
    expect(page.get_by_role("button", name="Try again")).to_be_disabled()
    past = open_past(page)
    expect(past).to_have_count(1)
    expect(past.first).to_contain_text("Failed")
    expect(past.first).to_contain_text("The language model’s provider failed.")
    expect(past.first.get_by_role("button", name="Retry")).to_be_disabled()
    sql(
        "finished_at = finished_at - interval '10 s', payload = jsonb_set(payload, '{source_text}',"
        " to_jsonb(split_part(payload ->> 'source_text', '[', 1)))"
    )
    page.get_by_role("button", name="Refresh").click()
    past.first.get_by_role("button", name="Retry").click()
    cards(page)
    expect(past.first).to_contain_text("Done")
    expect(past.first).to_contain_text("2 attempts")
    (generation,) = generations()
    assert (generation["status"], generation["retries"]) == ("succeeded", 1)


def test_cancelling_reaches_the_server(page, generations):
    begin(page, f"{SOURCE}\n[sandbox: timeout]")
    expect(page.locator("#stage")).to_have_text("Reading your text")
    page.get_by_role("button", name="Cancel").first.click()
    expect(page.locator("#notice-text")).to_have_text("Cancelled. Your text is still here.")
    assert [generation["status"] for generation in generations()] == ["canceled"]
    expect(page.get_by_role("button", name="Make flashcards")).to_be_enabled()


def test_decisions_that_cannot_be_sent_are_kept_and_sent_later(page, api, generations):
    begin(page)
    number = cards(page).count()
    page.route("**/suggestions/review", lambda route: route.abort())
    page.get_by_role("button", name="Accept card 1", exact=True).click()
    expect(page.get_by_text("Some decisions have not reached the server yet.")).to_be_visible()
    page.unroute("**/suggestions/review")
    with page.expect_response("**/suggestions/review"):
        page.reload()
    expect(page.get_by_text("Some decisions have not reached the server yet.")).to_be_hidden()
    assert statuses(api, generations) == ["accepted", *["proposed"] * (number - 1)]


def test_past_generations_can_be_opened_and_erased(page, generations):
    begin(page)
    number = cards(page).count()
    with page.expect_response("**/suggestions/review"):
        page.get_by_role("button", name="Reject card 1", exact=True).click()
    page.get_by_role("button", name="Start over").click()
    past = open_past(page)
    (kept,) = generations()
    expect(page.get_by_role("listitem", name=kept["first_front"], exact=True)).to_be_visible()
    expect(past.first).to_contain_text(f"1 of {number} cards reviewed")
    expect(past.first).to_contain_text(kept["generation_id"])
    expect(past.first).to_contain_text("$0.00")
    past.first.get_by_role("button", name="Open its cards").click()
    expect(page.locator(".card")).to_have_count(number)
    erase = past.first.locator("[data-part=erase]")
    erase.click()
    expect(erase).to_have_text("Erase for good")
    assert generations()[0]["suggestions_count"] == number
    erase.click()
    expect(past.first.get_by_role("button", name="Open its cards")).to_be_hidden()
    expect(past.first.get_by_role("heading")).to_be_hidden()
    assert generations()[0]["suggestions_count"] == 0


def test_the_list_goes_on_where_it_ended(page, api):
    for _ in range(12):
        body = {"topic": "Rome", "count": 1}
        api(f"/decks/{uuid4()}/generation", "POST", json=body)
    past = open_past(page)
    expect(past).to_have_count(10)
    page.get_by_role("button", name="Show more").click()
    expect(past).to_have_count(12)
    expect(page.get_by_role("button", name="Show more")).to_be_hidden()


def test_a_quota_is_shown_where_there_is_one(page, api):
    usage = {"limit": 10, "used": 3, "reserved": 1, "resets_at": "2026-12-01T00:00:00Z"}
    page.route("**/usage", lambda route: route.fulfill(json=usage))
    begin(page)
    cards(page)
    open_past(page)
    expect(page.locator("#usage")).to_contain_text("3 of 10 generations used this month, 1 running.")


def test_all_of_it_can_be_done_with_the_keyboard(page, api, generations):
    page.get_by_label("Your text").fill(SOURCE)
    page.get_by_label("In the background").focus()
    page.keyboard.press("Space")
    page.get_by_label("Your text").focus()
    page.keyboard.press("Control+Enter")
    cards(page)
    expect(page.locator("article").first).to_be_focused()
    with page.expect_response("**/suggestions/review") as sent:
        page.keyboard.press("a")
    assert json.loads(sent.value.request.post_data)["reviews"][0]["status"] == "accepted"
    assert statuses(api, generations)[0] == "accepted"
