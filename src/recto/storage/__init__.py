"""Files: pictures that callers send and models make, in a local folder or in S3.

A file has a key, such as ``public/renders/<uuid>/0.jpg``. Keys under ``private/`` are read through addresses that are
signed and expire; those under ``public/`` through addresses that anybody may have and that stay the same.
"""

from recto.storage.keys import InvalidKey
from recto.storage.open import Storage, StorageError, StorageUnavailable, open_storage

__all__ = ["InvalidKey", "Storage", "StorageError", "StorageUnavailable", "open_storage"]
