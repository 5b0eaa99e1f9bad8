"""Cursors: where a page of a list ended, as one opaque word."""

from datetime import UTC, datetime, timedelta
from typing import TypeVar
from uuid import UUID

from recto.db.images import ImageRow
from recto.db.jobs import ListedJob

Row = TypeVar("Row", ListedJob, ImageRow)

PATTERN = r"^[0-9]{1,17}\.[0-9a-f]{32}(\.[0-9]{1,9})?$"
_EPOCH = datetime.fromtimestamp(0, UTC)


def encode(created_at: datetime, job_id: UUID, *position: int) -> str:
    """Return the cursor of the page that begins after a row."""
    microseconds = (created_at - _EPOCH) // timedelta(microseconds=1)
    return ".".join([str(microseconds), job_id.hex, *map(str, position)])


def page(rows: list[Row], limit: int) -> tuple[list[Row], str | None]:
    """Return the first ``limit`` of the rows, of which one more was asked for, and the cursor if that was there."""
    shown = rows[:limit]
    return shown, encode(shown[-1].created_at, shown[-1].id) if len(rows) > len(shown) else None


def decode(cursor: str) -> tuple[datetime, UUID, int]:
    """Read a cursor that matches ``PATTERN``; without a position that is 0. Raises ``InvalidRequest``."""
    microseconds, job_id, *position = cursor.split(".")
    return _EPOCH + timedelta(microseconds=int(microseconds)), UUID(job_id), int(*position)
