"""What goes wrong with files, whichever storage they are in."""

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import BotoCoreError, ClientError


class StorageUnavailable(Exception):
    """The storage did not do what it was asked; it may later. The text is the type of what went wrong."""


@contextmanager
def translated() -> Iterator[None]:
    """Raise ``StorageUnavailable`` for what a file system or S3 raises, whose texts hold paths and addresses."""
    try:
        yield
    except (OSError, BotoCoreError, ClientError) as error:
        raise StorageUnavailable(type(error).__name__) from error
