import json
import re
import runpy
import socket
from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from recto.settings import DevelopmentSettings, Settings, SettingsError
from recto.times import BODY_S, LONGEST_WAIT_S, SLACK_S, Times

from .conftest import ROOT

GOOD = {"DATABASE_URL": "postgresql://x", "OPENROUTER_API_KEY": "key", "SUPABASE_JWT_SECRET": "secret"}


@pytest.fixture
def environment(monkeypatch):
    def set_(**values):
        for name, value in (GOOD | values).items():
            monkeypatch.setenv(name, value)

    return set_


def test_three_values_are_enough(environment):
    environment()
    settings = Settings.load()
    assert settings.openrouter_timeout_ms == 30_000
    assert [(rule.amount, rule.get_expiry()) for rule in settings.limits_per_user] == [(5, 300)]
    assert [(rule.amount, rule.get_expiry()) for rule in settings.limits_per_ip] == [(30, 300)]


def test_a_rate_limit_may_have_several_rules_and_each_counts_once(environment):
    environment(RATE_LIMIT_PER_USER="5 per minute; 100 per day; 5/minute", RATE_LIMIT_PER_IP="1 per hour, 1 per hour")
    settings = Settings.load()
    assert [(rule.amount, rule.get_expiry()) for rule in settings.limits_per_user] == [(5, 60), (100, 86_400)]
    assert [(rule.amount, rule.get_expiry()) for rule in settings.limits_per_ip] == [(1, 3600)]


def test_each_missing_or_bad_value_has_a_line(environment):
    environment(DATABASE_URL="", OPENROUTER_TIMEOUT_MS="soon", RATE_LIMIT_PER_USER="a few", SUPABASE_URL="project")
    with pytest.raises(SettingsError) as caught:
        Settings.load()
    assert {line.split(":")[0] for line in str(caught.value).splitlines()} == {
        "DATABASE_URL",
        "OPENROUTER_TIMEOUT_MS",
        "SUPABASE_URL",
        "RATE_LIMIT_PER_USER",
    }


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("DATABASE_URL", ["mysql://x", "x postgresql://x"]),
        ("DATABASE_POOL_SIZE", ["0", "101"]),
        ("OPENROUTER_TIMEOUT_MS", ["0", "600001"]),
        ("OPENROUTER_MAX_TOKENS", ["15"]),
        ("MAX_PROPOSALS", ["0", "101"]),
        ("MAX_FRONT_CHARACTERS", ["0", "10001"]),
        ("MAX_BACK_CHARACTERS", ["0", "10001"]),
        ("MAX_CONCURRENT_GENERATIONS", ["0", "10001"]),
        ("QUOTA_GENERATIONS_PER_MONTH", ["-1"]),
        ("RETRY_WINDOW_HOURS", ["0", "8761", "nan"]),
        ("RETENTION_DAYS", ["0", "3651", "nan"]),
        ("TRUSTED_PROXY_COUNT", ["-1", "11"]),
        ("WEB_CONCURRENCY", ["0", "65"]),
        ("LOG_FORMAT", ["xml"]),
        ("ALERT_WEBHOOK_URL", ["hooks.slack.example/hidden"]),
        ("RATE_LIMIT_STORAGE_URL", ["memory://", "x redis://h", "redis://:hidden/word@h", "redis://h:hidden"]),
        ("REPLICATE_MODEL", ["nano-banana", "a/b/c"]),
        ("REPLICATE_TIMEOUT_MS", ["0", "60001"]),
        ("REPLICATE_WEBHOOK_SECRET", ["hidden", "whsec_hidden", "whsec_" + "A" * 40 + ",hidden"]),
        ("RENDER_DEADLINE_S", ["0", "3601"]),
        ("PUBLIC_BASE_URL", ["recto.example"]),
    ],
)
def test_what_would_not_work_is_refused_by_name_without_its_value(environment, name, bad):
    for value in bad:
        environment(**{name: value})
        with pytest.raises(SettingsError, match=f"^{name}: ") as caught:
            Settings.load()
        assert "hidden" not in str(caught.value)


def test_settings_never_change(environment):
    environment()
    with pytest.raises(ValidationError, match="frozen"):
        Settings.load().database_pool_size = 5


def test_without_a_source_of_keys_nothing_starts(environment):
    environment(SUPABASE_JWT_SECRET="")
    with pytest.raises(SettingsError, match="SUPABASE_JWT_SECRET or SUPABASE_URL"):
        Settings.load()


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({}, "PUBLIC_BASE_URL"),
        ({"PUBLIC_BASE_URL": "http://recto.example"}, "PUBLIC_BASE_URL"),
        ({"PUBLIC_BASE_URL": "https://recto.example"}, "REPLICATE_WEBHOOK_SECRET"),
        ({"PUBLIC_BASE_URL": "https://recto.example", "REPLICATE_WEBHOOK_SECRET": "whsec_" + "A" * 40}, None),
        ({"PUBLIC_BASE_URL": "http://127.0.0.1:8000", "ALLOW_UNSIGNED_WEBHOOKS": "true"}, None),
    ],
)
def test_pictures_need_an_address_for_webhooks_and_a_secret_that_signs_them(environment, changes, missing):
    environment(REPLICATE_API_TOKEN="r8_x", **changes)
    if missing is None:
        assert "AAAA" not in repr(Settings.load())
        return
    with pytest.raises(SettingsError, match=f"^{missing}: "):
        Settings.load()


def test_secrets_are_not_shown(environment):
    environment(OPENROUTER_API_KEY="sk-or-v1-abc", SUPABASE_JWT_SECRET="hush hush")
    assert "abc" not in repr(Settings.load())
    assert "hush" not in repr(Settings.load())


def test_lists_are_separated_by_commas(environment):
    environment(OPENROUTER_FALLBACK_MODELS="a/one, b/two,", CORS_ORIGINS="https://app.example")
    settings = Settings.load()
    assert settings.openrouter_fallback_models == ("a/one", "b/two")
    assert settings.configured_models == {"openai/gpt-4o-mini", "a/one", "b/two"}
    assert settings.cors_origins == ("https://app.example",)


def test_addresses_lose_their_trailing_slash(environment):
    environment(SUPABASE_URL="https://project.supabase.co/", OPENROUTER_BASE_URL="http://127.0.0.1:1234/v1/")
    settings = Settings.load()
    assert settings.supabase_url == "https://project.supabase.co"
    assert settings.openrouter_base_url == "http://127.0.0.1:1234/v1"


def test_root_keeps_its_database_out_of_its_home(monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert str(DevelopmentSettings.load().recto_data_dir) == "/var/lib/recto"
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert str(DevelopmentSettings.load().recto_data_dir) == "/home/somebody/.local/share/recto"


@pytest.mark.parametrize("deadline_s", [0.001, 30, 600])
def test_times_nest(deadline_s):
    times = Times(deadline_s=deadline_s)
    # A renewal may fail and the next one still be in time.
    assert 2 * times.renew_every_s < times.lease_s
    assert times.request_s >= BODY_S + deadline_s + SLACK_S + times.patience_s
    assert times.graceful_stop_s >= max(times.request_s, LONGEST_WAIT_S) + 5
    assert times.web_stop_s >= times.graceful_stop_s + 5
    assert times.worker_stop_s >= deadline_s + SLACK_S + times.worker_patience_s + 5


def test_the_defaults_are_what_the_readme_promises():
    """A job that a killed worker left is pending again within half a minute; a result waits 10 s for its database."""
    times = Times.of(Settings(**{name.lower(): value for name, value in GOOD.items()}).openrouter_timeout_ms)
    assert (times.deadline_s, times.patience_s, times.worker_patience_s) == (30, 10, 30)
    assert times.lease_s + times.sweep_every_s <= 30
    assert LONGEST_WAIT_S == 25
    # Who hears no notification still gets on: a worker at once, a caller soon.
    assert times.poll_s <= 1
    assert times.look_s <= 5
    assert times.backoff_s <= 5
    assert DevelopmentSettings().openrouter_timeout_ms == 30_000


@pytest.fixture
def gunicorn_conf(environment, monkeypatch):
    """Read gunicorn.conf.py as gunicorn does."""
    monkeypatch.setattr("gunicorn.util.write_error", None)  # the file sets it

    def read(**values):
        environment(**values)
        return runpy.run_path(str(ROOT / "gunicorn.conf.py"))

    return read


@pytest.mark.parametrize("deadline_ms", [1, 30_000])
def test_gunicorn_lets_the_longest_request_end(gunicorn_conf, deadline_ms):
    configured = gunicorn_conf(OPENROUTER_TIMEOUT_MS=str(deadline_ms), WEB_CONCURRENCY="3")
    assert configured["graceful_timeout"] == Times(deadline_s=deadline_ms / 1000).graceful_stop_s
    assert configured["workers"] == 3


def test_gunicorn_holds_many_waiting_requests_in_processes_that_share_no_connection(gunicorn_conf):
    configured = gunicorn_conf()
    assert (configured["worker_class"], configured["worker_connections"], configured["backlog"]) == (
        "gevent",
        2000,
        2048,
    )
    assert configured["preload_app"] is False
    # A process that is stuck for as long as a provider may take is not stuck yet.
    assert configured["timeout"] > 30
    assert configured["control_socket_disable"] is True  # it would be a file in the user's home


def test_the_proxy_hangs_up_before_gunicorn_does(gunicorn_conf):
    operations = (ROOT / "docs/operations.md").read_text()
    (proxy_s,) = re.findall(r"keepalive_timeout (\d+)s;", operations)
    assert gunicorn_conf()["keepalive"] == int(proxy_s) + 1


@pytest.mark.parametrize(("status", "code"), [(431, "invalid_request"), (500, "internal_error")])
def test_an_error_of_gunicorns_own_ends_the_connection_in_the_one_envelope(gunicorn_conf, status, code):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        gunicorn_conf()["_write_error"](theirs, status, "The Reason", "eyJ.what.was-sent")
        head, _, body = ours.recv(10_000).partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} The Reason\r\n".encode())
    assert b"Connection: close" in head
    assert f"Content-Length: {len(body)}".encode() in head
    assert json.loads(body) == {"error": code, "message": "The Reason."}


def test_a_worker_of_gunicorn_that_ends_closes_what_its_app_holds(gunicorn_conf):
    closed = []
    app = SimpleNamespace(extensions={"recto": SimpleNamespace(close=lambda: closed.append("app"))})
    worker_exit = gunicorn_conf()["worker_exit"]
    worker_exit(None, SimpleNamespace(wsgi=app))
    worker_exit(None, SimpleNamespace())  # it did not get as far as its app
    assert closed == ["app"]
