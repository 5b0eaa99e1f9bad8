"""The storage that STORAGE_URL names."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import time
from urllib.parse import parse_qsl, unquote, urlsplit

from botocore.exceptions import BotoCoreError, ClientError

from recto.storage.folder import Folder
from recto.storage.keys import Key
from recto.storage.s3 import S3

_OPTIONS = {"endpoint_url", "region", "public_url"}


class StorageError(ValueError):
    """STORAGE_URL names nothing that can be opened; the text says why."""


class StorageUnavailable(Exception):
    """The storage did not do what it was asked; it may later. The text is the type of what went wrong."""


class Storage:
    """Where files are, whichever kind it is. All methods but the addresses' raise ``StorageUnavailable``."""

    def __init__(self, kind: Folder | S3) -> None:
        self.kind = kind

    def put(self, key: Key, data: bytes) -> None:
        """Store a file, whole or not at all; one of the same key is replaced."""
        with _translated():
            self.kind.put(key, data)

    def read(self, key: Key) -> bytes | None:
        """Return a file; None if there is none."""
        with _translated():
            return self.kind.read(key)

    def exists(self, key: Key) -> bool:
        """Tell whether there is such a file."""
        with _translated():
            return self.kind.exists(key)

    def delete(self, key: Key) -> None:
        """Delete a file, if there is one."""
        with _translated():
            self.kind.delete(key)

    def url(self, key: Key) -> str:
        """Return the lasting address of a public file."""
        return self.kind.url(key)

    def signed_url(self, key: Key, *, seconds: int) -> str:
        """Return an address of a private file that is good for so many seconds."""
        return self.kind.signed_url(key, expires=round(time()) + seconds)


def open_storage(url: str, *, base_url: str, secret: bytes) -> Storage:
    """Open ``file:///folder`` or ``s3://bucket/prefix?endpoint_url=…&region=…&public_url=…``.

    ``base_url`` and ``secret`` are for a folder, which the service serves itself. Raises ``StorageError``.
    """
    parts = urlsplit(url)
    if parts.scheme == "file" and not parts.netloc and parts.path.startswith("/") and not parts.query:
        return Storage(Folder(Path(unquote(parts.path)), base_url=base_url, secret=secret))
    if parts.scheme == "s3" and parts.netloc:
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        if unknown := options.keys() - _OPTIONS:
            raise StorageError(f"unknown option {min(unknown)}; there are {', '.join(sorted(_OPTIONS))}")
        return Storage(S3(parts.netloc, parts.path, **options))
    raise StorageError("must be file:///a/folder or s3://bucket/prefix")


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (OSError, BotoCoreError, ClientError) as error:
        raise StorageUnavailable(type(error).__name__) from error
