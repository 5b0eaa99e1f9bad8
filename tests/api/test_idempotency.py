"""The same request under the same key is answered the same, and done once."""

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import psycopg
import pytest

from recto.db.pool import as_service, as_user

TEXT = "The Rosetta Stone is a slab of granodiorite. It was found in July 1799 by French soldiers. " * 15
BODY = {"source_text": TEXT}
KEY = {"Idempotency-Key": "a-key"}
DECK = "00000000-0000-4000-8000-00000000000d"


def change(client, statement):
    with psycopg.connect(client.runtime.settings.database_url) as conn:
        conn.execute(statement)


def keys(client):
    with psycopg.connect(client.runtime.settings.database_url) as conn:
        return conn.execute("select key, status from recto.idempotency_keys").fetchall()


@pytest.mark.parametrize(
    ("path", "body", "status", "table"),
    [
        ("/generations", BODY, 200, "generations"),
        ("/sessions/ai", BODY, 200, "generations"),
        ("/ai/generations", BODY, 202, "generation_jobs"),
        (f"/decks/{DECK}/generation", {"topic": "Rome", "count": 3}, 202, "generation_jobs"),
    ],
)
def test_a_repeated_request_gets_the_first_answer_and_is_done_once(client, path, body, status, table):
    first = client.post(path, json=body, headers=KEY)
    again = client.post(f"/api{path}", json=body, headers=KEY)
    assert first.status_code == again.status_code == status
    assert first.data == again.data
    assert first.headers.get("Location") == again.headers.get("Location")
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    assert len(client.rows(table)) == 1


def test_a_repeated_retry_gets_the_first_answer(client):
    failed = client.post("/sessions/ai", json={"source_text": f"{TEXT}\n[sandbox: http-402]"})
    path = f"/sessions/ai/{failed.json['generation_id']}/retry"
    change(client, "update generation_jobs set finished_at = finished_at - interval '1 minute'")
    first, again = (client.post(path, headers=KEY) for _ in range(2))
    assert first.status_code == again.status_code == 502
    assert first.data == again.data
    assert len(client.rows("generation_error_logs")) == 2


def test_a_failure_of_the_provider_is_told_again_and_not_repeated(client):
    body = {"source_text": f"{TEXT}\n[sandbox: http-402]"}
    first, again = (client.post(json=body, headers=KEY) for _ in range(2))
    assert first.status_code == again.status_code == 502
    assert first.data == again.data
    assert len(client.rows("generation_error_logs")) == 1


def test_of_many_at_once_exactly_one_is_done(client):
    def send(_):
        response = client.post(json={"source_text": f"{TEXT}\n[sandbox: slow]"}, headers=KEY)
        return response.status_code, response.json.get("error"), response.headers.get("Idempotent-Replayed")

    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(send, range(20)))
    assert answers.count((200, None, None)) == 1
    assert set(answers) <= {(200, None, None), (200, None, "true"), (409, "in_progress", None)}
    assert len(client.rows("generations")) == 1


def test_a_request_in_flight_says_when_to_ask_again(client):
    client.post(json=BODY, headers=KEY)
    change(client, "update recto.idempotency_keys set status = null, body = null")
    refused = client.post(json=BODY, headers=KEY)
    assert (refused.status_code, refused.json["error"]) == (409, "in_progress")
    assert int(refused.headers["Retry-After"]) >= 1


@pytest.mark.parametrize(
    ("path", "body"),
    [("/generations", {"source_text": TEXT + "More."}), ("/sessions/ai", BODY), ("/ai/generations", BODY)],
)
def test_the_key_of_another_request_is_refused(client, path, body):
    client.post(json=BODY, headers=KEY)
    refused = client.post(path, json=body, headers=KEY)
    assert (refused.status_code, refused.json["error"]) == (422, "idempotency_key_reused")


def test_each_user_has_keys_of_their_own(client, open_client):
    other = open_client()
    assert [who.post(json=BODY, headers=KEY).status_code for who in (client, other)] == [200, 200]
    assert len(client.rows("generations")) == 2


def test_a_key_is_forgotten_after_a_day(client):
    client.post(json=BODY, headers=KEY)
    change(client, "update recto.idempotency_keys set created_at = created_at - interval '23 hours 59 minutes'")
    assert client.post(json=BODY, headers=KEY).headers["Idempotent-Replayed"] == "true"
    change(client, "update recto.idempotency_keys set created_at = created_at - interval '2 minutes'")
    assert client.post(json={"source_text": TEXT + "More."}, headers=KEY).status_code == 200
    assert len(client.rows("generations")) == 2


def test_the_job_of_a_forgotten_key_is_not_given_again(client):
    first = client.post("/ai/generations", json=BODY, headers=KEY)
    change(client, "update recto.idempotency_keys set created_at = created_at - interval '25 hours'")
    change(client, "update generation_jobs set created_at = created_at - interval '25 hours'")
    assert client.post("/ai/generations", json=BODY, headers=KEY).json != first.json


def test_a_key_whose_process_died_is_taken_over_once_its_lease_is_over(client):
    client.post(json=BODY, headers=KEY)
    change(client, "update recto.idempotency_keys set status = null, body = null, locked_until = now()")
    assert client.post(json=BODY, headers=KEY).status_code == 200
    assert len(client.rows("generations")) == 2  # nobody can know that the first one was done


@pytest.mark.parametrize("path", ["/ai/generations", "/sessions/ai"])
def test_a_job_is_not_begun_twice_when_its_answer_was_lost(client, path):
    first = client.post(path, json=BODY, headers=KEY)
    change(client, "update recto.idempotency_keys set status = null, body = null, locked_until = now()")
    again = client.post(path, json=BODY, headers=KEY)
    assert again.status_code == first.status_code
    assert again.json == first.json
    assert len(client.rows("generation_jobs")) == 1


@pytest.mark.parametrize(
    ("headers", "body", "status"), [({}, {"source_text": "short"}, 400), ({"Content-Type": "text/plain"}, None, 415)]
)
def test_what_was_refused_leaves_the_key_free(client, headers, body, status):
    kwargs = {"json": body} if body else {"data": b"x"}
    assert client.post(headers=KEY | headers, **kwargs).status_code == status
    assert keys(client) == []
    assert client.post(json=BODY, headers=KEY).status_code == 200


def test_a_replayed_failure_says_again_when_to_retry(client):
    body = {"source_text": f"{TEXT}\n[sandbox: http-429]"}
    first, again = (client.post(json=body, headers=KEY) for _ in range(2))
    assert again.headers["Idempotent-Replayed"] == "true"
    assert first.headers["Retry-After"] == again.headers["Retry-After"] == "30"


def test_an_answered_key_is_not_run_again_when_its_lease_is_over(client):
    client.post(json=BODY, headers=KEY)
    change(client, "update recto.idempotency_keys set locked_until = now() - interval '1 hour'")
    assert client.post(json=BODY, headers=KEY).headers["Idempotent-Replayed"] == "true"
    assert len(client.rows("generations")) == 1


def test_an_answer_that_cannot_be_kept_is_given_all_the_same(client):
    change(
        client,
        "create function refuse() returns trigger language plpgsql as $$ begin raise exception 'no'; end $$;"
        "create trigger refuse before update or delete on recto.idempotency_keys"
        " for each row execute function refuse()",
    )
    assert client.post(json=BODY, headers=KEY).status_code == 200
    assert client.post(json={"source_text": "short"}, headers={"Idempotency-Key": "another"}).status_code == 400


def test_an_error_of_the_server_leaves_the_key_free(client):
    change(client, "alter table generations rename to elsewhere")
    assert client.post(json=BODY, headers=KEY).status_code == 500
    change(client, "alter table elsewhere rename to generations")
    assert client.post(json=BODY, headers=KEY).status_code == 200


def test_a_failed_job_is_not_the_answer_to_its_key_when_the_stored_one_was_lost(client):
    bad = {"source_text": f"{TEXT}\n[sandbox: http-402]"}
    assert client.post("/sessions/ai", json=bad, headers=KEY).status_code == 502
    change(client, "delete from recto.idempotency_keys")
    again = client.post("/sessions/ai", json=BODY, headers=KEY)
    assert (again.status_code, bool(again.json["session"]["proposals"])) == (200, True)


@pytest.mark.parametrize("key", ["x", "x" * 255, '"quoted"', "ABC-_.:/+=~"])
def test_a_key_may_be_quoted_or_bare(client, key):
    client.post(json=BODY, headers={"Idempotency-Key": key})
    assert keys(client) == [(key.strip('"'), 200)]


@pytest.mark.parametrize("key", ["", '""', "x" * 256, "two words", "ü", "tab\there"])
def test_any_other_key_is_refused(client, key):
    refused = client.post(json=BODY, headers={"Idempotency-Key": key.encode().decode("latin-1")})
    assert (refused.status_code, refused.json["error"]) == (400, "invalid_request")
    assert client.rows("generations") == []


def test_without_a_key_nothing_is_kept(client):
    assert client.post(json=BODY).status_code == 200
    assert keys(client) == []


def test_the_answers_are_walled_in(client):
    pool, user = client.runtime.pool, client.user_id
    client.post(json=BODY, headers=KEY)
    with as_service(pool, user) as conn:
        assert conn.execute("select count(*) from recto.idempotency_keys").fetchone() == (1,)
    with as_service(pool, uuid4()) as conn:
        assert conn.execute("select count(*) from recto.idempotency_keys").fetchone() == (0,)
    with pytest.raises(psycopg.errors.InsufficientPrivilege), as_user(pool, user) as conn:
        conn.execute("select * from recto.idempotency_keys")


def test_deleting_a_generation_erases_the_answer_that_held_its_proposals(client):
    session = client.post("/sessions/ai", json=BODY, headers=KEY).json
    assert client.delete(f"/ai/generations/{session['generation']['generation_id']}").status_code == 204
    assert keys(client) == []


def test_a_keyed_session_takes_four_transactions(client):
    def transactions():
        return client.runtime.pool.get_stats().get("requests_num", 0)

    before = transactions()
    assert client.post("/sessions/ai", json=BODY, headers=KEY).status_code == 200
    assert transactions() - before <= 4  # look; take the key and count; begin the job; its results with the answer
