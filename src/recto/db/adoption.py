"""Tables of the app's own that Recto shares, because they have the names and the form of two of Recto's.

Before the first migration they are set aside, so that it can make Recto's; after the last one they get what Recto's
have more, and take their place. Rows, keys, grants and policies stay, and so does row-level security as it is, on or
off. All of it is part of the migrations' transaction.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple
from uuid import uuid4

import psycopg
from psycopg import Connection, sql
from psycopg.rows import class_row

from recto.db.pool import claims

TABLES = ("generations", "generation_error_logs")

# Types of the app's columns that hold what Recto's do.
_TEXTS = ("text", "varchar", "bpchar")
_INTEGERS = ("int4", "int8")
_ALIKE = {"text": _TEXTS, "int4": _INTEGERS, "int8": _INTEGERS}
# Characters that Recto may write into columns which an app may have bounded.
_MOST_CHARACTERS = {"model": 200, "source_text_hash": 64, "error_code": 64, "error_message": 1000}
_SHORTEST, _LONGEST = 1, 1_000_000  # source texts: topics and whole books

_COLUMNS = """
    select attname::text as name, typname::text as type, format_type(atttypid, atttypmod) as declared,
        case when typname in ('varchar', 'bpchar') and atttypmod > 0 then atttypmod - 4 end as most_characters,
        attnotnull as required, pg_get_expr(adbin, adrelid) as default,
        atthasdef or attidentity <> '' or attgenerated <> '' as is_filled
    from pg_attribute join pg_type on pg_type.oid = atttypid
    left join pg_attrdef on adrelid = attrelid and adnum = attnum
    where attrelid = %s::regclass and attnum > 0 and not attisdropped order by attnum
"""
# Checks of the lengths alone.
_LENGTH_CHECKS = """
    select conname::text, pg_get_expr(conbin, conrelid) from pg_constraint
    join pg_attribute on attrelid = conrelid and attname = 'source_text_length'
    where conrelid = %s::regclass and contype = 'c' and conkey = array[attnum]
"""
_CHECKS = """
    select pg_get_constraintdef(pg_constraint.oid) as definition, array_agg(attname::text) from pg_constraint
    join pg_attribute on attrelid = conrelid and attnum = any(conkey)
    where conrelid = %s::regclass and contype = 'c' group by pg_constraint.oid
"""
# What makes Recto's table what it is beside its columns. Without a search path it names all with their schemas.
_REST = """
    select pg_get_indexdef(indexrelid) from pg_index
        where indrelid = %(table)s::regclass and not indisprimary
    union all
    select pg_get_triggerdef(oid) from pg_trigger where tgrelid = %(table)s::regclass and not tgisinternal
    union all
    select format('grant %%s on %%s to %%s', string_agg(privilege_type, ', '), oid::regclass, grantee::regrole)
        from pg_class, aclexplode(relacl) where oid = %(table)s::regclass and grantee <> relowner group by oid, grantee
    union all
    select format('grant usage on sequence <sequence> to %%s', grantee::regrole)
        from pg_class, aclexplode(relacl)
        where oid = %(table)s::regclass and grantee <> relowner and privilege_type = 'INSERT'
    union all
    select format('create policy %%I on %%s for %%s to %%s using (%%s)', polname, polrelid::regclass,
            case polcmd when 'r' then 'select' else 'all' end, polroles[1]::regrole, pg_get_expr(polqual, polrelid))
        from pg_policy where polrelid = %(table)s::regclass
"""
# Rows are tried out for a user who does not exist.
_WITHOUT_USERS = """
    select format('alter table %%s drop constraint %%I', conrelid::regclass, conname) from pg_constraint
    join pg_attribute on attrelid = conrelid and attname = 'user_id'
    where conrelid = %s::regclass and contype = 'f' and conkey = array[attnum]
"""
_TRY_RECORD = """
    select recto.record_generation(%(claims)s, %(user_id)s, gen_random_uuid(), repeat('m', {characters}), {cards},
        repeat('a', 64), {length}, {ms}, '1', null, null, null, false, null, '{{}}', null, '{{}}', null, null)
"""
_TRY_RECORD_ERROR = """
    select recto.record_generation_error(%(claims)s, %(user_id)s, gen_random_uuid(), repeat('m', {characters}),
        repeat('a', 64), {length}, repeat('e', {code}), repeat('m', {message}), null, null, null, false, '{{}}', '1')
"""
_TRY_RECORD_ERROR_OF_A_PICTURE = """
    insert into public.generation_error_logs (user_id, job_id, attempt, model, error_code, error_message, is_image)
    values (%(user_id)s, gen_random_uuid(), 1, 'm', 'e', '', true)
"""
_TRIALS = {
    "generations": (
        _TRY_RECORD.format(characters=1, cards=1, length=_SHORTEST, ms=0),
        _TRY_RECORD.format(characters=200, cards=1000, length=_LONGEST, ms=3_600_000),
    ),
    "generation_error_logs": (
        _TRY_RECORD_ERROR.format(characters=1, length=_SHORTEST, code=1, message=0),
        _TRY_RECORD_ERROR.format(characters=200, length=_LONGEST, code=64, message=1000),
        _TRY_RECORD_ERROR_OF_A_PICTURE,
    ),
}
_SEQUENCE = "<sequence>"


class Unfit(Exception):
    """An app's table cannot be shared; the text is a sentence that says why."""

    def __init__(self, table: str, reason: str) -> None:
        super().__init__(f"public.{table} is there already, and {reason}.")


@dataclass(frozen=True, slots=True)
class _Column:
    """``is_filled``: by a default, or by the database. ``most_characters``: None without a bound."""

    name: str
    type: str
    declared: str
    most_characters: int | None
    required: bool
    default: str | None
    is_filled: bool


class _Change(NamedTuple):
    """What is done to an app's table, as in ``alter table``, and what the operator should know of it."""

    action: str
    told: str | None = None


def set_aside(conn: Connection) -> list[str]:
    """Make room for Recto's tables, and return the names of the app's that had their places. Raises ``Unfit``."""
    found = []
    for table in TABLES:
        kind = "select relkind::text from pg_class where oid = to_regclass(%s)"
        row = conn.execute(kind, (f"public.{table}",)).fetchone()
        if row is None:
            continue
        if row[0] != "r":
            raise Unfit(table, "is not a table")
        _run(conn, table, f"alter table public.{table} set schema recto")
        found.append(table)
    return found


def share(conn: Connection, tables: list[str]) -> list[str]:
    """Put the app's tables in the places of Recto's, and return what an operator should know, a line each.

    Rows as Recto writes them are tried out, and taken back. Raises ``Unfit``.
    """
    told = []
    conn.execute("set local search_path = ''")
    for table in tables:
        changes = _changes(conn, table)
        _swap(conn, table, changes)
        told += [f"shared public.{table} with the app"]
        told += [f"changed public.{table}: {change.told}" for change in changes if change.told]
    conn.execute("reset search_path")
    for table in tables:
        _try_out(conn, table)
    return told


def _swap(conn: Connection, table: str, changes: list[_Change]) -> None:
    rest = [row[0] for row in conn.execute(_REST, {"table": f"public.{table}"})]
    for change in changes:
        _run(conn, table, f"alter table recto.{table} {change.action}")
    _run(conn, table, f"drop table public.{table}")
    _run(conn, table, f"alter table recto.{table} set schema public")
    (sequence,) = conn.execute("select pg_get_serial_sequence(%s, 'id')", (f"public.{table}",)).fetchone() or (None,)
    for statement in rest:
        if sequence or _SEQUENCE not in statement:
            _run(conn, table, statement.replace(_SEQUENCE, sequence or ""))


def _changes(conn: Connection, table: str) -> list[_Change]:
    """What makes the app's table, which is set aside, hold Recto's rows."""
    theirs, ours = _columns(conn, f"recto.{table}"), _columns(conn, f"public.{table}")
    missing = [column for name, column in ours.items() if name not in theirs]
    changes = [_add(table, column) for column in missing]
    for definition, names in conn.execute(_CHECKS, (f"public.{table}",)).fetchall():
        if {column.name for column in missing}.issuperset(names):
            changes.append(_Change(f"add {definition}"))
    for name, column in theirs.items():
        changes += _fit(table, column, ours[name]) if name in ours else _leave_empty(table, column)
    return [*changes, *_widen(conn, table)]


def _columns(conn: Connection, table: str) -> dict[str, _Column]:
    with conn.cursor(row_factory=class_row(_Column)) as cursor:
        return {column.name: column for column in cursor.execute(_COLUMNS, (table,))}


def _add(table: str, column: _Column) -> _Change:
    required = ""
    if column.default is not None:
        required = f" not null default {column.default}" if column.required else f" default {column.default}"
    elif column.required and column.name != "prompt_version":  # which the app's own rows have not
        raise Unfit(table, f"has no column {column.name}")
    return _Change(f'add column "{column.name}" {column.declared}{required}')


def _fit(table: str, theirs: _Column, ours: _Column) -> Iterator[_Change]:
    """What lets a column that both have hold what both write."""
    name = theirs.name
    if theirs.type not in _ALIKE.get(ours.type, (ours.type,)):
        raise Unfit(table, f"its {name} is {theirs.declared}, not {ours.declared}")
    if ours.required and not theirs.is_filled and ours.is_filled:
        if ours.default is None:
            raise Unfit(table, f"nothing fills its {name}")
        yield _Change(f'alter column "{name}" set default {ours.default}')
    if ours.required and not theirs.required and name != "user_id":  # what is nobody's is shown to nobody
        if not ours.is_filled and not theirs.is_filled:
            raise Unfit(table, f"its {name} may be null")
        yield _Change(f'alter column "{name}" set not null', f"{name} may not be null any more")
    if theirs.required and not ours.required and not theirs.is_filled:
        yield _Change(f'alter column "{name}" drop not null', f"{name} may be null")
    if theirs.most_characters and theirs.most_characters < _MOST_CHARACTERS.get(name, 0):
        yield _Change(f'alter column "{name}" type text', f"{name} has no longest length any more")


def _leave_empty(table: str, column: _Column) -> Iterator[_Change]:
    """What lets Recto write a row without a column that it does not know."""
    if column.required and not column.is_filled:
        if column.name != "generation_id":  # Recto's errors have no generation
            raise Unfit(table, f"its column {column.name} must be filled")
        yield _Change(f'alter column "{column.name}" drop not null', f"{column.name} may be null")


def _widen(conn: Connection, table: str) -> Iterator[_Change]:
    """Give checks of the length of texts a bound that holds for topics and books too."""
    for name, condition in conn.execute(_LENGTH_CHECKS, (f"recto.{table}",)).fetchall():
        holds = sql.SQL("select bool_and({}) from (values (%s), (%s)) as rows (source_text_length)")
        asked = holds.format(sql.SQL(condition))
        if conn.execute(asked, (_SHORTEST, _LONGEST)).fetchone() != (True,):
            check = sql.Identifier(name).as_string(conn)
            yield _Change(
                f"drop constraint {check}, add constraint {check} check (source_text_length >= {_SHORTEST})",
                f"the check {name} is source_text_length >= {_SHORTEST}, since topics and books have other lengths",
            )


def _run(conn: Connection, table: str, statement: str) -> None:
    try:
        conn.execute(statement.encode())
    except psycopg.Error as error:
        raise _unfit(table, error) from error


def _unfit(table: str, error: psycopg.Error) -> Unfit:
    return Unfit(table, f"cannot be shared: {error.diag.message_primary}")


def _try_out(conn: Connection, table: str) -> None:
    """Write the smallest and the largest row of each kind, as Recto does, and read as users do; then undo it."""
    user_id = uuid4()
    read = sql.SQL("select from {} where user_id = %s").format(sql.Identifier("public", table))
    try:
        with conn.transaction(force_rollback=True):
            for (statement,) in conn.execute(_WITHOUT_USERS, (f"public.{table}",)).fetchall():
                conn.execute(statement)
            for trial in _TRIALS[table]:
                conn.execute(trial, {"claims": claims(user_id), "user_id": user_id})
            conn.execute("select set_config('role', 'authenticated', true)")
            conn.execute(read, (user_id,))
    except psycopg.Error as error:
        raise _unfit(table, error) from error
