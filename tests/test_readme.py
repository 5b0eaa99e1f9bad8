"""What the README tells an operator to type."""

import re
from uuid import uuid4

from recto.settings import ProviderSettings
from recto.times import Times

from .conftest import ROOT, SOURCE_TEXT

README = (ROOT / "README.md").read_text()


def statements(first, last):
    """The SQL between two of the README's comments."""
    return README.partition(f"-- {first}")[2].partition("\n")[2].partition(last)[0]


def test_costs_can_be_read(client):
    body = {"source_text": SOURCE_TEXT}
    client.post("/generations", json=body)
    client.post("/sessions/ai", json=body)
    client.post("/sessions/ai", json={"source_text": f"{SOURCE_TEXT}\n[sandbox: empty]"})
    client.post(f"/decks/{uuid4()}/generation", json={"topic": "Rome", "count": 5})
    assert client.work() == ["succeeded"]

    (costs,) = client.query(statements("what each user cost", "--"))
    assert (costs["user_id"], costs["count"], costs["usd"]) == (client.user_id, 4, 0)
    assert costs["tokens"] > 1000
    assert client.query(statements("why generations failed", "--"))[0]["error_code"] == "upstream_invalid_response"


def test_systemd_waits_for_as_long_as_the_service_may_take_to_stop():
    times = Times.of(ProviderSettings(openrouter_api_key="key"))
    assert re.findall(r"^# .*OPENROUTER_TIMEOUT_MS and (\d+) s\.\nTimeoutStopSec=(\d+)$", README, re.MULTILINE) == [
        (str(stop_s - 30), str(stop_s)) for stop_s in (times.web_stop_s, times.worker_stop_s)
    ]
