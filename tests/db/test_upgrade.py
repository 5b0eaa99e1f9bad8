"""A database of the version before jobs had leases and attempts, with rows of every kind, is carried over."""

import shutil
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from recto.db import alerts, claims
from recto.db.migrations import SQL_FOLDER, migrate
from recto.text.prompt import PROMPT_VERSIONS

TEXT = "The Rosetta Stone is a slab of granodiorite. It was found in July 1799 by French soldiers. " * 15
USER = uuid4()
NOW = datetime.now(UTC)
FAILED = {
    "code": "upstream_invalid_response",
    "message": "No card could be used.",
    "log_code": "upstream_invalid_response",
    "model": "a/model",
    "upstream_status": 200,
    "request_id": "gen-1",
    "duration_ms": 400,
}
COSTS = (
    "select user_id, sum(tokens_input) as i, sum(tokens_output) as o, sum(cost_usd) as usd from recto.costs group by 1"
)


class Old:
    """A database at 0008, and what the version of that time writes into it."""

    def __init__(self, conn: psycopg.Connection) -> None:
        self.conn = conn
        conn.execute("set search_path = public, procrastinate")

    def insert(self, table: str, returning: str = "1", **values: object) -> object:
        values = {name: Jsonb(value) if isinstance(value, dict) else value for name, value in values.items()}
        columns, marks = ", ".join(values), ", ".join(f"%({name})s" for name in values)
        query = f"insert into {table} ({columns}) values ({marks}) returning {returning} as it"
        return self.conn.execute(query, values).fetchone()["it"]

    def entry(self, status: str = "todo", scheduled_at: datetime | None = None) -> object:
        """An entry of the queue."""
        return self.insert(
            "procrastinate.procrastinate_jobs",
            "id",
            queue_name="q",
            task_name="run_generation",
            status=status,
            scheduled_at=scheduled_at,
        )

    def job(self, kind: str, status: str, *, text: bool = True, cost: int | None = None, **values: object) -> UUID:
        """A job; ``cost``: cents that its calls have cost so far."""
        payload = {"model": "sandbox/extractive", "prompt_version": PROMPT_VERSIONS[0]} | (
            {"source_text": TEXT} if text else {}
        )
        if kind == "deck":
            payload |= {"count": 3, "banlist": []}
        ended = {"finished_at": NOW} if status in ("succeeded", "failed", "canceled") else {}
        return self.insert(
            "generation_jobs",
            "id",
            **{"id": uuid4(), "user_id": USER, "kind": kind, "status": status, "payload": payload}
            | {"source_text_hash": "a" * 64, "source_text_length": len(TEXT), "attempts": 1, "attempts_left": 2}
            | {"started_at": NOW, **ended, **spent(cost), **values},
        )

    def record(self, cost: int) -> object:
        """An analytics row."""
        return self.insert(
            "generations",
            "id",
            **{"user_id": USER, "model": "sandbox/extractive", "generated_count": 1, "generation_duration": 400}
            | {"source_text_hash": "a" * 64, "source_text_length": len(TEXT), "prompt_version": "v1", **spent(cost)},
        )

    def log(self, job_id: UUID | None, cost: int | None = None) -> None:
        """Why an attempt failed."""
        self.insert(
            "generation_error_logs",
            **{"user_id": USER, "job_id": job_id, "model": "a/model", "error_code": FAILED["log_code"]}
            | {"source_text_hash": "a" * 64, "source_text_length": len(TEXT), "error_message": "", **spent(cost)},
        )

    def suggestion(self, job_id: UUID, position: int = 1, **values: object) -> None:
        """A proposal that is kept for review."""
        front_hash = sha256(f"{job_id} {position}".encode()).hexdigest()
        self.insert(
            "ai_suggestions",
            **{"generation_id": job_id, "user_id": USER, "position": position, "front": "Q", "back": "A"}
            | {"front_hash": front_hash, **values},
        )


def spent(cents):
    if cents is None:
        return {}
    return {"tokens_input": 100 * cents, "tokens_output": cents, "cost_usd": Decimal(cents) / 100}


@pytest.fixture
def old(empty_database, tmp_path):
    folder = tmp_path / "sql"
    folder.mkdir()
    for file in SQL_FOLDER.glob("000[1-8]_*.sql"):
        shutil.copy(file, folder)
    migrate(empty_database, folder)
    with psycopg.connect(empty_database, autocommit=True, row_factory=dict_row) as conn:
        yield Old(conn)


@pytest.fixture
def upgraded(old, empty_database, open_client):
    def upgrade():
        before = old.conn.execute(COSTS).fetchall()
        assert migrate(empty_database).files[0] == "0009_jobs.sql"
        assert old.conn.execute(COSTS).fetchall() == before
        return open_client(USER, database_url=empty_database)

    return upgrade


def test_what_had_ended_is_carried_over(old, upgraded):
    record = old.record(1)
    kept = old.job("review", "succeeded", text=False, cost=1, model_used="sandbox/extractive", generation_id=record)
    old.suggestion(kept, 1)
    old.suggestion(kept, 2, status="accepted_edited", edited=True)
    old.insert("usage_ledger", user_id=USER, job_id=kept, kind="review")
    failed = old.job("session", "failed", cost=6, error=FAILED, attempts=3, attempts_left=0, session_id=uuid4())
    for cents in (1, 2, 3):
        old.log(failed, cents)
    canceled = old.job("review", "canceled", text=False, cost=7, model_used="a/model", idempotency_key="dead")
    old.record(11)
    old.log(None, 13)

    client = upgraded()
    listed = {UUID(job["generation_id"]): job for job in client.get("/ai/generations").json["generations"]}
    assert {job_id: job["status"] for job_id, job in listed.items()} == {
        kept: "succeeded",
        failed: "failed",
        canceled: "canceled",
    }
    assert (listed[kept]["model"], listed[kept]["tokens_input"], listed[kept]["cost_usd"]) == (
        "sandbox/extractive",
        100,
        0.01,
    )
    assert (listed[failed]["attempts"], listed[failed]["cost_usd"]) == (3, 0.06)
    assert listed[failed]["error"] == {"code": FAILED["code"], "message": FAILED["message"]}
    assert listed[failed]["retry_at"]
    attempts = client.query("select * from generation_attempts")
    assert {(row["job_id"], row["number"], row["outcome"], row["duration_ms"]) for row in attempts} == {
        (kept, 1, "succeeded", None),
        (failed, 3, FAILED["log_code"], 400),
        (canceled, 1, "canceled", None),
    }
    suggestions = client.get(f"/ai/generations/{kept}/suggestions").json["suggestions"]
    assert [row["status"] for row in suggestions] == ["proposed", "accepted_edited"]
    # What was canceled had been erased, and its key stands for nothing any more.
    assert client.get(f"/ai/generations/{canceled}/suggestions").status_code == 404
    body = {"source_text": TEXT}
    again = client.post("/ai/generations", json=body, headers={"Idempotency-Key": "dead"}).json
    assert again["generation_id"] != str(canceled)
    # A review counts in the record of its generation.
    client.patch(f"/ai/suggestions/{suggestions[0]['id']}", json={"status": "accepted"})
    (counted,) = client.query(f"select * from generations where id = {record}")
    assert (counted["accepted_unedited_count"], counted["accepted_edited_count"]) == (1, 1)
    logs = client.query(f"select attempt from generation_error_logs where job_id = '{failed}' order by id")
    assert [log["attempt"] for log in logs] == [1, 2, 3]
    assert alerts.due(client.runtime.pool) is None


def test_what_was_in_flight_goes_on(old, upgraded):
    in_an_hour = NOW + timedelta(hours=1)
    lost = old.job(
        "review", "running", cost=1, error=FAILED, attempts=2, attempts_left=1, queue_job_id=old.entry("doing")
    )
    old.log(lost, 1)
    waits = old.job("review", "pending", cost=2, error=FAILED, queue_job_id=old.entry(scheduled_at=in_an_hour))
    old.log(waits, 2)
    new = old.job("review", "pending", attempts=0, attempts_left=3, started_at=None, queue_job_id=old.entry())
    deck = old.insert("decks", "id", id=uuid4(), user_id=USER)
    batches = old.job("deck", "pending", cost=3, deck_id=deck, model_used="a/model", queue_job_id=old.entry())
    old.suggestion(batches, deck_id=deck)
    # A worker that was told to stop gave it back before anything came.
    returned = old.job("review", "pending", attempts_left=3, queue_job_id=old.entry())
    # A caller waited for these two.
    session = old.job("session", "running", attempts=2, attempts_left=0, lease_until=NOW, session_id=uuid4())
    reserved = old.job("synchronous", "running", attempts_left=0, lease_until=NOW)

    client = upgraded()
    run_at = {row["id"]: row["run_at"] for row in client.query("select id, run_at from generation_jobs")}
    assert run_at[waits] == in_an_hour
    assert run_at[new] < datetime.now(UTC)
    in_background = client.query("select id from generation_jobs where in_background")
    assert {row["id"] for row in in_background} == {lost, waits, new, batches, returned}
    assert [row["attempt"] for row in client.query("select attempt from generation_error_logs")] == [1, 1]
    outcomes = {
        row["job_id"]: row["outcome"] for row in client.query("select job_id, outcome from generation_attempts")
    }
    assert outcomes == {
        lost: FAILED["log_code"],
        waits: FAILED["log_code"],
        batches: "succeeded",
        returned: "handed_back",
        session: None,
        reserved: None,
    }
    assert client.delete(f"/ai/generations/{returned}").status_code == 204  # which counts against no quota
    recovered = set()
    while job_id := claims.recover_abandoned(client.runtime.pool):
        recovered.add(job_id)
    assert recovered == {lost, session, reserved}
    assert client.work() == ["succeeded"] * 4
    ended = client.query("select id, status, error ->> 'log_code' as reason from generation_jobs")
    assert {(row["id"], row["status"], row["reason"]) for row in ended} == {
        *((job_id, "succeeded", None) for job_id in (lost, waits, new, batches)),
        *((job_id, "failed", "worker_lost") for job_id in (session, reserved)),
        (returned, "canceled", None),
    }
    assert len(client.get(f"/decks/{deck}/pairs").json["pairs"]) == 3
    assert {row["job_id"] for row in client.rows("usage_ledger")} == {lost, waits, new, batches}
    assert client.get("/usage").json["reserved"] == 0


def test_what_a_caller_waited_for_under_a_quota_keeps_its_costs(old, upgraded):
    old.job("synchronous", "succeeded", text=False, cost=1, model_used="a/model", generation_id=old.record(1))
    failed = old.job("synchronous", "failed", text=False, cost=2, error=FAILED)
    old.log(failed, 2)
    # Its answer came after its lease: nothing but the job holds what it cost.
    late = old.job("synchronous", "failed", text=False, cost=4, error=FAILED | {"log_code": "worker_lost"})
    old.log(late)
    (costs,) = upgraded().query(COSTS)
    assert costs["usd"] == Decimal("0.07")


def test_answers_that_hold_a_generations_proposals_are_erased_with_it(old, upgraded):
    job_id = old.job(
        "session", "succeeded", text=False, cost=1, model_used="m", session_id=uuid4(), idempotency_key="a-key"
    )
    old.suggestion(job_id)
    old.insert("recto.idempotency_keys", user_id=USER, key="a-key", request_hash="", locked_until=NOW, body=b"{}")
    client = upgraded()
    assert client.delete(f"/ai/generations/{job_id}").status_code == 204
    assert client.query("select 1 from recto.idempotency_keys") == []


def test_what_was_rejected_and_what_had_failed_is_carried_into_the_statistics(old, upgraded):
    record = old.record(1)
    kept = old.job("review", "succeeded", text=False, cost=1, model_used="sandbox/extractive", generation_id=record)
    for position, status in enumerate(("rejected", "accepted", "rejected"), 1):
        old.suggestion(kept, position, status=status, reviewed_at=NOW)
    old.log(old.job("review", "failed", cost=2, error=FAILED), 2)
    old.log(None)
    client = upgraded()
    (row,) = client.rows("generations")
    assert (row["rejected_count"], row["grounded_count"], row["language"]) == (2, None, None)
    assert [log["prompt_version"] for log in client.rows("generation_error_logs")] == [PROMPT_VERSIONS[0], None]


def test_from_the_last_version_every_dollar_stays(empty_database, tmp_path, open_client):
    """Whose records named no job, whose generations a caller waited for, and whose jobs cost something."""
    folder = tmp_path / "sql"
    folder.mkdir()
    for file in SQL_FOLDER.glob("00[01][0-9]_*.sql"):
        if file.name < "0017":
            shutil.copy(file, folder)
    migrate(empty_database, folder)
    job = uuid4()
    record = (
        "user_id, model, generated_count, source_text_hash, source_text_length, generation_duration, prompt_version"
    )
    log = "user_id, model, source_text_hash, source_text_length, error_code, error_message, prompt_version"
    costs = "tokens_input, tokens_output, cost_usd"
    with psycopg.connect(empty_database, row_factory=dict_row) as conn:
        conn.execute(
            "insert into generation_jobs (id, user_id, kind, status, payload, source_text_hash, source_text_length,"
            " attempts_left, language, finished_at)"
            " values (%s, %s, 'review', 'succeeded', %s, repeat('a', 64), 1000, 2, 'pl', now())",
            (job, USER, Jsonb({"prompt_version": "2"})),
        )
        conn.execute(
            f"insert into generation_attempts (job_id, number, call, user_id, model, {costs}, outcome)"
            " values (%s, 1, 1, %s, 'm', 1, 2, 0.4, 'succeeded')",
            (job, USER),
        )
        late = uuid4()  # given up for lost, with a log, before it succeeded
        for job_id, language in ((job, "pl"), (late, "de"), (None, None)):
            conn.execute(
                f"insert into generations ({record}, {costs}, job_id, language)"
                " values (%s, 'm', 1, repeat('a', 64), 1000, 1, '2', 1, 2, 0.4, %s, %s)",
                (USER, job_id, language),
            )
        for job_id, cost in ((uuid4(), 0.1), (late, None)):
            conn.execute(
                f"insert into generation_error_logs ({log}, {costs}, job_id, attempt)"
                " values (%s, 'm', repeat('a', 64), 1000, 'e', '', '2', 1, null, %s, %s, 1)",
                (USER, cost, job_id),
            )
        every = "select * from recto.costs where cost_usd is not null order by created_at, cost_usd, language"
        before = conn.execute(every).fetchall()
        conn.commit()
        assert migrate(empty_database).changes == []
        assert conn.execute(every).fetchall() == before
        assert [row["cost_usd"] for row in before] == [Decimal(cost) for cost in ("0.1", "0.4", "0.4", "0.4")]
    client = open_client(USER, database_url=empty_database)
    assert len(client.get("/generations").json["generations"]) == 3
    assert client.get("/stats").json["cost_by_day"][0]["cost_usd"] == pytest.approx(1.3)
