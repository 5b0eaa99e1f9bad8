"""Cursors: where a page of a list ended, as one opaque word."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

PATTERN = r"^[0-9]{1,17}\.[0-9a-f]{32}(\.[0-9]{1,9})?$"
_EPOCH = datetime.fromtimestamp(0, UTC)


def encode(created_at: datetime, job_id: UUID, *position: int) -> str:
    """Return the cursor of the page that begins after a row."""
    microseconds = (created_at - _EPOCH) // timedelta(microseconds=1)
    return ".".join([str(microseconds), job_id.hex, *map(str, position)])


def decode(cursor: str) -> tuple[datetime, UUID, int]:
    """Read a cursor that matches ``PATTERN``; without a position that is 0. Raises ``InvalidRequest``."""
    microseconds, job_id, *position = cursor.split(".")
    return _EPOCH + timedelta(microseconds=int(microseconds)), UUID(job_id), int(*position)
