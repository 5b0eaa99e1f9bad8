"""Files in a local folder, which the service itself serves: ``file:///var/lib/recto/files``."""

import hmac
import os
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from tempfile import NamedTemporaryFile
from time import time
from urllib.parse import urlencode

from recto.storage.failures import translated
from recto.storage.keys import Key


class Folder:
    """A folder, shared by all processes. ``base_url``: where the service is reached from outside.

    ``secret``: signs the addresses of private files; all processes have the same one.
    """

    def __init__(self, folder: Path, *, base_url: str, secret: bytes) -> None:
        self._folder = folder
        self._base_url = base_url
        self._secret = secret

    @translated()
    def put(self, key: Key, data: bytes) -> None:
        """Store a file, whole or not at all; one of the same key is replaced."""
        path = self._folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        # A process that is killed here leaves its half: it has the key's name, so that it goes with the file.
        with NamedTemporaryFile(dir=path.parent, prefix=f"{path.name}.", delete=False) as file:
            try:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
                os.replace(file.name, path)
            except BaseException:
                os.unlink(file.name)
                raise

    @translated()
    def read(self, key: Key) -> bytes | None:
        """Return a file; None if there is none."""
        try:
            return (self._folder / key).read_bytes()
        except FileNotFoundError:
            return None

    @translated()
    def exists(self, key: Key) -> bool:
        """Tell whether there is such a file."""
        return (self._folder / key).is_file()

    @translated()
    def delete(self, key: Key) -> None:
        """Delete a file, if there is one, and its folder with the last one."""
        path = self._folder / key
        for half in path.parent.glob(f"{path.name}.*"):
            half.unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        with suppress(OSError):  # it is not empty, or gone
            path.parent.rmdir()

    def url(self, key: Key) -> str:
        """Return the lasting address of a public file."""
        return f"{self._base_url}/files/{key}"

    def signed_url(self, key: Key, *, seconds: int) -> str:
        """Return an address of a private file that is good for so many seconds."""
        expires = int(time()) + seconds
        query = urlencode({"expires": expires, "signature": self._signature(key, expires)})
        return f"{self._base_url}/files/{key}?{query}"

    def is_signed(self, key: Key, *, expires: str, signature: str, now_s: float) -> bool:
        """Whether the query of an address allows to read a private file now. In constant time."""
        if not (expires.isascii() and expires.isdecimal() and len(expires) < 16) or int(expires) < now_s:
            return False
        return hmac.compare_digest(self._signature(key, int(expires)).encode(), signature.encode())

    def _signature(self, key: Key, expires: int) -> str:
        return hmac.new(self._secret, f"{expires} {key}".encode(), sha256).hexdigest()
