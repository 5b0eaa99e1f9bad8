"""Where each card stands: asked for at `POST /generations`, always there in what is kept for review."""

import json
from uuid import uuid4

import pytest

TEXTS = {
    "plain": "The Rosetta Stone was found in 1799. It bears a decree in three scripts. Champollion read it in 1822. "
    * 12,
    "emoji": "  🌊 The flood of 1953 drowned 1,836 people.\r\nIt led to the Delta Works. A last dam came in 1997. "
    * 12,
    "combining": "Cafe\u0301 culture began in Vienna in 1685. Johannes Diodato opened the first coffee house there. "
    * 12,
    "rtl": "حجر رشيد لوح من الجرانوديوريت. عثر عليه سنة 1799 في مدينة رشيد. يحمل مرسوما واحدا بثلاثة خطوط. " * 12,
    "unspaced": "羅塞塔石碑是一塊花崗閃長岩石碑。它於1799年在埃及被發現。商博良於1822年破譯了象形文字。" * 25,
}
KEYS = {"quote", "start", "end", "grounded"}


def assert_stands_in(text, card):
    assert text.strip()[card["start"] : card["end"]] == card["quote"]
    assert card["grounded"] is True
    assert card["back"] in card["quote"]  # the sandbox's model copies its answers


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_each_proposal_says_where_it_stands(client, text):
    answer = client.post(json={"source_text": text, "include": ["grounding"]}).json
    for proposal in answer["flashcards_proposals"]:
        assert_stands_in(text, proposal)


def test_without_being_asked_for_nothing_is_added(client):
    for body in ({}, {"include": []}):
        for proposal in client.post(json={"source_text": TEXTS["plain"]} | body).json["flashcards_proposals"]:
            assert not proposal.keys() & KEYS


def test_what_else_is_to_be_included_is_refused(client):
    assert client.post(json={"source_text": TEXTS["plain"], "include": ["all"]}).status_code == 400


def test_a_stream_and_its_replay_have_it(client):
    body, key = {"source_text": TEXTS["emoji"], "include": ["grounding"]}, {"Idempotency-Key": uuid4().hex}
    for _ in range(2):
        sent = client.post(json=body, headers={"Accept": "text/event-stream", **key}).text
        cards = [json.loads(event.partition("data: ")[2]) for event in sent.split("\n\n") if "proposal\n" in event]
        assert cards
        for card in cards:
            assert_stands_in(TEXTS["emoji"], card)


def test_jobs_keep_it_with_their_suggestions_and_no_longer(client):
    text = TEXTS["plain"]
    job_id = client.post("/ai/generations", json={"source_text": text}).json["generation_id"]
    session = client.post("/sessions/ai", json={"source_text": text}).json["session"]
    deck_id = uuid4()
    client.post(f"/decks/{deck_id}/generation", json={"source_text": text, "count": 2})
    client.work()
    kept = client.get(f"/ai/generations/{job_id}/suggestions").json["suggestions"]
    pairs = client.get(f"/decks/{deck_id}/pairs").json["pairs"]
    for card in kept + session["proposals"] + pairs:
        assert_stands_in(text, card)
    (first, *_) = kept
    reviewed = client.patch(f"/ai/suggestions/{first['id']}", json={"status": "accepted", "front": "Other?"}).json
    assert reviewed["quote"] == first["quote"]
    client.delete(f"/ai/generations/{job_id}")
    assert client.query(f"select 1 from ai_suggestions where job_id = '{job_id}'") == []


def test_a_topic_has_no_text_to_stand_in(client):
    deck_id = uuid4()
    client.post(f"/decks/{deck_id}/generation", json={"topic": "Rome", "count": 2})
    client.work()
    for pair in client.get(f"/decks/{deck_id}/pairs").json["pairs"]:
        assert {pair[key] for key in KEYS} == {None}
