"""What the provider did not tell is asked for later, and counted once."""

from decimal import Decimal

import pytest
from tests.conftest import Client, until

from recto.jobs.costs import ask_for_costs
from recto.sandbox.server import start

TEXT = "The Rosetta Stone is a slab of granodiorite that carries one decree in three scripts. " * 12


@pytest.fixture
def paid_client(open_client):
    """A user's client, with a provider whose completions cost money, and that provider."""
    with start(chunks_per_second=0, usd_per_token=0.001) as sandbox:
        yield open_client(openrouter_base_url=sandbox.base_url, openrouter_timeout_ms=1000), sandbox


def ask(client: Client) -> None:
    """Ask as a worker would, whenever the next look is due."""
    client.query("update recto.untold_costs set ask_at = now()")
    ask_for_costs(client.runtime)


def asked(client: Client) -> int:
    return client.query("select count(*) as n from recto.untold_costs")[0]["n"]


def total(client: Client) -> Decimal:
    return client.query("select coalesce(sum(cost_usd), 0) as usd from recto.costs")[0]["usd"]


def only(sandbox, client):
    """The sandbox's own record of the one call of which the cost is not known."""
    (row,) = client.query("select request_id from recto.untold_costs")
    generation = sandbox.generations.find(row["request_id"])
    until(lambda: generation.ended)
    return generation


def test_a_stream_that_stalled_is_asked_about_and_counted_once(paid_client):
    client, sandbox = paid_client
    answer = client.post(json={"source_text": f"{TEXT}\n[sandbox: stall]"}, headers={"Accept": "text/event-stream"})
    assert "upstream_timeout" in answer.text
    generation = only(sandbox, client)
    assert total(client) == 0
    for _ in range(3):
        ask(client)
    (row,) = client.rows("generations")
    assert row["cost_usd"] == total(client) == pytest.approx(Decimal(str(generation.cost)))
    assert row["tokens_output"] > 0
    assert asked(client) == 0


def test_a_timeout_before_any_card_is_added_to_the_failure(paid_client):
    client, sandbox = paid_client
    assert client.post(json={"source_text": f"{TEXT}\n[sandbox: stall]"}).status_code == 502
    generation = only(sandbox, client)
    ask(client)
    (row,) = client.rows("generation_error_logs")
    assert row["cost_usd"] == total(client) == pytest.approx(Decimal(str(generation.cost)))


def test_an_attempt_of_a_job_and_its_failure_both_learn_it(paid_client):
    client, sandbox = paid_client
    client.post("/ai/generations", json={"source_text": f"{TEXT}\n[sandbox: stall]"})
    client.work()
    generation = only(sandbox, client)
    ask(client)
    (attempt,) = client.query("select * from generation_attempts")
    (row,) = client.rows("generation_error_logs")
    assert attempt["cost_usd"] == row["cost_usd"] == total(client) == pytest.approx(Decimal(str(generation.cost)))


def test_what_the_provider_does_not_know_yet_is_asked_for_again_and_given_up_at_last(paid_client):
    client, _ = paid_client
    client.query(f"insert into recto.untold_costs values ('gen-unknown', '{client.user_id}', gen_random_uuid())")
    looks = 0
    while asked(client):
        ask(client)
        looks += 1
    assert looks == 8
    assert total(client) == 0


def test_between_two_looks_the_pause_doubles(paid_client):
    client, _ = paid_client
    client.query(f"insert into recto.untold_costs values ('gen-unknown', '{client.user_id}', gen_random_uuid())")
    pauses = []
    for _ in range(3):
        ask(client)
        (row,) = client.query("select extract(epoch from ask_at - now())::int as s from recto.untold_costs")
        pauses.append(row["s"])
    assert pauses == sorted(pauses)
    assert pauses[2] > 3 * pauses[0]


def test_a_call_that_told_its_cost_is_not_asked_about(paid_client):
    client, _ = paid_client
    for accept in ("application/json", "text/event-stream"):
        assert "generated_count" in client.post(json={"source_text": TEXT}, headers={"Accept": accept}).text
    client.post("/ai/generations", json={"source_text": TEXT})
    client.work()
    assert asked(client) == 0
    assert total(client) > 0
