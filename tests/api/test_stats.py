"""What a model is worth: each figure, counted from what went through the doors."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from statistics import median
from uuid import uuid4

import pytest
from tests.conftest import SOURCE_TEXT

from recto.db import stats
from recto.sandbox.server import start
from recto.text import generate

MODEL = "sandbox/extractive"
BODY = {"source_text": SOURCE_TEXT}
# One fact, so that the sandbox adds cards that the text knows nothing of.
POOR = {"source_text": "A cartouche is an oval frame that surrounds the name of a king. " * 20}


@pytest.fixture
def provider():
    """A provider whose completions cost money."""
    with start(chunks_per_second=0, usd_per_token=0.001) as sandbox:
        yield sandbox


@pytest.fixture
def client(open_client, provider):
    return open_client(openrouter_base_url=provider.base_url)


@pytest.fixture(autouse=True)
def one_language(monkeypatch):
    """No language is looked for: all cards of a model stand in one row."""
    monkeypatch.setattr(generate, "detect", lambda _: None)


def failing(body, fault):
    return {**body, "source_text": f"{body['source_text']}\n[sandbox: {fault}]"}


def told(client, days=30):
    answer = client.get(f"/stats?days={days}")
    assert answer.status_code == 200
    return answer.json


def only(client):
    (of_model,) = told(client)["models"]
    return of_model


def stream(client, body=BODY):
    return client.post(json=body, headers={"Accept": "text/event-stream"}).text


def bill(provider):
    """What the provider is owed, by its own books; what it refuses is free."""
    answered = [call for call in provider.generations._kept.values() if call.finish_reason]
    assert answered
    return sum(call.cost for call in answered)


def test_who_has_made_nothing_is_told_nothing(client):
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    read = told(client, days=1)
    assert datetime.fromisoformat(read.pop("since")) == today
    assert read == {"days": 1, "models": [], "cost_by_day": []}
    assert client.get("/stats").json["days"] == 30


@pytest.mark.parametrize("query", ["days=0", "days=3651", "days=a", "days=1&days=2"])
def test_what_is_no_number_of_days_is_refused(client, query):
    assert client.get(f"/stats?{query}").status_code == 400


def test_every_door_is_counted(client, provider):
    made = [client.post(json=body).json["generated_count"] for body in (BODY, failing(BODY, "duplicates"))]
    made.append(len(client.post("/sessions/ai", json=BODY).json["session"]["proposals"]))
    stream(client)
    client.post("/ai/generations", json=BODY)
    client.post(f"/decks/{uuid4()}/generation", json={"topic": "Rome", "count": 20})
    assert client.work() == ["succeeded", "succeeded"]
    rows = client.rows("generations")
    assert [row["generated_count"] for row in rows[:3]] == made
    read = only(client)
    assert (read["model"], read["prompt_version"], read["language"]) == (MODEL, rows[0]["prompt_version"], None)
    assert (read["generations"], read["failures"]) == (6, 0)
    assert read["proposed"] == sum(row["generated_count"] for row in rows)
    assert read["dropped"] == dict(sum((Counter(row["dropped"]) for row in rows), Counter()))
    assert read["dropped"]["duplicate"] > 0
    assert read["cost_usd"] == pytest.approx(bill(provider))
    assert (read["tokens_input"] + read["tokens_output"]) * 0.001 == pytest.approx(bill(provider))
    assert read["tokens_per_kept_card"] is read["cost_usd_per_kept_card"] is None


def test_decisions_outlive_the_suggestions(client, provider):
    record = client.post(json=BODY).json["generation_id"]
    client.patch(f"/generations/{record}", json={"accepted_unedited_count": 2, "accepted_edited_count": 1})
    session = client.post("/sessions/ai", json=BODY).json
    path = f"/ai/generations/{session['generation']['generation_id']}"
    decisions = [{"status": "accepted"}, {"status": "accepted", "back": "Mine"}, {"status": "rejected"}]
    cards = session["session"]["proposals"][:3]
    reviews = [{"id": card["id"]} | decision for card, decision in zip(cards, decisions, strict=True)]
    assert client.post(f"{path}/suggestions/review", json={"reviews": reviews}).status_code == 200
    before = only(client)
    assert (before["accepted_unedited"], before["accepted_edited"], before["rejected"]) == (3, 2, 1)
    assert before["cost_usd_per_kept_card"] == pytest.approx(bill(provider) / 5)
    assert before["tokens_per_kept_card"] == (before["tokens_input"] + before["tokens_output"]) / 5
    assert client.delete(path).status_code == 204
    assert only(client) == before


def test_a_decision_that_is_changed_is_counted_anew(client):
    (card, *_) = client.post("/sessions/ai", json=BODY).json["session"]["proposals"]
    for status, counts in (("rejected", (0, 1)), ("accepted", (1, 0)), ("rejected", (0, 1))):
        client.patch(f"/ai/suggestions/{card['id']}", json={"status": status})
        read = only(client)
        assert (read["accepted_unedited"], read["rejected"]) == counts


def test_what_a_text_supports_is_counted_where_it_was_looked_at(client):
    client.post(json=BODY)
    assert (only(client)["grounded"], only(client)["grounding_known"]) == (0, 0)
    asked = failing(POOR, "truncated") | {"include": ["grounding"]}
    cards = client.post(json=asked).json["flashcards_proposals"]
    cards += client.post("/sessions/ai", json=failing(POOR, "truncated")).json["session"]["proposals"]
    assert 0 < sum(card["grounded"] for card in cards) < len(cards)
    streamed = stream(client, asked)
    read = only(client)
    assert read["grounded"] == sum(card["grounded"] for card in cards) + streamed.count('"grounded":true')
    assert read["grounding_known"] == len(cards) + streamed.count("event: proposal")
    client.post(f"/decks/{uuid4()}/generation", json={"topic": "Rome", "count": 3})
    assert client.work() == ["succeeded"]  # of a topic there is no text to look at
    after = only(client)
    assert after["proposed"] == read["proposed"] + 3
    assert (after["grounded"], after["grounding_known"]) == (read["grounded"], read["grounding_known"])


def test_the_median_is_of_what_was_streamed(client):
    client.post(json=BODY)
    assert only(client)["median_first_proposal_ms"] is None
    for _ in range(3):
        stream(client)
    client.query("update generations set first_proposal_ms = id * id where first_proposal_ms is not null")
    expected = median(row["id"] ** 2 for row in client.rows("generations")[1:])
    assert only(client)["median_first_proposal_ms"] == expected


def test_what_failed_and_succeeded_at_last_is_paid_for_once_each(client, provider):
    failed = client.post("/sessions/ai", json=failing(BODY, "empty"))
    assert failed.status_code == 502
    read = only(client)
    assert (read["generations"], read["failures"]) == (0, 1)
    assert read["cost_usd"] == pytest.approx(bill(provider))
    client.query(
        "update generation_jobs set finished_at = finished_at - interval '10 s', payload = jsonb_set(payload,"
        " '{source_text}', to_jsonb(split_part(payload ->> 'source_text', '[', 1)))"
    )
    assert client.post(f"/sessions/ai/{failed.json['generation_id']}/retry").status_code == 200
    client.post(json=failing(BODY, "empty"))
    read = told(client)
    (of_model,) = read["models"]
    assert (of_model["generations"], of_model["failures"]) == (1, 2)
    assert of_model["cost_usd"] == pytest.approx(bill(provider))
    assert read["cost_by_day"] == [
        {"date": datetime.now(UTC).date().isoformat(), "cost_usd": pytest.approx(bill(provider))}
    ]


def test_each_attempt_that_failed_is_a_failure(client):
    client.post("/ai/generations", json=failing(BODY, "http-503"))
    ends = [client.work() for _ in range(3)]
    assert ends == [["retried"], ["retried"], ["failed"]]
    read = only(client)
    assert (read["generations"], read["failures"], read["cost_usd"]) == (0, 3, None)


def test_what_was_canceled_is_paid_for_too(client, provider):
    deck = f"/decks/{uuid4()}/generation"
    job_id = client.post(deck, json={"topic": "Rome [sandbox: flaky-batch]", "count": 30}).json["generation_id"]
    assert client.work() == ["retried"]
    client.delete(f"/ai/generations/{job_id}")
    read = only(client)
    assert (read["generations"], read["failures"]) == (0, 1)
    assert read["cost_usd"] == pytest.approx(bill(provider))


def test_models_versions_and_languages_stand_apart(open_client):
    client = open_client(allowed_models="sandbox/fenced,sandbox/http-402")
    client.post(json=BODY)
    for model in ("sandbox/fenced", "sandbox/http-402"):
        client.post("/sessions/ai", json=BODY | {"model": model})
    kinds = [(read["model"], read["generations"], read["failures"]) for read in told(client)["models"]]
    assert kinds == [(MODEL, 1, 0), ("sandbox/fenced", 1, 0), ("sandbox/http-402", 0, 1)]
    for column, value in (("language", "pl"), ("prompt_version", "0")):
        client.post(json=BODY)
        (last,) = client.query("select job_id from generations order by id desc limit 1")
        for table in ("generations", "recto.synchronous_costs"):
            client.query(f"update {table} set {column} = '{value}' where job_id = '{last['job_id']}'")
    read = [of_model for of_model in told(client)["models"] if of_model["model"] == MODEL]
    version = client.rows("generations")[0]["prompt_version"]
    assert [(of_model["prompt_version"], of_model["language"], of_model["generations"]) for of_model in read] == [
        ("0", None, 1),
        (version, None, 1),
        (version, "pl", 1),
    ]
    assert all(of_model["cost_usd"] == 0 for of_model in read)


def test_a_job_costs_and_fails_in_the_language_of_its_record(client, provider):
    client.post(f"/decks/{uuid4()}/generation", json={"topic": "Rome [sandbox: flaky-batch]", "count": 30})
    assert [client.work(), client.work()] == [["retried"], ["succeeded"]]
    client.query("update generations set language = 'it'")
    client.query("update generation_jobs set language = 'it'")
    read = only(client)
    assert (read["language"], read["generations"], read["failures"]) == ("it", 1, 1)
    assert read["cost_usd"] == pytest.approx(bill(provider))


def test_days_are_utcs_and_todays_is_one(client):
    client.post(json=BODY)
    client.post("/sessions/ai", json=BODY)
    client.post(json=failing(BODY, "empty"))
    today = told(client, days=1)
    for table, column in (
        ("generations", "created_at"),
        ("generation_error_logs", "created_at"),
        ("generation_attempts", "started_at"),
        ("recto.synchronous_costs", "created_at"),
    ):
        client.query(f"update {table} set {column} = date_trunc('day', now(), 'utc') - interval '1 s'")
    assert told(client, days=1)["models"] == told(client, days=1)["cost_by_day"] == []
    two = told(client, days=2)
    assert two["models"] == today["models"]
    (cost,) = two["cost_by_day"]
    assert cost["date"] == (datetime.now(UTC) - timedelta(days=1)).date().isoformat()


def test_nobody_sees_what_others_made_but_the_operator(client, open_client):
    other = open_client()
    for each in (client, other):
        each.post(json=BODY)
        each.post(json=failing(BODY, "empty"))
        each.post("/sessions/ai", json=BODY)
    mine, theirs = only(client), only(other)
    assert (mine["generations"], mine["failures"]) == (theirs["generations"], theirs["failures"]) == (2, 1)
    assert theirs["cost_usd"] == 0 < mine["cost_usd"]
    (everybody,) = stats.of_everybody(client.runtime.settings.database_url, days=1).models
    assert (everybody.generations, everybody.failures) == (4, 2)
    assert everybody.cost_usd == pytest.approx(mine["cost_usd"])
    assert everybody.tokens_output == mine["tokens_output"] + theirs["tokens_output"]


def test_pictures_are_not_counted(images):
    for prompt in ("a fox", "a fox [sandbox: failed]"):
        images.post("/v1/generations", json={"mode": "imagine", "prompt": prompt})
        images.query("update generation_jobs set status = 'canceled', finished_at = now() where kind = 'image'")
    images.query("update generation_attempts set cost_usd = 1, tokens_output = 1")
    assert images.query("select count(*) as n from generation_attempts") == [{"n": 2}]
    images.query(
        "insert into generation_error_logs (user_id, job_id, attempt, model, error_code, error_message, is_image,"
        " cost_usd) select user_id, id, 2, 'm', 'upstream_failed', '', true, 1 from generation_jobs"
    )
    read = told(images)
    assert read["models"] == read["cost_by_day"] == []
