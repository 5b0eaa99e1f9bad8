"""The whole service on one machine, with nothing installed and no account: what `make run` runs."""

import ctypes
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from shlex import quote
from shutil import which
from tempfile import NamedTemporaryFile
from time import monotonic, sleep
from types import FrameType
from urllib.error import URLError
from urllib.request import urlopen
from uuid import UUID

from recto import tokens
from recto.db import embedded, migrations
from recto.root import GUNICORN, ROOT
from recto.sandbox.predictions import SIGNING_SECRET
from recto.sandbox.server import start as start_sandbox
from recto.settings import SANDBOX_KEY, DevelopmentSettings
from recto.times import Times

USER_ID = UUID("00000000-0000-4000-8000-000000000001")
_START_TIMEOUT_S = 60
_LOOK_EVERY_S = 0.5
_PR_SET_PDEATHSIG = 1  # linux/prctl.h

# A developer provokes failures in quick succession; the service's own limits would stop that after five.
_LIMITS = {"RATE_LIMIT_PER_USER": "60 per 5 minutes", "RATE_LIMIT_PER_IP": "600 per 5 minutes"}


class DevelopmentError(Exception):
    """The service could not be started; the text says why."""


class _Stopped(BaseException):
    """SIGINT or SIGTERM arrived."""


def run(settings: DevelopmentSettings, *, port: int) -> None:
    """Serve on ``port`` of the loopback address until SIGINT or SIGTERM, then stop all that was started.

    Raises ``DevelopmentError`` or ``EmbeddedPostgresError``.
    """
    require_free(port, "dev")
    with until_stopped(), ExitStack() as started:
        try:
            database_url = started.enter_context(embedded.running(settings.recto_data_dir))
            migrations.migrate(database_url)
            environment = {"LOG_FORMAT": "console"} | _LIMITS | os.environ | {"DATABASE_URL": database_url}
            if not (settings.supabase_jwt_secret or settings.supabase_url):
                environment["SUPABASE_JWT_SECRET"] = secret(settings)
            if settings.supabase_jwt_secret or not settings.supabase_url:
                environment.setdefault("DEVELOPMENT_USER", str(USER_ID))
            url = f"http://127.0.0.1:{port}"
            environment.setdefault("PUBLIC_BASE_URL", url)
            environment.setdefault("STORAGE_URL", f"file://{settings.recto_data_dir}/files")
            if settings.openrouter_api_key is None or settings.replicate_api_token is None:
                provider = started.enter_context(start_sandbox())
                if settings.openrouter_api_key is None:
                    environment |= {"OPENROUTER_API_KEY": SANDBOX_KEY, "OPENROUTER_BASE_URL": provider.base_url}
                    environment.setdefault("OPENROUTER_MODEL", "sandbox/extractive")
                if settings.replicate_api_token is None:
                    environment |= {
                        "REPLICATE_API_TOKEN": "sandbox",
                        "REPLICATE_BASE_URL": provider.replicate_url,
                        "REPLICATE_OUTPUT_HOSTS": provider.replicate_url,
                        "REPLICATE_WEBHOOK_SECRET": SIGNING_SECRET,
                    }
            times = Times.of(settings.openrouter_timeout_ms)
            # A browser's idle connections hold up Ctrl-C for as long as they may stay idle.
            gunicorn = [*GUNICORN, "--bind", f"127.0.0.1:{port}", "--keep-alive", "1"]
            server = started.enter_context(_running(gunicorn, environment, times.web_stop_s))
            worker = started.enter_context(_running(["recto.cli", "worker"], environment, times.worker_stop_s))
            _wait_until_ready(server, url)
            _greet(url, settings)
            while server.poll() is None and worker.poll() is None:
                sleep(_LOOK_EVERY_S)
            stopped = "worker" if server.poll() is None else "web server"
            raise DevelopmentError(f"The {stopped} stopped; its lines above say why.")
        except _Stopped:
            print("\nStopping …", file=sys.stderr, flush=True)  # noqa: T201  this is the command's output
            raise


def secret(settings: DevelopmentSettings) -> str:
    """Return the secret that signs development tokens: SUPABASE_JWT_SECRET, or one made at random at first use."""
    if settings.supabase_jwt_secret is not None:
        return settings.supabase_jwt_secret.get_secret_value()
    path = settings.recto_data_dir / "development-secret"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        # It gets its name when it is complete: another first start may read it at any time.
        with NamedTemporaryFile(dir=path.parent, buffering=0) as file:  # which only its owner may read
            file.write(secrets.token_urlsafe(48).encode())
            with suppress(FileExistsError):
                os.link(file.name, path)
    return path.read_text()


def token(settings: DevelopmentSettings, user_id: UUID) -> str:
    """Sign a day's token for a user."""
    issuer = f"{settings.supabase_url}/auth/v1" if settings.supabase_url else None
    return tokens.issue(secret(settings), user_id, issuer=issuer)


def require_free(port: int, command: str) -> None:
    """Raise ``DevelopmentError`` if the command could not listen on the port of the loopback address."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except (OSError, OverflowError) as error:
        reason = os.strerror(error.errno or 0) if isinstance(error, OSError) else "it must be 0 to 65535"
        raise DevelopmentError(
            f"Port {port} cannot be used ({reason}). Name another: {_recto()} {command} --port …"
        ) from None


@contextmanager
def until_stopped() -> Iterator[None]:
    """Let SIGINT or SIGTERM end the block, in order: what it started is stopped, and further signals change nothing."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        # Once is enough: what runs from here on is the stopping.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise _Stopped

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except _Stopped:
        pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _running(module: list[str], environment: dict[str, str], stop_s: float) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(  # noqa: S603  our own interpreter
        [sys.executable, "-m", *module],
        cwd=ROOT,  # whatever modules lie where we are called
        env=environment,
        start_new_session=True,  # Ctrl-C is for us; we then let it finish what it does
        preexec_fn=_die_with_parent if sys.platform == "linux" else None,
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(stop_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _die_with_parent() -> None:
    """Ask the kernel for a SIGTERM when the supervisor is killed, so that no server stays behind on the port."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _wait_until_ready(server: subprocess.Popen[bytes], url: str) -> None:
    deadline = monotonic() + _START_TIMEOUT_S
    while server.poll() is None and monotonic() < deadline:
        try:
            with urlopen(f"{url}/readyz", timeout=5):  # noqa: S310  our own address
                return
        except (URLError, OSError):
            sleep(0.05)
    raise DevelopmentError("The web server did not start; its lines above say why.")


def _greet(url: str, settings: DevelopmentSettings) -> None:
    folder = os.environ.get("RECTO_DATA_DIR")
    recto = f"RECTO_DATA_DIR={quote(folder)} {_recto()}" if folder else _recto()
    provider = "OpenRouter" if settings.openrouter_api_key else "the sandbox (set OPENROUTER_API_KEY for real models)"
    print(  # noqa: T201  this is the command's output
        f"\nRecto is running with {provider}.\n\n"
        f"  Page   {url}/#token={token(settings, USER_ID)}\n"
        f"  Docs   {url}/docs\n"
        f"  Try    curl -s {url}/playground/example.json | curl -s {url}/generations -d @- \\\n"
        f"           -H 'Content-Type: application/json' -H \"Authorization: Bearer $({recto} token)\"\n\n"
        "Ctrl-C stops it and everything that it started.\n",
        flush=True,
    )


def _recto() -> str:
    """Return what to type for the command line, in the folder that it was called in."""
    called = sys.argv[0]
    if called.endswith(".py"):
        return f"{quote(sys.executable)} -m recto.cli"
    return "recto" if which("recto") == called else quote(called)
