"""Pairs for a deck, through the doors; how batches survive failures is the worker's tests' part."""

from uuid import uuid4

import pytest
import requests

from recto.text.prompt import MAX_KNOWN_CHARACTERS
from recto.text.proposals import comparable

TEXT = "The Rosetta Stone is a slab of granodiorite. It was found in July 1799 by French soldiers. " * 15


@pytest.fixture
def deck():
    return f"/decks/{uuid4()}"


def start(client, deck, **body):
    return client.post(f"{deck}/generation", json=body)


def fronts(client, deck):
    return [pair["front"] for pair in client.get(f"{deck}/pairs?limit=100").json["pairs"]]


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_a_topic_becomes_as_many_pairs_as_were_asked_for(client, deck, prefix):
    accepted = start(client, prefix + deck, topic="Roman emperors", count=50)
    assert accepted.status_code == 202
    assert accepted.headers["Location"] == f"{prefix}{deck}/generation"
    assert client.get(f"{deck}/generation").json["pairs_generated"] == 0
    assert client.work() == ["succeeded"]
    read = client.get(f"{deck}/generation").json
    assert (read["kind"], read["status"], read["count"], read["pairs_generated"]) == ("deck", "succeeded", 50, 50)
    assert len({comparable(front) for front in fronts(client, deck)}) == 50
    (record,) = client.rows("generations")
    assert (record["generated_count"], record["is_topic"], record["source_text_length"]) == (50, True, 14)


def test_a_text_brings_no_more_pairs_than_it_has_facts(client, deck):
    start(client, deck, source_text=TEXT, count=50)
    assert client.work() == ["succeeded"]
    read = client.get(f"{deck}/generation").json
    assert 0 < read["pairs_generated"] < 50
    assert (record := client.rows("generations")[0])["generated_count"] == read["pairs_generated"]
    assert record["is_topic"] is False


def test_neither_a_banned_front_nor_one_of_the_deck_comes_again(client, deck):
    start(client, deck, topic="Rome", count=10, banlist=["what is FACT 2 about rome", "What is fact 4 about Rome?!"])
    client.work()
    first = fronts(client, deck)
    start(client, deck, topic="Rome", count=10)
    client.work()
    both = fronts(client, deck)
    assert both[:10] == first
    assert len({comparable(front) for front in both}) == 20
    assert "What is fact 2 about Rome?" not in first
    assert "What is fact 4 about Rome?" not in first


def test_what_is_known_is_sent_to_the_provider_up_to_a_number_of_characters(client, deck):
    start(client, deck, topic="Rome", count=1)
    client.work()
    alone = client.get(f"{deck}/generation").json["tokens_input"]
    start(client, deck, topic="Rome", count=1, banlist=[f"{n} {'long ' * 1998}" for n in range(25)])
    client.work()
    assert fronts(client, deck) == ["What is fact 1 about Rome?", "What is fact 2 about Rome?"]
    sent = client.get(f"{deck}/generation").json["tokens_input"] - alone  # the sandbox counts four characters a token
    assert 25 * 200 / 4 < sent < (MAX_KNOWN_CHARACTERS + 300) / 4


def test_pairs_come_in_pages(client, deck):
    start(client, deck, topic="Rome", count=5)
    client.work()
    one = client.get(f"{deck}/pairs?limit=3").json
    two = client.get(f"{deck}/pairs?limit=3&cursor={one['next_cursor']}").json
    assert [len(page["pairs"]) for page in (one, two)] == [3, 2]
    assert two["next_cursor"] is None
    assert len({pair["id"] for pair in one["pairs"] + two["pairs"]}) == 5


def test_a_page_skips_nothing_when_pairs_before_it_were_erased(client, deck):
    first, _ = [
        (start(client, deck, topic=topic, count=3).json["generation_id"], client.work()) for topic in ("Rome", "Athens")
    ]
    every = fronts(client, deck)
    page = client.get(f"{deck}/pairs?limit=4").json
    client.delete(f"/ai/generations/{first[0]}")
    rest = client.get(f"{deck}/pairs?limit=4&cursor={page['next_cursor']}").json
    assert [pair["front"] for pair in page["pairs"] + rest["pairs"]] == every


def test_a_deck_has_one_generation_in_flight(client, deck):
    assert start(client, deck, topic="Rome", count=5).status_code == 202
    refused = start(client, deck, topic="Rome", count=5)
    assert (refused.status_code, refused.json["error"]) == (409, "in_progress")
    client.work()
    assert start(client, deck, topic="Rome", count=5).status_code == 202


def test_a_deck_is_the_first_users_who_generates_into_it(client, open_client, deck):
    start(client, deck, topic="Rome", count=5)
    other = open_client()
    assert start(other, deck, topic="Rome", count=5).status_code == 404
    assert other.get(f"{deck}/generation").status_code == 404
    assert other.get(f"{deck}/pairs").status_code == 404
    assert len(client.rows("generation_jobs")) == 1


def test_what_nobody_generated_into_is_not_there(client, deck):
    assert client.get(f"{deck}/generation").status_code == client.get(f"{deck}/pairs").status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        {"count": 5},
        {"topic": "Rome", "source_text": TEXT, "count": 5},
        {"topic": "Rome"},
        {"topic": "Rome", "count": 0},
        {"topic": "Rome", "count": 51},
        {"topic": "Rome", "count": "5"},
        {"topic": "Ro", "count": 5},
        {"topic": "two\nlines", "count": 5},
        {"source_text": "short", "count": 5},
        {"topic": "Rome", "count": 5, "banlist": [" "]},
        {"topic": "Rome", "count": 5, "banlist": ["x"] * 501},
        {"topic": "Rome", "count": 5, "banlist": ["x" * 10_001]},
        {"topic": "Rome", "count": 5, "model": "another/model"},
        {"topic": "Rome", "count": 5, "prompt_version": "99"},
    ],
)
def test_what_cannot_be_done_is_refused(client, deck, body):
    refused = start(client, deck, **body)
    assert (refused.status_code, refused.json["error"]) == (400, "invalid_request")


def test_a_deck_id_is_a_uuid(client):
    assert start(client, "/decks/7", topic="Rome", count=5).status_code == 400
    assert client.get("/decks/7/pairs").status_code == 400


def test_a_failed_deck_is_always_retried_in_the_background_and_keeps_its_pairs(client, deck):
    start(client, deck, topic="Rome [sandbox: flaky-batch]", count=30)
    assert client.work() == ["retried"]
    assert client.get(f"{deck}/generation").json["pairs_generated"] == 15
    client.query("update generation_jobs set status = 'failed', finished_at = now() - interval '10 s'")
    job_id = client.rows("generation_jobs")[0]["id"]
    assert client.post(f"/sessions/ai/{job_id}/retry").status_code == 202
    assert client.work() == ["succeeded"]
    assert len(fronts(client, deck)) == 30


def test_pairs_that_are_reviewed_before_the_deck_is_done_are_counted(client, deck):
    start(client, deck, topic="Rome [sandbox: flaky-batch]", count=30)
    assert client.work() == ["retried"]
    kept, refused = client.get(f"{deck}/pairs").json["pairs"][:2]
    client.patch(f"/ai/suggestions/{kept['id']}", json={"status": "accepted"})
    client.patch(f"/ai/suggestions/{refused['id']}", json={"status": "rejected"})
    assert client.work() == ["succeeded"]
    (record,) = client.rows("generations")
    counts = [record[f"{name}_count"] for name in ("accepted_unedited", "accepted_edited", "rejected")]
    assert counts == [1, 0, 1]


def test_a_deck_through_the_running_service(service):
    headers = {"Authorization": f"Bearer {service.token()}", "Connection": "close"}
    url = f"{service.url}/decks/{uuid4()}"
    body = {"topic": "Roman emperors", "count": 30}
    accepted = requests.post(f"{url}/generation", json=body, headers=headers, timeout=10)
    path = f"{service.url}/ai/generations/{accepted.json()['generation_id']}"
    assert requests.get(f"{path}?wait=25", headers=headers, timeout=30).json()["status"] == "succeeded"
    assert len(requests.get(f"{url}/pairs?limit=100", headers=headers, timeout=10).json()["pairs"]) == 30
