"""Files in a bucket of S3, or of what speaks its protocol: Supabase Storage, MinIO, R2.

``s3://bucket/prefix?endpoint_url=https://…&region=…&public_url=https://…``; the keys come from where boto3 looks for
them, ``AWS_ACCESS_KEY_ID`` and ``AWS_SECRET_ACCESS_KEY`` first. ``public_url``: where the bucket's public files are
read, such as a CDN; without it their addresses are those of the endpoint.
"""

from typing import Any

import boto3
from botocore.client import Config
from botocore.exceptions import BotoCoreError, ClientError

from recto.storage import keys
from recto.storage.failures import translated
from recto.storage.keys import Key

# Until a transfer counts as broken; boto3 tries three times in all.
_CONNECT_TIMEOUT_S = 5
_READ_TIMEOUT_S = 20
_CACHE = "public, max-age=31536000, immutable"

_translated = translated(BotoCoreError, ClientError)


class S3:
    """A bucket. Safe to share between threads and greenlets: nothing of it holds up others while it transfers."""

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        *,
        endpoint_url: str | None = None,
        region: str | None = None,
        public_url: str | None = None,
    ) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._client: Any = boto3.client(
            "s3",
            endpoint_url=endpoint_url,
            region_name=region or "us-east-1",
            config=Config(
                connect_timeout=_CONNECT_TIMEOUT_S,
                read_timeout=_READ_TIMEOUT_S,
                retries={"mode": "standard", "total_max_attempts": 3},
                signature_version="s3v4",
                s3={"addressing_style": "path"} if endpoint_url else {},
                max_pool_connections=32,
            ),
        )
        self._public_url = (public_url or f"{self._client.meta.endpoint_url}/{bucket}").rstrip("/")

    @_translated
    def put(self, key: Key, data: bytes) -> None:
        """Store a file, whole or not at all; one of the same key is replaced."""
        cache = {"CacheControl": _CACHE} if keys.is_public(key) else {}
        self._client.put_object(
            Bucket=self._bucket, Key=self._prefix + key, Body=data, ContentType=keys.media_type(key), **cache
        )

    @_translated
    def read(self, key: Key) -> bytes | None:
        """Return a file; None if there is none."""
        try:
            data: bytes = self._client.get_object(Bucket=self._bucket, Key=self._prefix + key)["Body"].read()
        except ClientError as error:
            if _status(error) == 404:
                return None
            raise
        return data

    @_translated
    def exists(self, key: Key) -> bool:
        """Tell whether there is such a file."""
        try:
            self._client.head_object(Bucket=self._bucket, Key=self._prefix + key)
        except ClientError as error:
            if _status(error) == 404:
                return False
            raise
        return True

    @_translated
    def delete(self, key: Key) -> None:
        """Delete a file, if there is one."""
        self._client.delete_object(Bucket=self._bucket, Key=self._prefix + key)

    def url(self, key: Key) -> str:
        """Return the lasting address of a public file."""
        return f"{self._public_url}/{self._prefix}{key}"

    def signed_url(self, key: Key, *, seconds: int) -> str:
        """Return an address of a private file that is good for so many seconds."""
        signed: str = self._client.generate_presigned_url(
            "get_object",
            Params={"Bucket": self._bucket, "Key": self._prefix + key},
            ExpiresIn=seconds,
        )
        return signed


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
