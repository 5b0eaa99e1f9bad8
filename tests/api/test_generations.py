"""The contract's table, row by row: status, code, headers, whether the provider was called, and what is written."""

import json
import re
from hashlib import sha256
from uuid import uuid4

import psycopg
import pytest

TEXT = (
    "The Rosetta Stone is a slab of granodiorite that carries one decree in three scripts. "
    "It was found in July 1799 by French soldiers near the town of Rashid. "
    "A cartouche is an oval frame that surrounds the name of a king. "
    "Jean-François Champollion announced the decipherment in 1822. "
) * 4


def body(**changes):
    return {"source_text": TEXT} | changes


def assert_error(response, status, code):
    assert response.status_code == status
    assert response.is_json
    assert set(response.json) == {"error", "message"}
    assert response.json["error"] == code
    assert response.headers["X-Request-ID"]


def assert_nothing_written(client):
    assert client.rows("generations") == []
    assert client.rows("generation_error_logs") == []


@pytest.mark.parametrize("path", ["/generations", "/api/generations"])
def test_a_source_text_becomes_proposals_and_a_record(client, path):
    response = client.post(path, json=body())
    assert response.status_code == 200
    answer = response.json
    assert set(answer) == {
        "generation_id",
        "flashcards_proposals",
        "generated_count",
        "dropped",
        "incomplete",
        "language",
    }
    assert (answer["dropped"], answer["incomplete"]) == ({}, None)
    proposals = answer["flashcards_proposals"]
    assert answer["generated_count"] == len(proposals) >= 3
    assert len({proposal["temp_id"] for proposal in proposals}) == len(proposals)
    for proposal in proposals:
        assert set(proposal) == {"temp_id", "front", "back", "source"}
        assert proposal["source"] == "ai-full"
        assert proposal["back"] in TEXT
    (row,) = client.rows("generations")
    assert row["id"] == answer["generation_id"]
    assert row["user_id"] == client.user_id
    assert row["model"] == "sandbox/extractive"
    assert row["generated_count"] == len(proposals)
    assert row["source_text_hash"] == sha256(TEXT.strip().encode()).hexdigest()
    assert row["source_text_length"] == len(TEXT.strip())
    assert row["generation_duration"] >= 0
    assert row["prompt_version"] == "2"
    assert row["tokens_input"] > 100
    assert row["cost_usd"] == 0
    assert client.rows("generation_error_logs") == []


def test_the_source_text_and_the_proposals_are_stored_nowhere(client, database):
    proposals = client.post(json=body()).json["flashcards_proposals"]
    client.post(json=body(source_text=TEXT + "\n[sandbox: http-500]"))
    with psycopg.connect(database) as conn:
        tables = conn.execute(
            "select format('%I.%I', schemaname, tablename) from pg_tables"
            " where schemaname not in ('pg_catalog', 'information_schema')"
        ).fetchall()
        stored = "".join(str(conn.execute(f"select * from {table}").fetchall()) for (table,) in tables)
    assert client.user_id.hex in stored.replace("-", "")
    for text in ("Rosetta", "cartouche", *(proposal["front"] for proposal in proposals)):
        assert text not in stored


def test_unknown_keys_are_ignored_and_a_user_id_is_never_read(client):
    assert client.post(json=body(user_id=str(uuid4()), color="red")).status_code == 200
    assert [row["user_id"] for row in client.rows("generations")] == [client.user_id]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b'{"source_text": "' + b"a" * 1000, "not valid JSON"),
        (b'{"source_text": "' + b"\xff" * 1000 + b'"}', "not valid JSON in UTF-8"),
        (b'{"source_text": "\\ud83d' + b"a" * 1000 + b'"}', "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b"[]", "The request body: "),
        (b"null", "The request body: "),
        (b"{}", "source_text: Field required"),
        (b'{"source_text": null}', "source_text: Input should be a valid string"),
        (b'{"source_text": 12345}', "source_text: Input should be a valid string"),
        (b'{"source_text": ["a"]}', "source_text: Input should be a valid string"),
        (json.dumps({"source_text": "a" * 999}).encode(), "1000 to 10000 characters.*it has 999"),
        (json.dumps({"source_text": "a" * 10_001}).encode(), "1000 to 10000 characters.*it has 10001"),
        (json.dumps({"source_text": " \n\u3000" * 1000}).encode(), "it has 0"),
        (json.dumps({"source_text": "a" * 1000 + "\0b"}).encode(), "NUL"),
    ],
    ids=range(16),
)
def test_a_bad_body_is_refused_with_the_rule_that_it_breaks(client, data, message):
    response = client.post(data=data, content_type="application/json")
    assert_error(response, 400, "invalid_request")
    assert re.search(message, response.json["message"])
    assert_nothing_written(client)


def test_both_bounds_of_the_length_are_served(client):
    for text in ("A fact is a fact. " * 56, "A fact is a fact. " * 600):
        padded = text[:1000] if len(text) < 2000 else text[:10_000]
        padded = padded.strip().ljust(len(padded), ".")
        assert client.post(json=body(source_text=f"\n {padded}\u3000")).status_code == 200
    assert [row["source_text_length"] for row in client.rows("generations")] == [1000, 10_000]


def test_ten_thousand_emoji_fit(client):
    refused = client.post(json=body(source_text="😀" * 10_001))
    assert_error(refused, 400, "invalid_request")
    assert_nothing_written(client)
    response = client.post(json=body(source_text="😀" * 10_000))
    assert response.status_code == 200
    assert [proposal["back"].strip("😀") for proposal in response.json["flashcards_proposals"]] == [""]
    assert [row["source_text_length"] for row in client.rows("generations")] == [10_000]


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_what_is_not_json_is_refused(client, content_type):
    response = client.post(data=json.dumps(body()), content_type=content_type)
    assert_error(response, 415, "invalid_request")
    assert_nothing_written(client)


def test_too_large_a_body_is_refused(client):
    response = client.post(json=body(padding="x" * 256 * 1024))
    assert_error(response, 413, "invalid_request")
    assert_nothing_written(client)


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Basic TOKEN", "TOKEN", "Bearer not.a.token", "Bearer a b", "bearer e30.e30.e30"],
)
def test_without_a_valid_token_nothing_is_done(client, header):
    response = client.post(json=body(), headers={"Authorization": header.replace("TOKEN", client.token())})
    assert_error(response, 401, "unauthorized")
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert_nothing_written(client)


@pytest.mark.parametrize(
    ("fault", "code", "log_code"),
    [
        ("timeout", "upstream_timeout", "upstream_timeout"),
        ("drip", "upstream_timeout", "upstream_timeout"),
        ("drip-headers", "upstream_timeout", "upstream_timeout"),
        ("keep-alive", "upstream_timeout", "upstream_timeout"),
        ("http-429", "upstream_rate_limited", "upstream_rate_limited"),
        ("error-in-200", "upstream_rate_limited", "upstream_rate_limited"),
        ("http-400", "upstream_error", "upstream_http_error_400"),
        ("http-401", "upstream_refused", "upstream_http_error_401"),
        ("http-402", "upstream_refused", "upstream_http_error_402"),
        ("http-403", "upstream_error", "upstream_http_error_403"),
        ("http-404", "upstream_error", "upstream_http_error_404"),
        ("http-500", "upstream_error", "upstream_http_error_500"),
        ("http-502", "upstream_error", "upstream_http_error_502"),
        ("http-503", "upstream_error", "upstream_http_error_503"),
        ("http-529", "upstream_error", "upstream_http_error_529"),
        ("error-html", "upstream_error", "upstream_http_error_502"),
        ("error-in-choice", "upstream_error", "upstream_http_error_502"),
        ("reset", "upstream_error", "upstream_connection_error"),
        ("reset-mid-body", "upstream_error", "upstream_connection_error"),
        ("close", "upstream_error", "upstream_connection_error"),
        ("endless", "upstream_invalid_response", "upstream_invalid_response"),
        ("oversize", "upstream_invalid_response", "upstream_invalid_response"),
        ("invalid-json", "upstream_invalid_response", "upstream_invalid_response"),
        ("empty", "upstream_invalid_response", "upstream_invalid_response"),
        ("null-content", "upstream_invalid_response", "upstream_invalid_response"),
        ("refusal", "upstream_invalid_response", "upstream_invalid_response"),
        ("truncated-early", "upstream_invalid_response", "upstream_invalid_response"),
    ],
)
def test_a_failure_of_the_provider_is_a_502_and_an_error_log(open_client, fault, code, log_code):
    # Only a fault without an end meets a deadline, however busy the machine is.
    client = open_client(openrouter_timeout_ms=1000 if code == "upstream_timeout" else 60_000)
    response = client.post(json=body(source_text=f"{TEXT}\n[sandbox: {fault}]"))
    assert_error(response, 502, code)
    assert client.rows("generations") == []
    (row,) = client.rows("generation_error_logs")
    assert row["user_id"] == client.user_id
    assert row["error_code"] == log_code
    assert row["model"]
    assert row["source_text_length"] > 1000
    assert 0 < len(row["error_message"]) <= 1000
    for secret in ("Rosetta", "sk-or-v1", "flashcards for a learner"):
        assert secret not in row["error_message"]
        assert secret not in response.text


def test_what_a_failed_generation_cost_is_kept_if_it_is_known(client):
    for fault in ("empty", "null-content", "http-402"):
        client.post(json=body(source_text=f"{TEXT}\n[sandbox: {fault}]"))
    refused, *unusable = client.get("/generation-error-logs").json["generation_error_logs"]
    assert [refused[name] for name in ("tokens_input", "tokens_output", "cost_usd")] == [None, None, None]
    assert all(log["tokens_input"] > 100 and log["tokens_output"] >= 0 and log["cost_usd"] == 0 for log in unusable)
    assert len(unusable) == 2


@pytest.mark.parametrize(
    "fault",
    [
        "flaky", "no-schema", "no-json-mode", "list-content", "truncated", "fenced", "bare-array", "question-answer",
        "duplicates", "keep-alive-then-ok", "slow",
    ],
)  # fmt: skip
def test_what_can_be_read_is_answered(client, fault):
    response = client.post(json=body(source_text=f"{TEXT}\n[sandbox: {fault}]"))
    assert response.status_code == 200
    assert response.json["generated_count"] >= 1
    assert client.rows("generation_error_logs") == []


def test_latex_and_html_stay_text(client):
    latex = client.post(json=body(source_text=f"{TEXT}\n[sandbox: latex]")).text
    assert "\\\\frac" in latex
    html = client.post(json=body(source_text=f"{TEXT}\n[sandbox: html]")).json["flashcards_proposals"]
    assert any("<script>" in proposal["front"] for proposal in html)


def test_the_configured_bounds_are_kept(open_client):
    client = open_client(max_proposals=2, max_front_characters=90)
    proposals = client.post(json=body()).json["flashcards_proposals"]
    assert len(proposals) == 2
    assert all(len(proposal["front"]) <= 90 for proposal in proposals)


def test_a_database_that_fails_is_an_internal_error_without_details(client, database):
    with psycopg.connect(database) as conn:
        conn.execute("alter table generations rename to elsewhere")
    response = client.post(json=body())
    assert_error(response, 500, "internal_error")
    assert "relation" not in response.text


def test_own_generations_are_listed_newest_first_in_pages(open_client):
    client = open_client()
    ids = [client.post(json=body()).json["generation_id"] for _ in range(3)]
    open_client().post(json=body())
    first = client.get("/generations?limit=2").json
    assert [row["id"] for row in first["generations"]] == [ids[2], ids[1]]
    second = client.get(f"/generations?limit=2&cursor={first['next_cursor']}").json
    assert [row["id"] for row in second["generations"]] == [ids[0]]
    assert second["next_cursor"] is None


def test_one_generation_is_shown_to_its_user_alone(open_client):
    mine, theirs = open_client(), open_client()
    generation_id = mine.post(json=body()).json["generation_id"]
    shown = mine.get(f"/api/generations/{generation_id}")
    assert shown.status_code == 200
    assert shown.json["id"] == generation_id
    assert shown.json["user_id"] == str(mine.user_id)
    assert_error(theirs.get(f"/generations/{generation_id}"), 404, "not_found")
    assert_error(mine.get("/generations/99999999999999999999"), 404, "not_found")


def test_own_failures_are_listed(open_client):
    mine, theirs = open_client(), open_client()
    for client in (mine, theirs):
        client.post(json=body(source_text=f"{TEXT}\n[sandbox: http-402]"))
    (log,) = mine.get("/generation-error-logs").json["generation_error_logs"]
    assert log["error_code"] == "upstream_http_error_402"


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "cursor=x", "cursor=0", "cursor=" + "9" * 30])
@pytest.mark.parametrize("path", ["/generations", "/generation-error-logs"])
def test_a_bad_page_is_refused(client, path, query):
    assert_error(client.get(f"{path}?{query}"), 400, "invalid_request")


def counts(unedited, edited):
    return {"accepted_unedited_count": unedited, "accepted_edited_count": edited}


def made(client):
    answer = client.post(json=body()).json
    return f"/generations/{answer['generation_id']}", answer["generated_count"]


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_an_app_that_reviews_by_itself_reports_how_many_proposals_were_accepted(client, prefix):
    path, generated = made(client)
    other, _ = made(client)
    assert client.get(path).json.items() >= counts(None, None).items()
    for unedited, edited in ((generated - 1, 1), (0, generated), (1, 0), (0, 0)):  # a later report replaces it
        answer = client.patch(f"{prefix}{path}", json=counts(unedited, edited))
        assert answer.status_code == 200
        assert answer.json.items() >= counts(unedited, edited).items()
        assert answer.json["updated_at"] > answer.json["created_at"]
        assert answer.json == client.get(path).json
    assert client.get(other).json.items() >= counts(None, None).items()


@pytest.mark.parametrize(
    "bad",
    [
        {}, [], {"accepted_unedited_count": 1}, {"accepted_edited_count": 1},
        counts(-1, 1), counts(1, -1), counts(None, 1), counts(1, None), counts("1", 1), counts(1, "1"),
        counts(1.5, 1), counts(True, 1), counts(2**31, 0), counts(0, 2**64), counts(10**4000, 0),
    ],
)  # fmt: skip
def test_counts_that_cannot_be_are_refused(client, bad):
    path, _ = made(client)
    assert_error(client.patch(path, json=bad), 400, "invalid_request")
    assert client.get(path).json.items() >= counts(None, None).items()


def test_no_more_proposals_are_accepted_than_were_made(client):
    path, generated = made(client)
    for unedited, edited in ((generated + 1, 0), (0, generated + 1), (generated, 1)):
        refused = client.patch(path, json=counts(unedited, edited))
        assert_error(refused, 400, "invalid_request")
        assert str(generated) in refused.json["message"]
    assert client.get(path).json.items() >= counts(None, None).items()


def test_a_report_changes_ones_own_generations_alone(open_client):
    mine, theirs = open_client(), open_client()
    path, _ = made(theirs)
    assert_error(mine.patch(path, json=counts(1, 0)), 404, "not_found")
    assert_error(mine.patch("/generations/99999999999999999999", json=counts(1, 0)), 404, "not_found")
    assert theirs.get(path).json.items() >= counts(None, None).items()


def test_suggestions_that_are_reviewed_here_count_by_themselves(client):
    session = client.post("/sessions/ai", json=body()).json["session"]
    client.post("/ai/generations", json=body())
    client.post(f"/decks/{uuid4()}/generation", json=body(count=3))
    assert client.work() == ["succeeded"] * 2
    client.patch(f"/ai/suggestions/{session['proposals'][0]['id']}", json={"status": "accepted"})
    before = client.get("/generations").json["generations"]
    assert len(before) == 3
    for row in before:
        refused = client.patch(f"/generations/{row['id']}", json=counts(0, 0))
        assert_error(refused, 409, "reviewed_here")
    assert client.get("/generations").json["generations"] == before


def test_what_is_counted_against_a_quota_is_reviewed_by_the_app_all_the_same(open_client):
    client = open_client(quota_generations_per_month=5)
    path, _ = made(client)
    assert client.patch(path, json=counts(1, 1)).json.items() >= counts(1, 1).items()
