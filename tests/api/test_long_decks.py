"""Decks of texts that are longer than a call may be, through the doors."""

import json
from uuid import uuid4

import pytest

from recto.api.bodies import MAX_BODY_BYTES
from recto.db import attempts
from recto.errors import UpstreamTimeout
from recto.text.proposals import comparable

TITLES = ("The Rosetta Stone", "Cartouches", "The decipherment")


def facts(about, length):
    """Sentences of which each is a fact of its own."""
    found = ""
    number = 0
    while len(found) < length:
        number += 1
        found += f"{about} item {number} is a thing of stone that weighs {number + 100} pounds in all. "
        found += "\n\n" if number % 6 == 0 else ""
    return found.strip()


def chapter(*titles, length=6000):
    return "\n\n".join(f"# {title}\n\n{facts(title, length)}" for title in titles)


@pytest.fixture
def deck():
    return f"/decks/{uuid4()}"


def start(client, deck, text, **body):
    return client.post(f"{deck}/generation", json={"source_text": text} | body)


def pairs(client, deck):
    return client.get(f"{deck}/pairs?limit=100").json["pairs"]


def test_a_long_text_is_asked_section_by_section(client, deck):
    text = f"\n {chapter(*TITLES)} \n"
    assert start(client, deck, text, count=30).status_code == 202
    pending = client.get(f"{deck}/generation").json
    assert (pending["sections"], pending["sections_done"], pending["coverage"]) == (3, 0, 0)
    assert pending["sections_without_cards"] == []
    assert client.work() == ["succeeded"]
    read = client.get(f"{deck}/generation").json
    assert (read["sections"], read["sections_done"], read["coverage"]) == (3, 3, 1)
    assert (read["pairs_generated"], read["incomplete"], read["sections_without_cards"]) == (30, None, [])
    cards = pairs(client, deck)
    assert [card["section"] for card in cards] == [
        {"number": number, "title": title} for number, title in enumerate(TITLES, 1) for _ in range(10)
    ]
    assert len({comparable(card["front"]) for card in cards}) == 30
    assert all(text.strip()[card["start"] : card["end"]] == card["quote"] for card in cards)
    assert all(card["quote"].startswith(card["section"]["title"]) and card["grounded"] for card in cards)
    (record,) = client.rows("generations")
    assert (record["source_text_length"], record["generated_count"]) == (len(text.strip()), 30)
    calls = client.query("select * from generation_attempts")
    assert len(calls) == 3
    assert sum(call["tokens_input"] for call in calls) < 2 * len(text) / 4  # each has seen one section


def test_a_text_that_fits_one_call_has_no_sections(client, deck):
    start(client, deck, facts("Stone", 9000), count=5)
    client.work()
    read = client.get(f"{deck}/generation").json
    assert (read["pairs_generated"], read["sections"], read["sections_done"], read["coverage"]) == (5, None, None, None)
    assert read["sections_without_cards"] == []
    assert [card["section"] for card in pairs(client, deck)] == [None] * 5
    assert client.rows("generation_jobs")[0]["sections"] is None


def test_a_section_without_a_card_is_said_and_the_others_bring_its_share(client, deck):
    spoilt = [f"# {name}\n\n[sandbox: {name}]\n\n{facts('Stone', 6000)}" for name in ("invalid-json", "refusal")]
    text = "\n\n".join([chapter("One"), *spoilt, chapter("Two")])
    start(client, deck, text, count=24)
    assert client.work() == ["succeeded"]
    read = client.get(f"/ai/generations/{client.rows('generation_jobs')[0]['id']}").json
    assert (read["sections"], read["sections_done"], read["suggestions_count"]) == (4, 4, 24)
    said = read["sections_without_cards"]
    assert [(section["number"], section["title"]) for section in said] == [(2, "invalid-json"), (3, "refusal")]
    assert [section["reason"] for section in said] == ["model_stopped", "upstream_invalid_response"]
    assert [text[section["start"] : section["end"]] for section in said] == spoilt
    assert 0.4 < read["coverage"] < 0.6


def test_with_fewer_cards_than_sections_those_that_were_not_asked_are_said(client, deck):
    start(client, deck, chapter(*TITLES, "Afterlife", length=8000), count=2)
    assert client.work() == ["succeeded"]
    read = client.get(f"{deck}/generation").json
    assert (read["pairs_generated"], read["sections"], read["sections_done"]) == (2, 4, 4)
    assert [section["reason"] for section in read["sections_without_cards"]] == ["not_asked"] * 2
    assert len(client.query("select * from generation_attempts")) == 2


def test_a_front_comes_once_over_all_sections(client, deck):
    start(client, deck, "\n\n".join(f"# {title}\n\n{facts('Stone', 6000)}" for title in TITLES), count=30)
    assert client.work() == ["succeeded"]
    fronts = [comparable(card["front"]) for card in pairs(client, deck)]
    assert len(fronts) == len(set(fronts)) == 30


def test_a_failed_deck_says_its_sections_and_goes_on_where_it_was(client, deck, monkeypatch):
    provider = type(client.runtime.openrouter)
    asked, complete = [], provider.complete

    def times_out_once(self, **named):
        asked.append(named["user"])
        if len(asked) == 2:
            raise UpstreamTimeout("late", model="m")
        return complete(self, **named)

    monkeypatch.setattr(provider, "complete", times_out_once)
    start(client, deck, chapter(*TITLES), count=30)
    assert client.work() == ["failed"]
    read = client.get(f"{deck}/generation").json
    assert (read["sections_done"], read["pairs_generated"]) == (1, 10)
    assert [(section["number"], section["reason"]) for section in read["sections_without_cards"]] == [
        (2, "upstream_timeout"),
        (3, "upstream_timeout"),
    ]
    client.query("update generation_jobs set finished_at = now() - interval '10 s'")
    assert client.post(f"/sessions/ai/{read['generation_id']}/retry").status_code == 202
    assert client.get(f"{deck}/generation").json["sections_without_cards"] == []
    assert client.work() == ["succeeded"]
    assert [title in user for title, user in zip([*TITLES[:2], *TITLES[1:]], asked, strict=True)] == [True] * 4
    assert client.get(f"{deck}/generation").json["coverage"] == 1
    assert len(pairs(client, deck)) == 30


def test_a_text_without_anything_to_ask_fails_after_its_last_section(client, deck):
    start(
        client, deck, "\n\n".join([f"# {title}\n\n[sandbox: refusal]\n\n" + "a " * 3000 for title in TITLES]), count=5
    )
    assert client.work() == ["failed"]
    read = client.get(f"{deck}/generation").json
    assert read["error"]["code"] == "upstream_invalid_response"
    assert [section["number"] for section in read["sections_without_cards"]] == [1, 2, 3]


def test_a_canceled_deck_says_its_sections_without_their_titles(client, deck):
    generation_id = start(client, deck, chapter(*TITLES), count=30).json["generation_id"]
    assert client.delete(f"/ai/generations/{generation_id}").status_code == 204
    said = client.get(f"/ai/generations/{generation_id}").json["sections_without_cards"]
    assert [(section["title"], section["reason"]) for section in said] == [(None, "canceled")] * 3


def test_titles_are_erased_with_the_suggestions_and_what_came_of_the_sections_stays(client, deck):
    generation_id = start(client, deck, chapter(*TITLES), count=30).json["generation_id"]
    client.work()
    client.delete(f"/ai/generations/{generation_id}")
    read = client.get(f"/ai/generations/{generation_id}").json
    assert (read["coverage"], read["sections_without_cards"]) == (1, [])
    assert "Rosetta" not in str(client.rows("generation_jobs")) + str(client.rows("ai_suggestions"))


def test_a_text_of_the_greatest_length_is_taken_in_its_longest_form(client, deck):
    """Each code point as the twelve bytes of two escapes, beside a body that is full without it."""
    text = "\U0001d538" * 200_000
    body = json.dumps({"source_text": text, "count": 200, "banlist": ["b" * 10_000] * 25})
    assert len(body) > 2_400_000 + 250_000
    sent = {"data": body, "content_type": "application/json", "headers": {"Idempotency-Key": "long"}}
    accepted = client.post(f"{deck}/generation", **sent)
    assert accepted.status_code == 202
    assert client.post(f"{deck}/generation", **sent).json == accepted.json
    assert client.get(f"{deck}/generation").json["source_text_length"] == 200_000


def test_what_is_longer_is_refused(open_client, deck):
    client = open_client(deck_max_characters=20_000)
    assert start(client, deck, "a" * 20_000, count=200).status_code == 202
    refused = start(client, deck, "a" * 20_001, count=200)
    assert (refused.status_code, refused.json["message"].split(",")[0]) == (
        400,
        "source_text must have 1000 to 20000 characters",
    )
    assert start(client, deck, "a" * 20_000, count=201).status_code == 400
    body = " " * (12 * 20_000 + MAX_BODY_BYTES + 1)
    assert client.post(f"{deck}/generation", data=body, content_type="application/json").status_code == 413


def test_other_doors_take_no_more_than_before(client):
    for path in ("/generations", "/ai/generations", "/sessions/ai"):
        assert client.post(path, json={"source_text": "a" * 10_001}).status_code == 400
        body = " " * (MAX_BODY_BYTES + 1)
        assert client.post(path, data=body, content_type="application/json").status_code == 413


def test_a_batch_whose_commit_was_not_heard_of_is_counted_once(client, deck, monkeypatch):
    add_batch = attempts.add_batch

    def unheard(*arguments, **named):
        add_batch(*arguments, **named)
        return add_batch(*arguments, **named)

    monkeypatch.setattr(attempts, "add_batch", unheard)
    start(client, deck, chapter(*TITLES), count=30)
    assert client.work() == ["succeeded"]
    assert [section["cards"] for section in client.rows("generation_jobs")[0]["sections"]] == [10, 10, 10]
    assert len(pairs(client, deck)) == 30
    assert len(client.query("select * from generation_attempts")) == 3
