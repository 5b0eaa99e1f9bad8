"""Real parts for the tests: one PostgreSQL a run, a fresh database a test, the sandbox provider, gunicorn."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from time import monotonic, sleep
from uuid import UUID, uuid4

import psutil
import psycopg
import pytest
import requests
from flask import Flask
from hypothesis import settings as hypothesis_settings
from tests import valkey

from recto import tokens
from recto.api import create_app
from recto.db import claims, embedded, migrations
from recto.db.claims import Attempt
from recto.db.pool import SEARCH_PATH
from recto.jobs.images import run_image
from recto.jobs.run import run
from recto.runtime import Runtime, openrouter
from recto.sandbox.predictions import SIGNING_SECRET
from recto.sandbox.server import SandboxServer
from recto.sandbox.server import start as start_sandbox
from recto.settings import DevelopmentSettings, Settings

ROOT = Path(__file__).resolve().parents[1]
SECRET = "a secret of the tests, long enough for HS256"

# Sentences in which the sandbox finds something to ask, and more than 1,000 characters.
SOURCE_TEXT = (
    "The Rosetta Stone is a slab of granodiorite that carries one decree in three scripts. "
    "It was found in July 1799 by French soldiers near the town of Rashid. "
    "A cartouche is an oval frame that surrounds the name of a king. "
    "Jean-François Champollion announced the decipherment in 1822. "
) * 4

# How long an example takes says more about the machine than about the code.
hypothesis_settings.register_profile("recto", deadline=None)
hypothesis_settings.load_profile("recto")


def pytest_configure(config: pytest.Config) -> None:
    """Let a SIGTERM end a run as Ctrl-C does, with fixtures torn down, though a shell's background ignores SIGINT."""

    def stop(number: int, frame: object) -> None:
        if config.pluginmanager.has_plugin("dsession"):  # the tests run in this one's children
            for child in psutil.Process().children():
                child.terminate()
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def until(condition: Callable[[], object], timeout_s: float = 60) -> object:
    """Wait for what must become true; on the way it may be slow, but not for ever."""
    deadline = monotonic() + timeout_s
    while not (value := condition()):
        assert monotonic() < deadline, "it did not become true"
        sleep(0.02)
    return value


@pytest.fixture
def stopped_after_a_minute() -> Iterator[None]:
    """Stop what takes hours on any machine if its time outgrows its input, and a moment on any if it does not."""

    def stop(number: int, frame: object) -> None:
        raise AssertionError("its time outgrows its input")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="session", autouse=True)
def _only_our_own_environment() -> None:
    """Keep the settings of whoever runs the tests out of them."""
    for name in Settings.model_fields | DevelopmentSettings.model_fields:
        os.environ.pop(name.upper(), None)


@pytest.fixture(scope="session")
def short_folder() -> Iterator[Path]:
    """A folder with a path short enough for Unix sockets, which PostgreSQL's own user may walk through.

    In memory where that can be had: a database a test is some hundred files a test.
    """
    memory = Path("/dev/shm")
    usable = memory.is_dir() and os.access(memory, os.W_OK) and not os.statvfs(memory).f_flag & os.ST_NOEXEC
    folder = Path(tempfile.mkdtemp(prefix="recto-", dir=memory if usable else None))
    folder.chmod(0o755)
    os.environ["TMPDIR"] = str(folder)  # so that what a killed gunicorn left there goes with it
    with subprocess.Popen([sys.executable, ROOT / "tests/cleanup.py", folder], stdin=subprocess.PIPE):
        yield folder


@pytest.fixture(scope="session")
def postgres(short_folder: Path) -> Iterator[str]:
    """The URL of the run's PostgreSQL; its database `migrated` is the template of the tests' own."""
    with embedded.running(short_folder, durable=False) as url:
        with psycopg.connect(url, autocommit=True) as conn:
            conn.execute("create database migrated")
        migrations.migrate(_database(url, "migrated"))
        yield url


def _database(url: str, name: str) -> str:
    return url.replace("///postgres?", f"///{name}?")


@contextmanager
def _fresh_database(postgres: str, template: str) -> Iterator[str]:
    name = f"test_{uuid4().hex}"
    with psycopg.connect(postgres, autocommit=True) as conn:
        conn.execute(f"create database {name} template {template}")
        yield _database(postgres, name)
        conn.execute(f"drop database {name} with (force)")


@pytest.fixture
def empty_database(postgres: str) -> Iterator[str]:
    """The URL of a database without anything."""
    with _fresh_database(postgres, "template1") as url:
        yield url


@pytest.fixture
def database(postgres: str) -> Iterator[str]:
    """The URL of a migrated database."""
    with _fresh_database(postgres, "migrated") as url:
        yield url


@dataclass(frozen=True)
class OwnPostgres:
    """A migrated PostgreSQL that a test may stop and start."""

    url: str
    _cluster: Path

    def stop(self) -> None:
        """Stop it in order: whoever is connected is told, and then finds no socket."""
        embedded._stop(embedded._binaries(self._cluster), self._cluster)

    def start(self) -> None:
        """Start it again and return when it answers."""
        embedded._start(embedded._binaries(self._cluster), self._cluster, durable=False)


@pytest.fixture
def own_postgres(short_folder: Path) -> Iterator[OwnPostgres]:
    """A migrated PostgreSQL of the test's own, which may be stopped."""
    folder = short_folder / uuid4().hex[:8]
    folder.mkdir()
    folder.chmod(0o755)
    with embedded.running(folder, durable=False) as url:
        migrations.migrate(url)
        yield OwnPostgres(url, folder / "pg18")


@pytest.fixture(scope="session")
def sandbox() -> Iterator[SandboxServer]:
    """The sandbox provider, on a real socket; its streams come at once."""
    with start_sandbox(chunks_per_second=0) as server:
        yield server


@pytest.fixture(scope="session")
def valkey_server(short_folder: Path) -> Iterator[valkey.Server]:
    """A Valkey or Redis on a real socket."""
    path = valkey.find() or pytest.fail(valkey.MISSING, pytrace=False)
    server = valkey.Server(path, short_folder, _free_port())
    yield server
    server.close()


@pytest.fixture
def empty_valkey(valkey_server: valkey.Server) -> valkey.Server:
    """The same with nothing in it."""
    valkey_server.client.flushall()
    return valkey_server


@pytest.fixture
def settings(database: str, sandbox: SandboxServer) -> Settings:
    """A service over real parts, with a short deadline and limits out of the way."""
    changes = {"rate_limit_per_ip": "1000 per minute", "database_pool_size": 2}
    return settings_of(database, sandbox, openrouter_timeout_ms=5000, **changes)


def settings_of(database_url: str, sandbox: SandboxServer, **changes: object) -> Settings:
    return Settings(
        database_url=database_url,
        openrouter_api_key="sk-or-v1-a-key-that-must-never-be-seen",
        openrouter_base_url=sandbox.base_url,
        openrouter_model="sandbox/extractive",
        supabase_jwt_secret=SECRET,
        rate_limit_per_user="1000 per minute",
        **changes,
    )


@dataclass(frozen=True)
class Client:
    """A user's client of an app in this process."""

    runtime: Runtime
    user_id: UUID

    def post(self, path: str = "/generations", **kwargs):
        return self._send("POST", path, **kwargs)

    def get(self, path: str, **kwargs):
        return self._send("GET", path, **kwargs)

    def patch(self, path: str, **kwargs):
        return self._send("PATCH", path, **kwargs)

    def delete(self, path: str, **kwargs):
        return self._send("DELETE", path, **kwargs)

    def _send(self, method: str, path: str, **kwargs):
        headers = {"Authorization": f"Bearer {self.token()}"} | kwargs.pop("headers", {})
        return self.app.test_client().open(path, method=method, headers=headers, **kwargs)

    @cached_property
    def app(self) -> Flask:
        """The app, made once."""
        return create_app(self.runtime)

    def token(self) -> str:
        """A token of this user."""
        return tokens.issue(SECRET, self.user_id)

    def rows(self, table: str) -> list[dict]:
        """What is in the table, seen by its owner."""
        return self.query(f"select * from {table} order by id")

    def query(self, statement: str) -> list[dict]:
        """Run a statement past all policies."""
        with psycopg.connect(self.runtime.settings.database_url, row_factory=psycopg.rows.dict_row) as conn:
            conn.execute("select set_config('search_path', %s, false)", (SEARCH_PATH,))
            cursor = conn.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def add_render(self) -> None:
        """Put a render of one picture beside one of the user's jobs."""
        self.query(
            "insert into renders (id, job_id, user_id) select gen_random_uuid(), id, user_id from generation_jobs"
            f" where user_id = '{self.user_id}' limit 1"
        )
        self.query(
            "insert into render_variants (render_id, index, user_id, width, height)"
            f" select id, 0, user_id, 1, 1 from renders where user_id = '{self.user_id}'"
        )

    def work(self) -> list[str]:
        """Run one attempt of each job that is pending, as a worker would, and return how they ended."""
        runtime = replace(self.runtime, openrouter=openrouter(self.runtime.settings, quick_retry=False))
        self.query("update generation_jobs set run_at = now() where status = 'pending'")  # whatever pause there was
        claimed = []
        while attempt := self.claim():
            claimed.append(attempt)
        return [
            run_image(runtime, attempt) if attempt.kind == "image" else run(runtime, attempt)[0].name
            for attempt in claimed
        ]

    def claim(self, capacity: int = 100) -> Attempt | None:
        """Claim the job that has been due for longest."""
        leases = self.runtime.leases
        return claims.claim(self.runtime.pool, leases.holder, lease_s=leases.lease_s, capacity=capacity)


@pytest.fixture
def open_client(settings: Settings) -> Iterator[Callable[..., Client]]:
    """Make clients of an app whose settings differ in what is given; each is another user's unless one is named."""
    opened = []

    def open_(user_id: UUID | None = None, **changes) -> Client:
        runtime = Runtime.open(Settings(**(settings.model_dump() | changes)))
        opened.append(runtime)
        return Client(runtime, user_id or uuid4())

    yield open_
    for runtime in opened:
        runtime.close()


@pytest.fixture
def client(open_client: Callable[..., Client]) -> Client:
    """A user's client of an app in this process."""
    return open_client()


@pytest.fixture
def open_images(open_client: Callable[..., Client], sandbox: SandboxServer, tmp_path: Path) -> Callable[..., Client]:
    """Make clients of an app with pictures on; no webhook reaches it."""

    def open_(user_id: UUID | None = None, **changes) -> Client:
        address = {"public_base_url": "http://127.0.0.1:9"}
        return open_client(user_id, **_with_pictures(sandbox, tmp_path / "files") | address | changes)

    return open_


@pytest.fixture
def images(open_images: Callable[..., Client]) -> Client:
    """A user's client of an app with pictures on."""
    return open_images()


def _with_pictures(sandbox: SandboxServer, files: Path) -> dict[str, str]:
    return {
        "replicate_api_token": "r8_a-token",
        "replicate_base_url": sandbox.replicate_url,
        "replicate_output_hosts": sandbox.replicate_url,
        "replicate_webhook_secret": SIGNING_SECRET,
        "replicate_timeout_ms": "3000",
        "storage_url": f"file://{files}",
    }


@pytest.fixture
def free_port() -> int:
    """A port that nobody uses; so is the next one."""
    return _free_port()


def _free_port() -> int:
    """Return one below those that systems give to connections, of which the tests beside this one open many."""
    chance = random.SystemRandom()  # hypothesis seeds the common one
    while True:
        port = chance.randrange(20_000, 32_000)
        with (
            suppress(OSError),
            socket.create_server(("127.0.0.1", port)),
            socket.create_server(("127.0.0.1", port + 1)),
        ):
            return port


def children(pid: int) -> list[int]:
    """The processes that this one has started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@dataclass(frozen=True)
class Service:
    """The whole service as an operator runs it."""

    url: str
    process: subprocess.Popen
    log: Path

    def token(self, user_id: UUID | None = None) -> str:
        """A fresh user's token, or a known one's."""
        return tokens.issue(SECRET, user_id or uuid4())

    def post(self, text: str = SOURCE_TEXT, *, user_id: UUID | None = None, **kwargs) -> requests.Response:
        # An idle connection would keep a stopping worker for as long as it may stay idle.
        headers = {"Authorization": f"Bearer {self.token(user_id)}", "Connection": "close"}
        return requests.post(f"{self.url}/generations", json={"source_text": text}, headers=headers, **kwargs)

    def kill(self) -> None:
        """End gunicorn and its workers at once, in the middle of whatever they do."""
        for pid in [self.process.pid, *children(self.process.pid)]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()


def _environment(settings: Settings) -> dict[str, str]:
    values = {
        name.upper(): value.get_secret_value() if hasattr(value, "get_secret_value") else str(value)
        for name, value in settings.model_dump().items()
        if value is not None and not isinstance(value, tuple)
    }
    return {name: os.environ[name] for name in ("PATH", "TMPDIR")} | values


@dataclass(frozen=True)
class Worker:
    """A worker as an operator runs it."""

    process: subprocess.Popen
    log: Path

    def kill(self) -> None:
        """End it in the middle of whatever it does."""
        self.process.kill()
        self.process.wait()


@contextmanager
def _worker(
    settings: Settings,
    log: Path,
    *,
    concurrency: int = 2,
    arguments: tuple[str, ...] = (),
    times: dict[str, float] | None = None,
    prefix: tuple[str, ...] = (),
    cwd: Path = ROOT,
    **environment: str,
) -> Iterator[Worker]:
    program = ["-m", "recto.cli", "worker"]
    if times is not None:
        program = [str(ROOT / "tests/jobs/worker_with_times.py"), json.dumps(times)]
    with log.open("wb") as lines:
        process = subprocess.Popen(
            [*prefix, sys.executable, *program, "--concurrency", str(concurrency), *arguments],
            cwd=cwd,
            env=_environment(settings) | environment,
            stdout=lines,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Worker(process, log)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


@contextmanager
def gunicorn(
    settings: Settings,
    log: Path,
    *,
    app: str = "wsgi:app",
    command: tuple[str, ...] = (),
    cwd: Path = ROOT,
    **environment: str,
) -> Iterator[Service]:
    """Run gunicorn, by a command of the test's own if there is one; ``{port}`` in a value is the port that it gets."""
    port = _free_port()
    with log.open("wb") as lines:
        process = subprocess.Popen(
            [*(command or (sys.executable, "-m", "gunicorn", app)), "--bind", f"127.0.0.1:{port}"],
            cwd=cwd,
            env=_environment(settings)
            | {name: value.replace("{port}", str(port)) for name, value in environment.items()},
            stdout=lines,
            stderr=subprocess.STDOUT,
        )
    service = Service(f"http://127.0.0.1:{port}", process, log)
    try:
        _wait_until_ready(service)
        yield service
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _wait_until_ready(service: Service) -> None:
    deadline = monotonic() + 60
    while monotonic() < deadline:
        assert service.process.poll() is None, service.log.read_text()
        try:
            if requests.get(f"{service.url}/readyz", timeout=20).ok:
                return
        except (requests.ConnectionError, requests.Timeout):  # nobody listens, or nobody answers yet
            sleep(0.05)
    raise AssertionError(service.log.read_text())


@pytest.fixture
def start_service(settings: Settings, tmp_path: Path) -> Callable:
    """Start gunicorn over the test's own database: `with start_service(WEB_CONCURRENCY="2") as service`."""

    def start(**environment: str):
        return gunicorn(settings, tmp_path / f"{uuid4().hex}.log", **environment)

    return start


@pytest.fixture
def start_worker(settings: Settings, tmp_path: Path) -> Callable:
    """Start a worker over the test's own database: `with start_worker(concurrency=2, LOG_FORMAT="json") as worker`."""

    def start(**environment):
        return _worker(settings, tmp_path / f"{uuid4().hex}.log", **environment)

    return start


@pytest.fixture(scope="session")
def service_database(postgres: str) -> Iterator[str]:
    """The URL of the session-wide service's database."""
    with _fresh_database(postgres, "migrated") as url:
        yield url


@pytest.fixture(scope="session")
def service(
    service_database: str, sandbox: SandboxServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """One gunicorn of one process, and one worker, for all tests that only look at them from outside; pictures on."""
    settings = settings_of(service_database, sandbox, openrouter_timeout_ms=3000, rate_limit_per_ip="100000 per minute")
    folder = tmp_path_factory.mktemp("service")
    environment = {name.upper(): value for name, value in _with_pictures(sandbox, folder / "files").items()}
    web = environment | {"PUBLIC_BASE_URL": "http://127.0.0.1:{port}", "WEB_CONCURRENCY": "1"}
    with _worker(settings, folder / "worker.log", **environment), gunicorn(settings, folder / "log", **web) as running:
        yield running
