"""The command line, as a program of its own."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import jwt
import psutil
import psycopg
import pytest
import requests

from recto import dev
from recto.root import GUNICORN
from recto.settings import DevelopmentSettings
from recto.times import Times

from .commands import RECTO, run
from .conftest import until

TEXT = "The recto is the front of a leaf. The verso is its back. Gutenberg printed his Bible in 1455. " * 12


def test_a_migration_is_reported_and_done_once(empty_database):
    first = run("migrate", environment={"DATABASE_URL": empty_database})
    assert b"applied 0001_generations.sql" in first.stdout
    assert b"up to date" in run("migrate", environment={"DATABASE_URL": empty_database}).stdout


def test_a_user_is_forgotten(client):
    environment = {"DATABASE_URL": client.runtime.settings.database_url}
    client.post(json={"source_text": TEXT})
    for _ in range(2):  # nothing to forget is no error
        done = run("forget", "--user", str(client.user_id), environment=environment)
        assert (done.returncode, client.rows("generations")) == (0, [])
        assert done.stdout.decode() == f"Nothing is kept of the user {client.user_id} any more.\n"
    refused = run("forget", "--user", "somebody", environment=environment)
    assert refused.returncode == 2
    assert b"'somebody' is not a valid UUID" in refused.stderr


def test_old_records_are_deleted_and_an_interrupted_run_says_how_far_it_came(client):
    environment = {"DATABASE_URL": client.runtime.settings.database_url}
    for path in ("/generations", "/sessions/ai"):
        client.post(path, json={"source_text": TEXT})
    client.query("create table public.cards (generation_id bigint references generations (id))")
    client.query("insert into cards select min(id) from generations")
    client.query("update generation_jobs set finished_at = now() - interval '32 days'")
    client.query("update generations set created_at = now() - interval '32 days'")
    command = ["prune", "--older-than", "31"]

    counted = run(*command, "--dry-run", environment=environment)
    told = "Would delete 1 generation_jobs, 1 generations. Kept 1 generations: the app's rows refer to them.\n"
    assert (counted.returncode, counted.stdout.decode()) == (0, told)

    with psycopg.connect(client.runtime.settings.database_url) as conn:
        conn.execute("lock table public.cards")  # in which the run then looks
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with subprocess.Popen([RECTO, *command], env=environment, **pipes) as stopped:
            try:
                until(lambda: client.query("select pid from pg_locks where not granted"))
                stopped.send_signal(signal.SIGINT)
                told, aborted = stopped.communicate(timeout=60)
            finally:
                stopped.kill()
    assert (stopped.returncode, told) == (1, b"Deleted 1 generation_jobs.\n")
    assert aborted.splitlines()[-1] == b"Aborted!"
    done = run(*command, environment=environment)
    assert done.stdout == b"Deleted 1 generations. Kept 1 generations: the app's rows refer to them.\n"
    client.query("delete from cards")
    assert run(*command, environment=environment).stdout == b"Deleted 1 generations.\n"
    assert run(*command, environment=environment).stdout == b"Deleted nothing.\n"
    assert run("prune", "--older-than", "30", environment=environment).returncode == 2


def test_an_operator_sees_what_all_users_models_are_worth(client, open_client):
    environment = {"DATABASE_URL": client.runtime.settings.database_url}
    client.post(json={"source_text": TEXT})
    alone = client.get("/stats?days=7").json
    told = json.loads(run("stats", "--json", "--days", "7", environment=environment).stdout)
    assert told | {"since": None} == alone | {"since": None}
    open_client().post(json={"source_text": TEXT})
    done = run("stats", environment=environment)
    assert done.returncode == 0
    *_, name, figures = done.stdout.decode().splitlines()
    assert (name, figures.split()[:3]) == ("sandbox/extractive", ["2", "–", "2"])


@pytest.mark.parametrize(
    "command",
    [["forget", "--user", "8f14e45f-ceea-467f-a0e6-1f5d9b7d1b1a"], ["prune", "--older-than", "31"], ["stats"]],
)
def test_a_database_that_is_not_migrated_is_said_in_a_line(empty_database, command):
    done = run(*command, environment={"DATABASE_URL": empty_database})
    assert done.returncode == 1
    assert done.stderr.startswith(b"recto: ")
    assert b"Traceback" not in done.stderr


def test_what_is_missing_is_said_in_a_line():
    done = run("migrate")
    assert done.returncode == 1
    assert done.stderr == b"recto: DATABASE_URL: must be set\n"
    done = run("generate", "-", text=TEXT)
    assert done.returncode == 1
    assert done.stderr == b"recto: OPENROUTER_API_KEY: must be set\n"


def test_what_can_be_expected_to_fail_is_said_without_a_traceback(empty_database, tmp_path):
    with psycopg.connect(empty_database) as conn:
        conn.execute("create schema recto")
        conn.execute("create table recto.migrations as select 'a-newer-one.sql' as name, '' as checksum")
    commands = {
        b"connection": ("migrate", "DATABASE_URL", "postgresql://127.0.0.1:1/nobody-listens"),
        b"a-newer-one.sql was applied to this database but is missing here": (
            "migrate",
            "DATABASE_URL",
            empty_database,
        ),
        b"too long for a Unix socket": ("dev", "RECTO_DATA_DIR", str(tmp_path / ("x" * 100))),
    }
    for reason, (command, variable, value) in commands.items():
        done = run(command, environment={variable: value})
        assert done.returncode == 1
        assert done.stderr.startswith(b"recto: ")
        assert reason in done.stderr
        assert b"Traceback" not in done.stderr


def test_a_token_is_signed_with_the_configured_secret():
    secret = "a configured secret that is long enough for HS256"
    user = "8f14e45f-ceea-467f-a0e6-1f5d9b7d1b1a"
    done = run("token", "--user", user, environment={"SUPABASE_JWT_SECRET": secret})
    claims = jwt.decode(done.stdout.decode().strip(), secret, algorithms=["HS256"], audience="authenticated")
    assert (claims["sub"], claims["role"]) == (user, "authenticated")


def test_the_development_secret_is_made_at_random_and_kept_private(tmp_path):
    tokens = [run("token", environment={"RECTO_DATA_DIR": str(tmp_path / name)}).stdout for name in ("a", "a", "b")]
    secrets = [(tmp_path / name / "development-secret").read_text() for name in ("a", "b")]
    assert secrets[0] != secrets[1]
    assert len(secrets[0]) >= 43
    assert (tmp_path / "a" / "development-secret").stat().st_mode & 0o777 == 0o600
    for token, secret in zip(tokens, (secrets[0], secrets[0], secrets[1]), strict=True):
        claims = jwt.decode(token.decode().strip(), secret, algorithms=["HS256"], audience="authenticated")
        assert claims["sub"] == str(dev.USER_ID)


def test_two_first_starts_at_once_have_the_same_secret(tmp_path, monkeypatch):
    settings, others = DevelopmentSettings(recto_data_dir=tmp_path), []

    def in_the_middle_of_another(_length):
        monkeypatch.undo()
        others.append(dev.secret(settings))
        return "of the slower one"

    monkeypatch.setattr(dev.secrets, "token_urlsafe", in_the_middle_of_another)
    assert others == [dev.secret(settings)]
    assert len(others[0]) >= 43
    assert [path.name for path in tmp_path.iterdir()] == ["development-secret"]


@pytest.fixture
def parts_of_dev(monkeypatch, tmp_path, free_port):
    """Run `recto dev` up to where its parts would start; return how it would start them."""
    monkeypatch.setattr(dev.embedded, "running", lambda _folder: nullcontext("postgresql://embedded"))
    monkeypatch.setattr(dev.migrations, "migrate", lambda _url: None)

    def run_(**settings):
        parts = {}

        @contextmanager
        def stopped_at_once(module, environment, stop_s):
            parts[module[0]] = (module, environment, stop_s)
            yield SimpleNamespace(poll=lambda: 0)

        monkeypatch.setattr(dev, "_running", stopped_at_once)
        with pytest.raises(dev.DevelopmentError, match="did not start"):
            dev.run(DevelopmentSettings(recto_data_dir=tmp_path, **settings), port=free_port)
        return parts

    return run_


def test_dev_waits_for_as_long_as_its_parts_may_take_to_stop(parts_of_dev):
    parts = parts_of_dev(openrouter_timeout_ms=90_000)
    times = Times(deadline_s=90)
    assert {name: stop_s for name, (_, _, stop_s) in parts.items()} == {
        "gunicorn": times.web_stop_s,
        "recto.cli": times.worker_stop_s,
    }


def test_dev_fills_in_what_is_not_set_and_nothing_else(parts_of_dev, monkeypatch, free_port):
    monkeypatch.setenv("DATABASE_URL", "postgresql://elsewhere")
    monkeypatch.setenv("RATE_LIMIT_PER_USER", "1 per minute")
    module, environment, _ = parts_of_dev()["gunicorn"]
    # Nobody else on the network reaches it, and no idle browser holds it up.
    assert module == [*GUNICORN, "--bind", f"127.0.0.1:{free_port}", "--keep-alive", "1"]
    assert environment["DATABASE_URL"] == "postgresql://embedded"
    assert (environment["RATE_LIMIT_PER_USER"], environment["RATE_LIMIT_PER_IP"]) == (
        "1 per minute",
        "600 per 5 minutes",
    )
    assert environment["LOG_FORMAT"] == "console"
    assert environment["OPENROUTER_MODEL"] == "sandbox/extractive"
    assert environment["OPENROUTER_BASE_URL"].startswith("http://127.0.0.1:")
    assert len(environment["SUPABASE_JWT_SECRET"]) >= 43
    _, environment, _ = parts_of_dev(openrouter_api_key="key", supabase_url="https://project.example")["recto.cli"]
    assert not {"OPENROUTER_BASE_URL", "OPENROUTER_MODEL", "SUPABASE_JWT_SECRET"} & set(environment)


def test_a_token_names_the_configured_project(tmp_path):
    settings = DevelopmentSettings(
        recto_data_dir=tmp_path, supabase_url="https://project.example", supabase_jwt_secret="a secret" * 8
    )
    claims = jwt.decode(dev.token(settings, dev.USER_ID), options={"verify_signature": False})
    assert claims["iss"] == "https://project.example/auth/v1"


def test_signals_mean_again_what_they_meant_before():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with dev.until_stopped():
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(60)
        raise AssertionError("it was not stopped")
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.fixture
def development(short_folder, tmp_path):
    """Start `recto dev`; stop what is left of it at the end."""
    started = []

    def start(port, **environment):
        with (tmp_path / f"{port}.log").open("w") as log:
            process = subprocess.Popen(
                [RECTO, "dev", "--port", str(port)],
                env={"PATH": os.environ["PATH"], "RECTO_DATA_DIR": str(short_folder / "dev")} | environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        started.append(process)
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("Ctrl-C"):
                break
        assert lines, "it did not start"
        return process, "".join(lines)

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def _processes(folder):
    commands = [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]
    return [command for command in commands if str(folder) in command]


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.soak)])
def test_dev_serves_with_nothing_configured_and_stops_everything(development, free_port, short_folder, number):
    process, greeting = development(free_port, DATABASE_URL="postgresql://must-not-be-used.invalid/")
    bearer = greeting.split("#token=")[1].split()[0]
    url, headers = f"http://127.0.0.1:{free_port}", {"Authorization": f"Bearer {bearer}", "Connection": "close"}
    example = requests.get(f"{url}/playground/example.json", timeout=30).json()
    example["source_text"] += "\n[sandbox: slow]"
    assert (greeting.count(f"{url}/#token="), greeting.count(bearer)) == (1, 1)
    assert "data-token=" in requests.get(url, timeout=30).text
    # The command in `curl`'s header works as it is typed in another terminal.
    typed = greeting.split("Bearer $(")[1].split(")")[0]
    printed = subprocess.check_output(["/bin/sh", "-c", typed], env={"PATH": os.environ["PATH"]}, text=True)
    assert jwt.decode(printed.strip(), options={"verify_signature": False})["sub"] == str(dev.USER_ID)
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(requests.post, f"{url}/generations", json=example, headers=headers, timeout=60)
        until(lambda: "in_flight 2.0" in requests.get(f"{url}/metrics", timeout=30).text)
        if number == signal.SIGINT:
            # As from a terminal, which all of the group hear, and from somebody who is impatient.
            until(lambda: answer.done() or os.killpg(process.pid, number))
        else:
            process.send_signal(number)
        assert answer.result().json()["generation_id"]  # the provider, the service and the database end after it
    assert process.wait(30) == 0
    assert _processes(short_folder / "dev") == []
    with pytest.raises(requests.ConnectionError):
        requests.get(f"http://127.0.0.1:{free_port}/healthz", timeout=30)


@pytest.mark.soak
def test_more_signals_do_not_break_off_the_stopping(development, free_port, short_folder, tmp_path):
    process, _ = development(free_port)

    def impatient():
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does
            os.killpg(process.pid, signal.SIGTERM)
        return process.returncode is not None

    until(impatient)
    log = (tmp_path / f"{free_port}.log").read_text()
    assert "Stopping" in log
    assert "failed" not in log
    assert _processes(short_folder / "dev") == []


@pytest.mark.soak
def test_dev_takes_over_what_a_killed_one_left(development, free_port, short_folder):
    process, _ = development(free_port)
    process.kill()
    process.wait()
    until(lambda: not any(f"127.0.0.1:{free_port}" in command for command in _processes("gunicorn")))
    process, greeting = development(free_port)
    assert "Recto is running" in greeting
    process.terminate()
    assert process.wait(30) == 0
    assert _processes(short_folder / "dev") == []


@pytest.mark.soak
def test_two_supervisors_share_a_database_and_the_last_one_stops_it(development, free_port, short_folder):
    first, _ = development(free_port)
    second, _ = development(free_port + 1)
    first.terminate()
    assert first.wait(30) == 0
    assert requests.get(f"http://127.0.0.1:{free_port + 1}/readyz", timeout=30).status_code == 200
    second.terminate()
    assert second.wait(30) == 0
    assert _processes(short_folder / "dev") == []


@pytest.mark.soak
@pytest.mark.parametrize("part", ["recto.cli worker", "wsgi:app"])
def test_dev_ends_when_a_part_of_it_does(development, free_port, short_folder, part):
    process, _ = development(free_port)
    (child,) = (child for child in psutil.Process(process.pid).children() if part in " ".join(child.cmdline()))
    child.terminate()
    assert process.wait(30) == 1
    assert _processes(short_folder / "dev") == []


@pytest.mark.parametrize("command", ["dev", "sandbox"])
def test_a_port_that_cannot_be_had_is_said_in_a_line(free_port, tmp_path, command):
    environment = {"RECTO_DATA_DIR": str(tmp_path)}
    with socket.create_server(("127.0.0.1", free_port)):
        taken = run(command, "--port", str(free_port), environment=environment)
    for done, port, reason in (
        (taken, free_port, "Address already in use"),
        (run(command, "--port", "99999", environment=environment), 99999, "it must be 0 to 65535"),
    ):
        assert done.returncode == 1
        assert done.stderr.decode() == (
            f"recto: Port {port} cannot be used ({reason}). Name another: {RECTO} {command} --port …\n"
        )


def test_the_version_is_the_packages():
    assert subprocess.check_output([RECTO, "--version"], text=True) == f"recto {version('recto')}\n"


@pytest.mark.parametrize(
    ("called", "found", "typed"),
    [
        ("/home/a/.venv/bin/recto", "/home/a/.venv/bin/recto", "recto"),
        (".venv/bin/recto", None, ".venv/bin/recto"),
        (".venv/bin/recto", "/usr/bin/recto", ".venv/bin/recto"),
        ("/my files/bin/recto", None, "'/my files/bin/recto'"),
        ("/src/recto/cli.py", "/usr/bin/recto", f"{sys.executable} -m recto.cli"),
    ],
)
def test_commands_are_named_as_they_can_be_typed(monkeypatch, called, found, typed):
    monkeypatch.setattr(sys, "argv", [called, "dev"])
    monkeypatch.setattr(dev, "which", lambda _name: found)
    assert dev._recto() == typed


def test_gunicorn_says_what_is_missing_in_a_line_each():
    done = subprocess.run(
        [sys.executable, "-m", "gunicorn", "wsgi:app"],
        cwd=Path(__file__).resolve().parents[1],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        check=False,
    )
    assert done.returncode != 0
    assert sorted(done.stderr.decode().splitlines()) == [
        "DATABASE_URL: must be set",
        "OPENROUTER_API_KEY: must be set",
        "Recto cannot start:",
    ]


def test_psycopg_is_not_needed_to_read_the_settings():
    """gunicorn.conf.py reads them before gevent patches the standard library, and must not import psycopg first."""
    code = "import recto.times, sys; sys.exit(bool({'psycopg', 'requests', 'urllib3'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.soak)])
def test_the_sandbox_runs_alone(free_port, short_folder, number):
    # As in the background of a script, where the shell has SIGINT ignored.
    command = f"trap '' INT; exec {RECTO} sandbox --port {free_port} --chunks-per-second 0.01"
    # The folder's name tells tests/cleanup.py whose process it is.
    environment = {"PATH": os.environ["PATH"], "RECTO_DATA_DIR": str(short_folder)}
    with subprocess.Popen(["/bin/sh", "-c", command], env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            said = dict(process.stdout.readline().strip().split("=", 1) for _ in range(3))
            assert said["OPENROUTER_BASE_URL"] == f"http://127.0.0.1:{free_port}/api/v1"
            token = {"Authorization": "Bearer any"}
            assert requests.get(f"{said['OPENROUTER_BASE_URL']}/key", headers=token, timeout=30).status_code == 200
            secret = f"{said['REPLICATE_BASE_URL']}/v1/webhooks/default/secret"
            assert requests.get(secret, headers=token, timeout=30).json() == {"key": said["REPLICATE_WEBHOOK_SECRET"]}
            body = {"messages": [{"role": "user", "content": TEXT}], "stream": True}
            chat = f"{said['OPENROUTER_BASE_URL']}/chat/completions"
            with requests.post(chat, json=body, headers=token, stream=True, timeout=30) as stream:
                lines = stream.iter_lines(chunk_size=1)
                assert [next(lines), next(lines)] == [b": OPENROUTER PROCESSING", b""]
                process.send_signal(number)
                assert process.wait(30) == 0
                with pytest.raises(requests.exceptions.ChunkedEncodingError):
                    next(lines)  # a chunk takes 100 s
        finally:
            process.kill()
