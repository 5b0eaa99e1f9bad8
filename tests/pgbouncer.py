"""A PgBouncer of the tests' own, from Debian's package where none is installed."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import sleep

import psycopg
from psycopg.conninfo import conninfo_to_dict
from tests.debian import runs, unpack

MISSING = "The tests behind a pooler need PgBouncer, and none could be had here: install pgbouncer."

# PgBouncer refuses to run as root. The same user has PostgreSQL's socket then (recto.db.embedded).
_WITHOUT_ROOT = {"user": "nobody", "extra_groups": []} if os.geteuid() == 0 else {}

# Consecutive transactions of a client meet different servers whenever they can: what relies on a session fails at once.
_SETTINGS = """
[databases]
* = host={host} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
default_pool_size = {servers}
server_round_robin = 1
"""


def get(folder: Path) -> list[str] | None:
    """Return the command that starts PgBouncer, unpacked into ``folder`` where none is installed; None if none runs."""
    unpacked = folder / "usr/sbin/pgbouncer"
    if path := shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin"):
        command = [path]
    else:
        unpack("PgBouncer for the tests behind a pooler", "pgbouncer", folder)
        libraries = ":".join(map(str, folder.glob("usr/lib/*-linux-gnu*")))
        command = ["env", f"LD_LIBRARY_PATH={libraries}", str(unpacked)]
    return command if runs(*command, "--version") else None


@contextmanager
def running(
    command: list[str], database_url: str, folder: Path, port: int, *, mode: str, servers: int
) -> Iterator[str]:
    """Run it before the database, on a port of 127.0.0.1, and yield the database's URL there.

    ``mode``: PgBouncer's ``pool_mode``. ``servers``: how many connections to PostgreSQL it makes at most.
    """
    database = conninfo_to_dict(database_url)
    settings, log = folder / f"pgbouncer-{port}.ini", folder / f"pgbouncer-{port}.log"
    settings.write_text(_SETTINGS.format(host=database["host"], port=port, mode=mode, servers=servers))
    with log.open("wb") as lines:
        process = subprocess.Popen([*command, settings], cwd="/", stdout=lines, stderr=lines, **_WITHOUT_ROOT)
    url = f"postgresql://127.0.0.1:{port}/{database['dbname']}?user=postgres"
    try:
        while not _answers(url):
            assert process.poll() is None, log.read_text()
            sleep(0.01)
        yield url
    finally:
        process.kill()
        process.wait()


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True
