"""Numbered plain SQL files, applied forward, in order, each once."""

from hashlib import sha256
from pathlib import Path

import psycopg
from psycopg import Connection

from recto.root import ROOT

SQL_FOLDER = ROOT / "sql"

# Any number of its own; it keeps simultaneous starters apart, and falls with the transaction even after a kill -9.
_LOCK = 0x5EC70


class MigrationError(Exception):
    """There are no files, or they and the database's ledger do not tell the same story."""


def migrate(database_url: str, folder: Path = SQL_FOLDER) -> list[str]:
    """Apply what is not applied yet and return those files' names.

    A file is one transaction: a failing one leaves nothing behind and raises ``psycopg.Error``. A file that was
    edited or removed after it had been applied raises ``MigrationError`` before anything is changed, and so does a
    folder without files.
    """
    files = sorted(folder.glob("[0-9]*.sql"))
    if not files:
        raise MigrationError(f"there are no migrations in {folder}; install Recto anew")
    with psycopg.connect(database_url, autocommit=True) as conn:
        _create_ledger(conn)
        _check(conn, files)
        return [file.name for file in files if _apply(conn, file)]


def pending(conn: Connection, folder: Path = SQL_FOLDER) -> list[str]:
    """Name the files that the database has not seen. Raises ``psycopg.Error`` if it has no ledger."""
    applied = _applied(conn)
    return [file.name for file in sorted(folder.glob("[0-9]*.sql")) if file.name not in applied]


def _create_ledger(conn: Connection) -> None:
    with conn.transaction():
        conn.execute("select pg_advisory_xact_lock(%s)", (_LOCK,))
        conn.execute("create schema if not exists recto")
        conn.execute(
            "create table if not exists recto.migrations ("
            "name text primary key, checksum text not null, applied_at timestamptz not null default now())"
        )


def _check(conn: Connection, files: list[Path]) -> None:
    present = {file.name: _checksum(file) for file in files}
    for name, checksum in _applied(conn).items():
        if name not in present:
            raise MigrationError(f"{name} was applied to this database but is missing here; is this an older Recto?")
        if present[name] != checksum:
            raise MigrationError(f"{name} was edited after it had been applied; add a new file instead")


def _apply(conn: Connection, file: Path) -> bool:
    with conn.transaction():
        conn.execute("select pg_advisory_xact_lock(%s)", (_LOCK,))
        if file.name in _applied(conn):
            return False
        # As bytes and without parameters: several statements in one go, and % is just a character.
        conn.execute(file.read_bytes())
        conn.execute("insert into recto.migrations (name, checksum) values (%s, %s)", (file.name, _checksum(file)))
        return True


def _applied(conn: Connection) -> dict[str, str]:
    return dict(conn.execute("select name, checksum from recto.migrations").fetchall())


def _checksum(file: Path) -> str:
    return sha256(file.read_bytes()).hexdigest()
