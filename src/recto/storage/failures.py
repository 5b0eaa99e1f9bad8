"""What goes wrong with files, whichever storage they are in."""

from collections.abc import Iterator
from contextlib import contextmanager


class StorageUnavailable(Exception):
    """The storage did not do what it was asked; it may later. The text is the type of what went wrong."""


@contextmanager
def translated(*failures: type[Exception]) -> Iterator[None]:
    """Raise ``StorageUnavailable`` for these and what a file system raises; their texts hold paths and addresses."""
    kinds: tuple[type[Exception], ...] = (OSError, *failures)
    try:
        yield
    except kinds as error:
        raise StorageUnavailable(type(error).__name__) from error
