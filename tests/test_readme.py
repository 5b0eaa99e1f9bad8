"""What the documents tell a newcomer and an operator to type."""

import re
import subprocess
import sys
from uuid import uuid4

import pytest

from recto.api import image_contract
from recto.api.bodies import MAX_BODY_BYTES
from recto.settings import DevelopmentSettings, ProviderSettings, Settings
from recto.times import Times

from .conftest import ROOT, SOURCE_TEXT

README = (ROOT / "README.md").read_text()
OPERATIONS = (ROOT / "docs/operations.md").read_text()


def statements(first, last):
    """The SQL between two of the chapter's comments."""
    return OPERATIONS.partition(f"-- {first}")[2].partition("\n")[2].partition(last)[0]


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
    assert client.query(statements("why generations failed", "```"))[0]["error_code"] == "upstream_invalid_response"


def test_systemd_waits_for_as_long_as_the_service_may_take_to_stop():
    times = Times.of(ProviderSettings(openrouter_api_key="key").openrouter_timeout_ms)
    assert re.findall(r"^# .*OPENROUTER_TIMEOUT_MS and (\d+) s\.\nTimeoutStopSec=(\d+)$", OPERATIONS, re.MULTILINE) == [
        (str(stop_s - 30), str(stop_s)) for stop_s in (times.web_stop_s, times.worker_stop_s)
    ]


def test_nginx_lets_through_what_the_service_takes():
    sizes = [int(size) * {"k": 1024, "m": 1024**2}[unit] for size, unit in re.findall(r"size (\d+)([km]);", OPERATIONS)]
    longest = Settings.model_fields["deck_max_characters"].default
    taken = [MAX_BODY_BYTES, 12 * longest + MAX_BODY_BYTES, image_contract.MAX_BODY_BYTES]
    assert all(0 <= allowed - bound < 1024 for allowed, bound in zip(sizes, taken, strict=True))


def test_every_setting_has_its_line_and_its_default():
    table = OPERATIONS.partition("| variable | default |")[2].partition("\n\n")[0]
    defaults = {}
    for line in re.findall(r"^\| `.*$", table, re.MULTILINE):
        names, told = line.split("|")[1:3]
        values = re.findall(r"`([^`]*)`", told) or [told.strip()] * 2
        defaults |= dict(zip(re.findall(r"`([^`]*)`", names), values, strict=False))
    fields = DevelopmentSettings.model_fields | Settings.model_fields
    assert defaults.keys() == {name.upper() for name in fields}
    said_in_words = {"required", "none", "–", "the database", "number of cores", "/var/lib/recto"}
    for name, value in defaults.items():
        field = fields[name.lower()]
        if value in said_in_words:
            assert field.is_required() == (value == "required"), name
        else:
            assert str(field.default).lower() == value.lower(), name


def test_it_is_short_and_its_links_lead_somewhere():
    assert len(README.splitlines()) <= 150
    for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for link, _, anchor in re.findall(r"\]\((?!http)([^)#]*)(#([^)]*))?\)", path.read_text()):
            target = path.parent / link if link else path
            assert target.exists(), (path.name, link)
            titles = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE) if target.suffix == ".md" else []
            assert not anchor or anchor in {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}


@pytest.mark.soak
def test_what_ends_first_is_what_the_simulation_says():
    said = subprocess.run(
        [sys.executable, "-m", "bench.capacity"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert len(said.stdout.splitlines()) > 20
    assert [line for line in said.stdout.splitlines() if line.strip() not in OPERATIONS] == []
