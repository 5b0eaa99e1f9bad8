"""Starts and stops all that takes part. Everything listens on 127.0.0.1 alone and ends with its ``with`` block."""

import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg

from bench.processes import parent
from recto.db import embedded

ROOT = Path(__file__).parents[1]
JWT_SECRET = secrets.token_hex(32)
START_TIMEOUT_S = 120  # LiteLLM takes more than 40 on two busy cores

# What makes two gunicorns comparable; the rest of gunicorn.conf.py is Recto's own (its hooks open pools).
_COMPARABLE = ("worker_class", "workers", "worker_connections", "threads", "backlog", "keepalive", "timeout")
_PRINT_COMPARABLE = (
    "import json, runpy, sys; conf = runpy.run_path('gunicorn.conf.py');"
    "print(json.dumps({name: conf[name] for name in sys.argv[1:] if name in conf}))"
)


@dataclass(frozen=True)
class Target:
    """Something that answers ``POST /generations`` on 127.0.0.1:``port``; ``pid`` is the root of its processes.

    ``load``: arguments for the load generator, where what is sent to others would not do.
    """

    name: str
    port: int
    pid: int
    load: tuple[str, ...] = ()


@dataclass(frozen=True)
class Postgres:
    """A running server: its URL and version, and the process that all its others descend from."""

    url: str
    version: str
    pid: int


@contextmanager
def postgres(folder: Path) -> Iterator[Postgres]:
    """An embedded PostgreSQL over ``folder`` with its default, durable settings and Recto's empty tables."""
    with embedded.running(folder / "postgres") as url:
        migrate = [_bin("recto"), "migrate"]
        subprocess.run(migrate, cwd=ROOT, env=os.environ | {"DATABASE_URL": url}, stdout=subprocess.DEVNULL, check=True)
        with psycopg.connect(url) as conn:
            row = conn.execute("select pg_backend_pid(), current_setting('server_version')").fetchone()
            # A backend lives for as long as its connection: its parent must be asked for before that ends.
            started = Postgres(url, version=row[1], pid=parent(row[0]))
        yield started


@contextmanager
def provider(delay_s: float) -> Iterator[Target]:
    """The stand-in for OpenRouter."""
    port = free_port()
    command = [sys.executable, "-m", "bench.provider", str(port), str(delay_s), JWT_SECRET]
    with _running(command, {}, Path(os.devnull)) as pid:
        _wait(lambda: socket.create_connection(("127.0.0.1", port)).close(), Path(os.devnull))
        yield Target("provider itself", port, pid)


def counted(upstream: Target, what: str) -> int:
    """What the stand-in has counted so far: ``calls`` or ``look-ups``."""
    with urllib.request.urlopen(f"http://127.0.0.1:{upstream.port}/{what}", timeout=10) as answer:
        return json.load(answer)


@contextmanager
def passthrough(environment: dict[str, str], folder: Path) -> Iterator[Target]:
    """The bare pass-through under gunicorn, with the service's worker class and numbers."""
    conf = folder / "passthrough.conf.py"
    comparable = json.loads(
        subprocess.run(
            [sys.executable, "-c", _PRINT_COMPARABLE, *_COMPARABLE],
            cwd=ROOT,
            env=os.environ | environment | {"TMPDIR": str(folder)},  # the file makes a folder when it is read
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
    )
    conf.write_text("".join(f"{name} = {value!r}\n" for name, value in comparable.items()))
    with _gunicorn("pass-through", ["-c", str(conf), "bench.passthrough:app"], environment, folder, "/") as target:
        yield target


@contextmanager
def service(environment: dict[str, str], folder: Path) -> Iterator[Target]:
    """Recto as an operator runs it."""
    with _gunicorn("Recto", ["wsgi:app"], environment, folder, "/readyz") as target:
        yield target


@contextmanager
def service_es256(environment: dict[str, str], upstream: Target, folder: Path) -> Iterator[Target]:
    """The same with Supabase's default: tokens that a key of the project signs, whose set ``upstream`` has."""
    url = f"http://127.0.0.1:{upstream.port}"
    keys = {"SUPABASE_URL": url, "SUPABASE_JWT_SECRET": ""}
    with _gunicorn("Recto, ES256", ["wsgi:app"], environment | keys, folder, "/readyz") as target:
        yield replace(target, load=("--issuer", f"{url}/auth/v1"))


def service_environment(database_url: str, provider_port: int) -> dict[str, str]:
    """The service's settings: limits that are counted in full and never reached."""
    return {
        "DATABASE_URL": database_url,
        "OPENROUTER_API_KEY": "bench",
        "OPENROUTER_BASE_URL": f"http://127.0.0.1:{provider_port}/api/v1",
        "OPENROUTER_MODEL": "bench/model",
        "SUPABASE_JWT_SECRET": JWT_SECRET,
        "RATE_LIMIT_PER_USER": "1000000 per 5 minutes",
        "RATE_LIMIT_PER_IP": "1000000 per 5 minutes",
    }


@contextmanager
def worker(environment: dict[str, str], folder: Path, number: int, concurrency: int) -> Iterator[Target]:
    """A worker that runs pending jobs."""
    log = folder / f"worker-{number}.log"
    with _running([_bin("recto"), "worker", "--concurrency", str(concurrency)], environment, log) as pid:
        yield Target(f"worker {number}", 0, pid)


@contextmanager
def _gunicorn(
    name: str, arguments: list[str], environment: dict[str, str], folder: Path, ready_path: str
) -> Iterator[Target]:
    port = free_port()
    command = [_bin("gunicorn"), "-b", f"127.0.0.1:{port}", *arguments]
    with served(name, port, command, environment, folder, ready_path) as target:
        yield target


@contextmanager
def served(
    name: str, port: int, command: list[str], environment: dict[str, str], folder: Path, ready_path: str
) -> Iterator[Target]:
    """What ``command`` runs on that port, once it answers ``GET ready_path``, be it with a 404."""
    log = folder / f"{name}.log"
    with _running(command, environment, log) as pid:
        _wait(lambda: _answers(f"http://127.0.0.1:{port}{ready_path}"), log)
        yield Target(name, port, pid)


@contextmanager
def _running(command: list[str], environment: dict[str, str], log: Path) -> Iterator[int]:
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=os.environ | environment, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(url: str) -> None:
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except urllib.error.HTTPError as error:
        # The pass-through has no page: that it says so is an answer.
        if error.code != 404:
            raise


def _wait(attempt: Callable[[], None], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            return attempt()
        except OSError as error:
            if time.monotonic() > deadline:
                last_lines = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
                raise SystemExit(f"not ready after {START_TIMEOUT_S} s: {error}\n{last_lines}") from error
            time.sleep(0.05)


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def _bin(name: str) -> str:
    return str(Path(sys.executable).with_name(name))
