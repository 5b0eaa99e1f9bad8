"""What users wrote is erased: on their wish, when its time is over, and with the user."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import uuid4

import psycopg
import pytest

from recto.db import claims, erasure
from recto.db.pool import as_service
from recto.jobs.outcomes import NotOwned
from recto.jobs.run import run
from recto.jobs.worker import erase

TEXT = "The Rosetta Stone is a slab of granodiorite. It was found in July 1799 by French soldiers. " * 15
BODY = {"source_text": TEXT}
BAD = {"source_text": f"{TEXT}\n[sandbox: http-402]"}
DECK = {"topic": "Rome", "count": 3, "banlist": ["Who founded Rome?"]}


def older(client, table, column, interval):
    client.query(f"update {table} set {column} = {column} - interval '{interval}'")


def test_what_can_no_longer_be_retried_is_erased(open_client):
    client = open_client(retry_window_hours=1)
    client.post("/sessions/ai", json=BAD)
    client.post("/ai/generations", json=BODY)
    older(client, "generation_jobs", "finished_at", "59 min")
    erase(client.runtime)
    assert [row["has_text"] for row in client.rows("generation_jobs")] == [True, True]
    older(client, "generation_jobs", "finished_at", "2 min")
    erase(client.runtime)
    kept = {row["kind"]: row["has_text"] for row in client.rows("generation_jobs")}
    assert kept == {"session": False, "review": True}  # the one that still waits needs its text


@pytest.mark.parametrize("how", ["success", "delete", "window"])
def test_nothing_that_the_user_wrote_is_left_in_the_job(open_client, how):
    client = open_client(retry_window_hours=1)
    client.post(f"/decks/{uuid4()}/generation", json=DECK)
    job_id = client.rows("generation_jobs")[0]["id"]
    if how == "success":
        assert client.work() == ["succeeded"]
    elif how == "delete":
        client.delete(f"/ai/generations/{job_id}")
    else:
        client.query("update generation_jobs set status = 'failed', finished_at = now() - interval '61 min'")
        erase(client.runtime)
    assert set(client.rows("generation_jobs")[0]["payload"]) == {"count", "model", "prompt_version"}


def test_retention_erases_old_suggestions_keys_and_events(open_client):
    client = open_client(retention_days=30)
    client.post("/sessions/ai", json=BODY, headers={"Idempotency-Key": "old"})
    job_id = client.rows("generation_jobs")[0]["id"]
    older(client, "generation_jobs", "finished_at", "29 days 23 hours")
    older(client, "generation_events", "created_at", "29 days 23 hours")
    older(client, "recto.idempotency_keys", "created_at", "23 hours 59 min")
    erase(client.runtime)
    assert client.rows("ai_suggestions")
    assert client.rows("generation_events")
    assert client.query("select 1 from recto.idempotency_keys")
    older(client, "recto.idempotency_keys", "created_at", "2 min")
    erase(client.runtime)
    assert client.query("select 1 from recto.idempotency_keys") == []
    older(client, "generation_jobs", "finished_at", "2 hours")
    older(client, "generation_events", "created_at", "2 hours")
    erase(client.runtime)
    assert client.rows("ai_suggestions") == client.rows("generation_events") == []
    assert client.get(f"/ai/generations/{job_id}/suggestions").status_code == 404
    read = client.get(f"/ai/generations/{job_id}").json
    assert (read["status"], read["suggestions_count"]) == ("succeeded", 0)
    assert len(client.rows("generations")) == 1


def test_a_long_backlog_is_erased_in_one_go(client, monkeypatch):
    monkeypatch.setattr(erasure, "_AT_ONCE", 2)
    for _ in range(5):
        client.post("/sessions/ai", json=BODY)
    older(client, "generation_jobs", "finished_at", "31 days")
    erase(client.runtime)
    assert client.rows("ai_suggestions") == []


def test_no_transaction_erases_more_than_its_share_of_a_long_backlog(client, monkeypatch):
    monkeypatch.setattr(erasure, "_AT_ONCE", 2)
    for n in range(5):
        client.post("/sessions/ai", json=BAD, headers={"Idempotency-Key": f"key-{n}"})
    older(client, "generation_jobs", "finished_at", "25 hours")
    older(client, "recto.idempotency_keys", "created_at", "25 hours")
    older(client, "generation_events", "created_at", "31 days")
    client.query(
        "create function bound() returns trigger language plpgsql as $$ begin"
        " if (select count(*) from touched) > 2 then raise 'too many at once'; end if; return null; end $$"
    )
    for table, how in (
        ("generation_jobs", "update"),
        ("recto.idempotency_keys", "delete"),
        ("generation_events", "delete"),
    ):
        client.query(
            f"create trigger bound after {how} on {table} referencing old table as touched"
            " for each statement execute function bound()"
        )
    erase(client.runtime)
    assert [row["has_text"] for row in client.rows("generation_jobs")] == [False] * 5
    assert client.rows("generation_events") == client.query("select * from recto.idempotency_keys") == []


def test_what_somebody_holds_is_passed_over_and_erased_later(client, database):
    held, _ = (client.post("/sessions/ai", json=BODY).json["generation"]["generation_id"] for _ in range(2))
    older(client, "generation_jobs", "finished_at", "31 days")
    left = "select distinct job_id::text from ai_suggestions"
    with ThreadPoolExecutor(1) as threads, psycopg.connect(database) as conn:
        conn.execute("select from generation_jobs where id = %s for update", (held,))
        threads.submit(erase, client.runtime).result(30)
        assert client.query(left) == [{"job_id": held}]
    erase(client.runtime)
    assert client.query(left) == []


def test_what_is_in_flight_is_not_old(client):
    client.post("/ai/generations", json=BODY)
    older(client, "generation_jobs", "created_at", "90 days")
    erase(client.runtime)
    assert client.work() == ["succeeded"]


@pytest.mark.parametrize(
    "path", ["/ai/generations", "/sessions/ai", "/decks/00000000-0000-4000-8000-00000000000d/generation"]
)
def test_a_key_means_a_new_generation_once_its_first_one_is_erased(client, path):
    count = {"count": 3} if "decks" in path else {}
    key = {"Idempotency-Key": "a-key"}
    client.post(path, json=BODY | count, headers=key)
    client.work()
    first = client.rows("generation_jobs")[0]["id"]
    client.delete(f"/ai/generations/{first}")
    again = client.post(path, json={"source_text": TEXT + " Other."} | count, headers=key)
    assert again.status_code in (200, 202)
    assert "Idempotent-Replayed" not in again.headers
    assert len(client.rows("generation_jobs")) == 2


def test_the_answer_under_a_retrys_key_is_erased_too(client):
    job_id = client.post("/sessions/ai", json=BAD).json["generation_id"]
    client.query(
        "update generation_jobs set payload = jsonb_set(payload, '{source_text}',"
        " to_jsonb(split_part(payload ->> 'source_text', chr(10), 1)))"
    )
    older(client, "generation_jobs", "finished_at", "10 seconds")
    key = {"Idempotency-Key": "retry"}
    assert client.post(f"/sessions/ai/{job_id}/retry", headers=key).status_code == 200
    client.delete(f"/ai/generations/{job_id}")
    assert client.query("select 1 from recto.idempotency_keys") == []
    assert client.post(f"/sessions/ai/{job_id}/retry", headers=key).status_code == 409


def test_deleting_twice_is_the_same(client):
    client.post("/sessions/ai", json=BODY)
    location = f"/ai/generations/{client.rows('generation_jobs')[0]['id']}"
    assert [client.delete(location).status_code for _ in range(2)] == [204, 204]


def test_nobody_deletes_what_is_anothers_or_only_a_reservation(open_client):
    client, other = open_client(quota_generations_per_month=9), open_client()
    client.post("/sessions/ai", json=BODY)
    client.post(json=BODY)
    for row in client.rows("generation_jobs"):
        assert other.delete(f"/ai/generations/{row['id']}").status_code == 404
        expected = 404 if row["kind"] == "synchronous" else 204
        assert client.delete(f"/ai/generations/{row['id']}").status_code == expected


def test_a_cancel_before_the_provider_was_asked_costs_nothing(open_client):
    client = open_client(quota_generations_per_month=1)
    for _ in range(3):
        location = client.post("/ai/generations", json=BODY).headers["Location"]
        assert client.delete(location).status_code == 204
    assert client.rows("usage_ledger") == []


def test_a_cancel_after_the_provider_was_asked_counts_at_once(open_client):
    client = open_client(quota_generations_per_month=1)
    location = client.post("/ai/generations", json=BODY).headers["Location"]
    client.claim()
    client.delete(location)
    assert len(client.rows("usage_ledger")) == 1
    assert client.post("/ai/generations", json=BODY).json["error"] == "quota_exceeded"
    assert [row["outcome"] for row in client.query("select outcome from generation_attempts")] == ["canceled"]


def test_a_deck_that_waits_for_its_next_batch_has_been_paid_for(open_client):
    client = open_client(quota_generations_per_month=1)
    client.post(f"/decks/{uuid4()}/generation", json={"source_text": TEXT, "count": 50})
    job_id = client.rows("generation_jobs")[0]["id"]
    client.query(
        "insert into generation_attempts (job_id, number, call, user_id, model, outcome)"
        f" select id, 1, 1, user_id, 'm', 'succeeded' from generation_jobs where id = '{job_id}'"
    )
    client.delete(f"/ai/generations/{job_id}")
    assert len(client.rows("usage_ledger")) == 1


def test_a_cancel_after_a_worker_was_lost_counts_as_the_provider_may_have_been_paid(open_client):
    client = open_client(quota_generations_per_month=1)
    location = client.post("/ai/generations", json=BODY).headers["Location"]
    client.claim()
    client.query("update generation_jobs set lease_until = now() - interval '1 s'")
    claims.recover_abandoned(client.runtime.pool)
    client.delete(location)
    assert len(client.rows("usage_ledger")) == 1


def test_a_cancel_after_a_failed_call_costs_nothing(open_client):
    client = open_client(quota_generations_per_month=1)
    location = client.post("/ai/generations", json={"source_text": f"{TEXT}\n[sandbox: http-503]"}).headers["Location"]
    assert client.work() == ["retried"]
    client.delete(location)
    assert client.rows("usage_ledger") == []


def test_deleting_a_failed_deck_costs_nothing_whatever_it_brought_before(open_client):
    client = open_client(quota_generations_per_month=1)
    client.post(f"/decks/{uuid4()}/generation", json={"source_text": TEXT, "count": 50})
    attempt = client.claim()
    client.query("update generation_attempts set outcome = 'succeeded'")
    client.query("update generation_jobs set status = 'failed', holder = null, lease_until = null, finished_at = now()")
    client.delete(f"/ai/generations/{attempt.job_id}")
    assert client.rows("usage_ledger") == []
    assert client.query("select status from generation_jobs") == [{"status": "failed"}]


def test_what_was_erased_after_its_failure_cannot_be_retried(client):
    job_id = client.post("/sessions/ai", json=BAD).json["generation_id"]
    client.delete(f"/ai/generations/{job_id}")
    client.query("update generation_jobs set finished_at = finished_at - interval '10 s'")
    assert client.post(f"/sessions/ai/{job_id}/retry").status_code == 410


def test_deleting_a_failed_one_costs_nothing(open_client):
    client = open_client(quota_generations_per_month=1)
    job_id = client.post("/sessions/ai", json=BAD).json["generation_id"]
    client.delete(f"/ai/generations/{job_id}")
    assert client.rows("usage_ledger") == []


def test_two_cancels_at_once_debit_once(open_client):
    client = open_client(quota_generations_per_month=5)
    location = client.post("/ai/generations", json=BODY).headers["Location"]
    client.claim()
    with ThreadPoolExecutor(8) as threads:
        assert {answer.status_code for answer in threads.map(lambda _: client.delete(location), range(8))} == {204}
    assert len(client.rows("usage_ledger")) == 1


def test_a_forgotten_user_is_nowhere(client, open_client):
    """Every table that names users is looked at, also one that is added later."""
    other = open_client()
    for each in (client, other):
        each.post(json=BODY, headers={"Idempotency-Key": "a-key"})
        each.post(json=BAD)
        each.post("/sessions/ai", json=BODY)
        each.post(f"/decks/{uuid4()}/generation", json={"source_text": TEXT, "count": 3})
        assert each.work() == ["succeeded"]
        each.add_render()
        each.query(f"insert into recto.untold_costs values ('{uuid4()}', '{each.user_id}', gen_random_uuid())")
    tables = [
        row["name"]
        for row in client.query(
            "select table_schema || '.' || table_name as name"
            " from information_schema.columns join information_schema.tables using (table_schema, table_name)"
            " where column_name = 'user_id' and table_type = 'BASE TABLE'"
            " and table_schema not in ('pg_catalog', 'information_schema')"
        )
    ]

    def rows_of(user_id):
        query = "select count(*) as n from {} where user_id = '{}'"
        return {table: client.query(query.format(table, user_id))[0]["n"] for table in tables}

    before = rows_of(other.user_id)
    assert all(rows_of(client.user_id).values())  # each has something to forget
    erasure.forget(client.runtime.settings.database_url, client.user_id)
    assert set(rows_of(client.user_id).values()) == {0}
    assert rows_of(other.user_id) == before


def test_what_a_forgotten_user_had_in_flight_ends_without_a_trace(client):
    client.post("/ai/generations", json=BODY)
    attempt = client.claim()
    erasure.forget(client.runtime.settings.database_url, client.user_id)
    assert isinstance(run(client.runtime, attempt)[0], NotOwned)
    assert client.rows("generations") == client.query("select 1 from generation_attempts") == []


def test_only_the_workers_role_forgets(client):
    with pytest.raises(psycopg.errors.InsufficientPrivilege), as_service(client.runtime.pool, client.user_id) as conn:
        conn.execute("select recto.forget_user(%s)", (client.user_id,))


def test_a_window_may_be_a_fraction_of_an_hour(open_client):
    assert open_client(retry_window_hours=0.5).runtime.settings.retry_window == timedelta(minutes=30)
