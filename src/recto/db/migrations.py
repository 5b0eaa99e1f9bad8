"""Numbered plain SQL files, applied forward, in order, each once."""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import psycopg
from psycopg import Connection

from recto.db import adoption
from recto.root import ROOT
from recto.settings import Schema

SQL_FOLDER = ROOT / "sql"

# Any number of its own; it keeps simultaneous starters apart, and falls with the transaction even after a kill -9.
_LOCK = 0x5EC70

# What files said before they got their last form, by checksum, and their numbers. What they made is the same by now.
_FORMER = {
    "f93dfc9ffae8684bbe8c657ed42a5e1894602c67f9bcaf0f3298e39efdb012a5": "0001",
    "e7ffa00d997ccb568d30ec3319bc45312a12ce33506fd096aab5f6d24f1d51fb": "0005",
    "1479962dddc475cf6e94755cce49475bd20af350fb2ee36ce905f0b503f93136": "0007",
    "e02efd8373ae3242403ebd23bf21ae20726abdc74a6a865206a65243ae636a65": "0008",
    "4c6276d877ea9764bca2375a4c71d5db897050b04cca84bbfa0c3eeb5997ff76": "0009",
    "24e972284dcf9b0f9f52f8054a8bfd1c30a320c3ec3fe555a16ebbd478c5cb8b": "0011",
    "f9478c16b34a7135b8a2466292d668771192b53b6f7a5458624acffea1f83aaf": "0012",
    "3079ea36daf72c263c791aa6af079581f38e4c7b79a575677b0aa4ff7c267b58": "0013",
}

_REMEDY = "Nothing was changed. DATABASE_SCHEMA=recto gives Recto's tables a schema of their own."


class MigrationError(Exception):
    """There are no files, or the database cannot be migrated by them as it is; the text says why."""


@dataclass(frozen=True, slots=True)
class Migrated:
    """What was done: ``files`` that were applied, and the ``changes`` to tables of the app's own, a line each."""

    files: list[str]
    changes: list[str]


def migrate(database_url: str, folder: Path = SQL_FOLDER, *, schema: Schema = "public") -> Migrated:
    """Apply what is not applied yet, with Recto's tables in ``schema``, and return what was done.

    All of it is one transaction: what fails leaves nothing behind and raises ``psycopg.Error``. Tables that an app has
    in ``public`` under the names of Recto's are shared with it if they fit. Raises ``MigrationError`` if they don't, if
    a file was edited or removed after it had been applied, if there are no files, and if Recto's tables stand in
    another schema already.
    """
    files = sorted(folder.glob("[0-9]*.sql"))
    if not files:
        raise MigrationError(f"there are no migrations in {folder}; install Recto anew")
    with psycopg.connect(database_url) as conn:
        conn.execute("select pg_advisory_xact_lock(%s)", (_LOCK,))
        _create_ledger(conn)
        applied = _applied(conn)
        _check(conn, files, applied, schema)
        new = [file for file in files if file.name not in applied]
        try:
            aside = adoption.set_aside(conn) if schema == "public" and not applied else []
            for file in new:
                _apply(conn, file, schema)
            changes = adoption.share(conn, aside)
        except adoption.Unfit as error:
            raise MigrationError(f"{error} {_REMEDY}") from error
        except psycopg.errors.DuplicateTable as error:
            if applied or schema == "recto":
                raise
            raise MigrationError(f"In the schema public the {error.diag.message_primary}. {_REMEDY}") from error
        return Migrated([file.name for file in new], changes)


def pending(conn: Connection, folder: Path = SQL_FOLDER) -> list[str]:
    """Name the files that the database has not seen. Raises ``psycopg.Error`` if it has no ledger."""
    applied = _applied(conn)
    return [file.name for file in sorted(folder.glob("[0-9]*.sql")) if file.name not in applied]


def _create_ledger(conn: Connection) -> None:
    conn.execute("create schema if not exists recto")
    conn.execute(
        "create table if not exists recto.migrations ("
        "name text primary key, checksum text not null, applied_at timestamptz not null default now())"
    )


def _check(conn: Connection, files: list[Path], applied: dict[str, str], schema: Schema) -> None:
    present = {file.name: _checksum(file) for file in files}
    for name, checksum in applied.items():
        if name not in present:
            raise MigrationError(f"{name} was applied to this database but is missing here; is this an older Recto?")
        if present[name] != checksum and not name.startswith(_FORMER.get(checksum, "no number")):
            raise MigrationError(f"{name} was edited after it had been applied; add a new file instead")
    (own,) = conn.execute("select to_regclass('recto.generations') is not null").fetchone() or (False,)
    found = "recto" if own else "public"
    if applied and found != schema:
        raise MigrationError(f"Recto's tables stand in the schema {found} here; set DATABASE_SCHEMA={found}")


def _apply(conn: Connection, file: Path, schema: Schema) -> None:
    statements = file.read_text("utf-8")
    if schema != "public":
        statements = statements.replace("public.", f"{schema}.")
    conn.execute("reset search_path")  # which the file before may have set
    # As bytes and without parameters: several statements in one go, and % is just a character.
    conn.execute(statements.encode())
    conn.execute("insert into recto.migrations (name, checksum) values (%s, %s)", (file.name, _checksum(file)))


def _applied(conn: Connection) -> dict[str, str]:
    return dict(conn.execute("select name, checksum from recto.migrations").fetchall())


def _checksum(file: Path) -> str:
    return sha256(file.read_bytes()).hexdigest()
