"""Files: pictures that callers send and models make, in a local folder or in S3.

A file has a key, such as ``public/renders/<uuid>/0.jpg``. Keys under ``private/`` are read through addresses that are
signed and expire; those under ``public/`` through addresses that anybody may have and that stay the same. ``Folder``
and ``S3`` do the same things with them; what goes wrong in either is a ``StorageUnavailable``.
"""

from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import parse_qsl, unquote, urlsplit

from recto.storage.folder import Folder

if TYPE_CHECKING:
    from recto.storage.s3 import S3

Storage: TypeAlias = "Folder | S3"
_S3_OPTIONS = {"endpoint_url", "region", "public_url"}


class StorageError(ValueError):
    """STORAGE_URL names nothing that can be opened; the text says why."""


def open_storage(url: str, *, base_url: str, secret: bytes) -> Storage:
    """Open ``file:///folder`` or ``s3://bucket/prefix?endpoint_url=…&region=…&public_url=…``.

    ``base_url`` and ``secret`` are for a folder, which the service serves itself. Raises ``StorageError``.
    """
    parts = urlsplit(url)
    if parts.scheme == "file" and not parts.netloc and parts.path.startswith("/") and not parts.query:
        return Folder(Path(unquote(parts.path)), base_url=base_url, secret=secret)
    if parts.scheme == "s3" and parts.netloc:
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        if unknown := options.keys() - _S3_OPTIONS:
            raise StorageError(f"unknown option {min(unknown)}; there are {', '.join(sorted(_S3_OPTIONS))}")
        from recto.storage.s3 import S3  # boto3 takes 65 ms and 10 MB, which only a bucket is worth

        return S3(parts.netloc, parts.path, **options)
    raise StorageError("must be file:///a/folder or s3://bucket/prefix")
