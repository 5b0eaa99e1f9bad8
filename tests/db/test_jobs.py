"""The view of jobs, the costs, and what is measured of all jobs."""

from uuid import uuid4

from recto.db import jobs

TEXT = "The Rosetta Stone is a slab of granodiorite. It was found in July 1799 by French soldiers. " * 15
BODY = {"source_text": TEXT}


def test_a_job_outlives_its_analytics_row(client):
    client.post("/sessions/ai", json=BODY)
    client.query("delete from generations")
    (row,) = client.rows("generation_jobs")
    assert client.get(f"/ai/generations/{row['id']}").json["status"] == "succeeded"


def test_what_waits_and_runs_is_measured(client):
    client.post("/ai/generations", json=BODY)
    client.query("update generation_jobs set created_at = now() - interval '1 min'")
    text = client.get("/metrics").text
    assert "recto_jobs_pending 1.0" in text
    assert "recto_jobs_running 0.0" in text
    assert 60 <= jobs.in_flight(client.runtime.pool, within_s=10).jobs_oldest_pending_seconds < 70
    client.claim()
    assert jobs.in_flight(client.runtime.pool, within_s=10) == (0, 1, 0)


def test_a_reservation_is_no_job_that_anybody_sees(open_client):
    client = open_client(quota_generations_per_month=5)
    client.post(json=BODY)
    (row,) = client.rows("generation_jobs")
    assert client.get(f"/ai/generations/{row['id']}").status_code == 404
    assert client.get("/ai/generations").json["generations"] == []


def test_the_model_of_a_job_is_the_last_that_answered(client):
    client.post(f"/decks/{uuid4()}/generation", json={"topic": "Rome", "count": 3})
    job_id = client.rows("generation_jobs")[0]["id"]
    for number, call, model, outcome in [
        (1, 1, "one", "succeeded"),
        (1, 2, "two", "succeeded"),
        (2, 1, "three", "upstream_timeout"),
    ]:
        client.query(
            "insert into generation_attempts (job_id, number, call, user_id, model, outcome, tokens_input, cost_usd)"
            f" values ('{job_id}', {number}, {call}, '{client.user_id}', '{model}', '{outcome}', 10, 0.5)"
        )
    read = client.get(f"/ai/generations/{job_id}").json
    assert (read["model"], read["tokens_input"], read["cost_usd"], read["tokens_output"]) == ("two", 30, 1.5, None)


def test_every_dollar_is_in_the_costs_once(open_client):
    """What a caller waited for is in its row, with a quota or without; what a job took is in its attempts."""
    for quota in (None, 50):
        client = open_client(quota_generations_per_month=quota)
        before = client.query("select count(*) as n from recto.costs")[0]["n"]
        client.post(json=BODY)
        client.post(json={"source_text": f"{TEXT}\n[sandbox: http-402]"})
        client.post("/sessions/ai", json=BODY)
        client.post("/sessions/ai", json={"source_text": f"{TEXT}\n[sandbox: http-402]"})
        (costs,) = client.query("select count(*) as n, sum(tokens_input) as tokens from recto.costs")
        assert costs["n"] == before + 4
    (records,) = client.query("select sum(tokens_input) as tokens from generations")
    assert costs["tokens"] == records["tokens"] > 0
