"""Generations in the background and their review, through the doors."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from uuid import UUID, uuid4

import psycopg
import pytest
import requests
from tests.conftest import until

from recto.db.listener import JobChanges
from recto.db.suggestions import Review, review
from recto.jobs.outcomes import NotOwned
from recto.jobs.run import run

TEXT = "The Rosetta Stone is a slab of granodiorite. It was found in July 1799 by French soldiers. " * 15
BODY = {"source_text": TEXT}
NOBODYS = "/ai/generations/00000000-0000-4000-8000-000000000000"


def start(client, **body):
    response = client.post("/ai/generations", json=BODY | body)
    assert response.status_code == 202
    return response.headers["Location"]


def done(client, **body):
    location = start(client, **body)
    client.work()
    return location


def suggestions(client, location, query=""):
    return client.get(f"{location}/suggestions{query}").json["suggestions"]


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_a_generation_is_queued_run_and_read(client, prefix):
    accepted = client.post(f"{prefix}/ai/generations", json=BODY)
    assert accepted.status_code == 202
    assert set(accepted.json) == {"generation_id", "status"}
    assert accepted.json["status"] == "pending"
    location = accepted.headers["Location"]
    assert location == f"{prefix}/ai/generations/{UUID(accepted.json['generation_id'])}"
    pending = client.get(location).json
    assert (pending["status"], pending["attempts"], pending["suggestions_count"]) == ("pending", 0, 0)
    assert client.work() == ["succeeded"]
    read = client.get(location).json
    assert (read["kind"], read["status"], read["attempts"], read["error"]) == ("review", "succeeded", 1, None)
    assert read["model"] == "sandbox/extractive"
    assert read["prompt_version"] == "2"
    assert read["tokens_input"] > 100
    assert read["cost_usd"] == 0
    assert read["created_at"] <= read["started_at"] <= read["finished_at"]
    cards = suggestions(client, location)
    assert [card["position"] for card in cards] == list(range(1, read["suggestions_count"] + 1))
    assert {card["status"] for card in cards} == {"proposed"}
    assert all(card["back"] in TEXT for card in cards)
    (record,) = client.rows("generations")
    assert record["generated_count"] == len(cards)
    assert record["generation_duration"] >= 0
    assert [row["event"] for row in client.rows("generation_events")] == [
        "ai_generation_requested",
        "ai_generation_succeeded",
    ]


def test_the_text_is_kept_only_until_it_is_needed_no_more(client):
    location = start(client)
    assert client.query("select payload ->> 'source_text' as text from generation_jobs") == [{"text": TEXT.strip()}]
    client.work()
    ((payload,),) = [row.values() for row in client.query("select payload from generation_jobs")]
    assert payload == {"model": "sandbox/extractive", "prompt_version": "2"}
    assert client.get(location).json["status"] == "succeeded"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"model": "another/model"}, "sandbox/extractive"),
        ({"prompt_version": "99"}, "must be one of: 1"),
        ({"source_text": "short"}, "1000 to 10000"),
        ({"source_text": None}, "source_text"),
        ({"model": 5}, "model"),
    ],
)
def test_what_cannot_be_done_is_refused_and_the_message_says_what_can(client, body, message):
    refused = client.post("/ai/generations", json=BODY | body)
    assert (refused.status_code, refused.json["error"]) == (400, "invalid_request")
    assert message in refused.json["message"]
    assert client.rows("generation_jobs") == []


def test_other_models_may_be_allowed(open_client):
    client = open_client(allowed_models=("sandbox/fenced",))
    location = done(client, model="sandbox/fenced")
    assert client.get(location).json["status"] == "succeeded"


def test_each_route_has_a_limit_of_its_own(open_client):
    client = open_client(rate_limit_per_user="1 per minute")
    assert client.post(json=BODY).status_code == 200
    assert [client.post("/ai/generations", json=BODY).status_code for _ in range(2)] == [202, 429]
    assert [client.post("/api/sessions/ai", json=BODY).status_code for _ in range(2)] == [200, 429]


def test_a_failure_is_told_without_the_operators_part(client):
    location = done(client, source_text=f"{TEXT}\n[sandbox: http-402]")
    read = client.get(location).json
    assert read["status"] == "failed"
    assert read["error"] == {
        "code": "upstream_refused",
        "message": "The operator of this service must mend its account at the language model's provider.",
    }
    assert read["retry_at"] > read["finished_at"]
    (log,) = client.rows("generation_error_logs")
    assert (log["error_code"], str(log["job_id"])) == ("upstream_http_error_402", read["generation_id"])
    ((error,),) = [row.values() for row in client.query("select error from generation_jobs")]
    assert error["upstream_status"] == 402
    assert error["duration_ms"] >= 0
    assert "Rosetta" not in str(error)


def test_between_two_attempts_it_is_pending(client):
    location = done(client, source_text=f"{TEXT}\n[sandbox: http-503]")
    read = client.get(location).json
    assert (read["status"], read["attempts"], read["error"]) == ("pending", 1, None)
    assert client.work() == ["retried"]
    assert client.work() == ["failed"]
    assert client.get(location).json["attempts"] == 3
    assert len(client.rows("generation_error_logs")) == 3


def test_the_list_is_newest_first_and_pages_without_gaps(client, open_client):
    locations = [start(client) for _ in range(5)]
    start(open_client())
    client.query("update generation_jobs set created_at = '2026-01-01' returning 1")  # all at the same moment
    seen, query = [], "?limit=2"
    while True:
        page = client.get(f"/ai/generations{query}").json
        seen += [generation["generation_id"] for generation in page["generations"]]
        if page["next_cursor"] is None:
            break
        query = f"?limit=2&cursor={page['next_cursor']}"
    assert sorted(seen) == sorted(location.rpartition("/")[2] for location in locations)
    assert len(seen) == 5


def test_the_list_can_be_filtered_by_status(client):
    done(client)
    pending = start(client)
    listed = client.get("/ai/generations?status=pending").json["generations"]
    assert [generation["generation_id"] for generation in listed] == [pending.rpartition("/")[2]]


def test_the_list_tells_the_first_front_and_how_many_are_reviewed(client):
    location = done(client)
    start(client)
    first, second, *_ = suggestions(client, location)
    client.patch(f"/ai/suggestions/{second['id']}", json={"status": "rejected"})
    listed = client.get("/ai/generations").json["generations"]
    told = [(generation["first_front"], generation["reviewed_count"]) for generation in listed]
    assert told == [(None, 0), (first["front"], 1)]
    client.delete(location)
    assert client.get("/ai/generations").json["generations"][1]["first_front"] is None


@pytest.mark.parametrize(
    "query",
    [
        "status=done",
        "cursor=",
        "cursor=x",
        f"cursor={'9' * 18}.{'0' * 32}",
        f"cursor=1.{'0' * 31}",
        f"cursor=-1.{'0' * 32}",
        "limit=0",
        "limit=101",
    ],
)
def test_a_bad_query_is_refused(client, query):
    response = client.get(f"/ai/generations?{query}")
    assert (response.status_code, response.json["error"]) == (400, "invalid_request")


@pytest.mark.parametrize(("microseconds", "number"), [("0", 0), ("9" * 17, 1)])
def test_a_cursor_may_name_any_moment(client, microseconds, number):
    start(client)
    response = client.get(f"/ai/generations?cursor={microseconds}.{'0' * 32}")
    assert (response.status_code, len(response.json["generations"])) == (200, number)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", NOBODYS),
        ("DELETE", NOBODYS),
        ("GET", f"{NOBODYS}/suggestions"),
        ("POST", f"{NOBODYS}/suggestions/review"),
        ("PATCH", "/ai/suggestions/00000000-0000-4000-8000-000000000000"),
    ],
)
def test_what_is_not_the_callers_is_not_there(client, method, path):
    decision = {"status": "accepted", "reviews": [{"id": str(uuid4()), "status": "accepted"}]}
    assert client._send(method, path, json=decision).status_code == 404
    assert client._send(method, path.replace("0000-4000", "x"), json=decision).status_code == 400


def test_nobody_sees_reviews_or_cancels_what_is_another_users(client, open_client):
    location = done(client)
    (card, *_) = suggestions(client, location)
    other = open_client()
    assert other.get(location).status_code == 404
    assert other.get(f"{location}/suggestions").status_code == 404
    assert other.delete(location).status_code == 404
    assert other.patch(f"/ai/suggestions/{card['id']}", json={"status": "rejected"}).status_code == 404
    assert suggestions(client, location)[0]["status"] == "proposed"


def test_an_etag_spares_what_is_known(client):
    location = start(client)
    first = client.get(location)
    known = {"If-None-Match": first.headers["ETag"]}
    unchanged = client.get(location, headers=known)
    assert (unchanged.status_code, unchanged.data) == (304, b"")
    assert unchanged.headers["ETag"] == first.headers["ETag"]
    client.work()
    assert client.get(location, headers=known).status_code == 200


@pytest.fixture
def attentive(client):
    """A client of a service that hears of changes and never looks by itself."""
    runtime = replace(client.runtime, times=replace(client.runtime.times, look_s=3600))
    return replace(client, runtime=runtime)


def test_waiting_ends_with_the_generation(attentive):
    client = attentive
    location = start(client)
    with ThreadPoolExecutor(2) as threads:
        waiting = [threads.submit(client.get, f"{location}?wait=25") for _ in range(2)]
        until(lambda: client.query("select 1 from pg_stat_activity where query = 'listen recto_generation_jobs'"))
        assert client.work() == ["succeeded"]
        answers = [answer.result(20) for answer in waiting]  # before its time is over
    assert [answer.json["status"] for answer in answers] == ["succeeded"] * 2


def test_waiting_with_a_known_state_ends_with_any_change(attentive):
    client = attentive
    location = start(client)
    known = {"If-None-Match": client.get(location).headers["ETag"]}
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(client.get, f"{location}?wait=25", headers=known)
        until(lambda: client.query("select 1 from pg_stat_activity where query = 'listen recto_generation_jobs'"))
        client.claim()
        assert waiting.result(20).json["status"] == "running"


def test_waiting_gives_up_when_its_time_is_over(client):
    assert client.get(f"{start(client)}?wait=1").json["status"] == "pending"


def test_who_waits_for_too_many_is_answered_at_once(client):
    """The bound is of a user: another one may still wait."""
    location = start(client)
    with ExitStack() as waits:
        for _ in range(JobChanges.MOST_WAITS_A_USER):
            assert waits.enter_context(client.runtime.changes.of(uuid4(), client.user_id))
        # Whoever waits is answered only once the generation has ended, which nobody brings about here.
        assert client.get(f"{location}?wait=25").json["status"] == "pending"
        with client.runtime.changes.of(uuid4(), uuid4()) as other:
            assert other


@pytest.mark.parametrize("wait", ["-1", "26", "x", "1.5"])
def test_a_wait_has_bounds(client, wait):
    assert client.get(f"{start(client)}?wait={wait}").status_code == 400


def test_a_canceled_generation_is_never_run(client):
    location = start(client)
    assert client.delete(location).status_code == 204
    assert client.work() == []
    assert client.get(location).json["status"] == "canceled"
    assert client.query("select 1 from generation_jobs where has_text") == []


def test_a_generation_canceled_while_it_runs_counts_and_keeps_its_costs_and_nothing_else(client):
    location = start(client)
    attempt = client.claim()
    assert client.delete(location).status_code == 204
    assert isinstance(run(client.runtime, attempt)[0], NotOwned)
    read = client.get(location).json
    assert (read["status"], read["suggestions_count"]) == ("canceled", 0)
    assert read["tokens_input"] > 0
    assert client.rows("generations") == []
    assert [row["amount"] for row in client.rows("usage_ledger")] == [1]


def test_deleting_one_that_has_ended_erases_its_suggestions(client):
    location = done(client)
    assert [client.delete(location).status_code for _ in range(2)] == [204, 204]
    assert client.get(f"{location}/suggestions").status_code == 404
    read = client.get(location).json
    assert (read["status"], read["suggestions_count"]) == ("succeeded", 0)


def counts(client):
    (record,) = client.rows("generations")
    return record["accepted_unedited_count"], record["accepted_edited_count"]


def test_decisions_are_kept_and_counted_and_may_be_changed(client):
    location = done(client)
    first, second, *_ = suggestions(client, location)

    def decide(card, **decision):
        answer = client.patch(f"/ai/suggestions/{card['id']}", json=decision)
        assert answer.status_code == 200
        return {name: answer.json[name] for name in ("front", "back", "status")}

    assert counts(client) == (None, None)
    as_it_was = {"front": first["front"], "back": first["back"]}
    assert decide(first, status="accepted") == as_it_was | {"status": "accepted"}
    assert counts(client) == (1, 0)
    assert decide(first, status="accepted", front=first["front"])["status"] == "accepted"
    edited = {"front": first["front"], "back": "Mine", "status": "accepted_edited"}
    assert decide(first, status="accepted", back="Mine") == edited
    assert decide(first, status="accepted") == edited
    assert counts(client) == (0, 1)
    assert decide(second, status="rejected")["status"] == "rejected"
    assert counts(client) == (0, 1)
    assert decide(first, status="rejected")["status"] == "rejected"
    assert counts(client) == (0, 0)
    assert [card["id"] for card in suggestions(client, location, "?status=rejected")] == [first["id"], second["id"]]


def test_several_are_reviewed_together_all_or_none(client):
    location, other = done(client), done(client)
    cards = suggestions(client, location)
    reviews = [{"id": card["id"], "status": "accepted"} for card in cards]
    stranger = {"id": suggestions(client, other)[0]["id"], "status": "accepted"}
    path = f"{location}/suggestions/review"
    assert client.post(path, json={"reviews": [*reviews, stranger]}).status_code == 404
    assert client.post(path, json={"reviews": [*reviews, reviews[0]]}).status_code == 400
    assert {card["status"] for card in suggestions(client, location)} == {"proposed"}
    answer = client.post(path, json={"reviews": reviews[::-1]})
    assert [card["id"] for card in answer.json["suggestions"]] == [card["id"] for card in cards[::-1]]
    assert {card["status"] for card in answer.json["suggestions"]} == {"accepted"}


def test_reviews_at_the_same_time_are_all_counted(client, database):
    location = done(client)
    first, second = suggestions(client, location)[:2]
    waiting = "select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    with ThreadPoolExecutor(2) as threads:
        with psycopg.connect(database) as conn:
            conn.execute("select 1 from generations for update")  # so that both have begun before one ends
            answers = [
                threads.submit(client.patch, f"/ai/suggestions/{card['id']}", json={"status": "accepted"})
                for card in (first, second)
            ]
            until(lambda: len(client.query(waiting)) == 2)
        assert [answer.result().status_code for answer in answers] == [200, 200]
    assert counts(client) == (2, 0)


def test_reviews_of_the_same_cards_in_opposite_order_do_not_wait_for_each_other(client):
    deck = f"/decks/{uuid4()}"
    for topic in ("Rome", "Athens"):
        client.post(f"{deck}/generation", json={"topic": topic, "count": 3})
        client.work()
    ids = [pair["id"] for pair in client.get(f"{deck}/pairs").json["pairs"]]
    reviews = [Review(UUID(id_), "accepted") for id_ in ids]
    with ThreadPoolExecutor(4) as threads:
        done_ = [
            threads.submit(review, client.runtime.pool, client.user_id, reviews[:: 1 - 2 * (turn % 2)])
            for turn in range(40)
        ]
        assert {len(each.result()) for each in done_} == {len(ids)}


@pytest.mark.parametrize(
    "decision",
    [{}, {"status": "proposed"}, {"status": "accepted", "front": " "}, {"status": "accepted", "back": "a\0b"}],
)
def test_a_bad_decision_is_refused(client, decision):
    card = suggestions(client, done(client))[0]
    assert client.patch(f"/ai/suggestions/{card['id']}", json=decision).status_code == 400


def test_what_the_model_wrote_first_stays_known_however_often_a_front_is_edited(client):
    card = suggestions(client, done(client))[0]
    for front in ("Mine?", "Mine, better?"):
        client.patch(f"/ai/suggestions/{card['id']}", json={"status": "accepted", "front": front})
    (row,) = client.query(f"select front, written_front from ai_suggestions where id = '{card['id']}'")
    assert row == {"front": "Mine, better?", "written_front": card["front"]}


def test_an_edited_side_has_the_bounds_of_a_side(open_client):
    client = open_client(max_front_characters=30, max_back_characters=40)
    location = done(client)
    (card, *_) = suggestions(client, location)
    for side, longest in (("front", 30), ("back", 40)):
        for length, status in ((longest, 200), (longest + 1, 400)):
            decision = {"status": "accepted", side: "é" * length}
            assert client.patch(f"/ai/suggestions/{card['id']}", json=decision).status_code == status
            together = {"reviews": [{"id": card["id"]} | decision]}
            assert client.post(f"{location}/suggestions/review", json=together).status_code == status
    schema = client.get("/openapi.json").json["components"]["schemas"]["SuggestionReview"]["properties"]
    assert [schema[side]["anyOf"][0]["maxLength"] for side in ("front", "back")] == [30, 40]


def test_the_whole_way_through_the_running_service(service):
    headers = {"Authorization": f"Bearer {service.token()}", "Connection": "close"}
    accepted = requests.post(f"{service.url}/ai/generations", json=BODY, headers=headers, timeout=10)
    assert accepted.status_code == 202
    location = service.url + accepted.headers["Location"]
    assert requests.get(f"{location}?wait=25", headers=headers, timeout=30).json()["status"] == "succeeded"
    cards = requests.get(f"{location}/suggestions", headers=headers, timeout=10).json()["suggestions"]
    decision = {"status": "accepted"}
    path = f"{service.url}/api/ai/suggestions/{cards[0]['id']}"
    assert requests.patch(path, json=decision, headers=headers, timeout=10).json()["status"] == "accepted"
