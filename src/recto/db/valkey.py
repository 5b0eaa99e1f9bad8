"""The other storage of Flask-Limiter's: a Valkey or Redis (≥ 7), which all web processes on all machines share."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import time
from typing import Any

from limits.storage import RedisStorage

from recto.db.rate_limits import Counts, Windows
from recto.errors import Unavailable
from recto.telemetry import log

# Of a process. A hit borrows one for a round trip.
_CONNECTIONS = 16
# For each of: a free connection, its connect, its answer. It is asked once: a repeated hit might count twice.
_TIMEOUT_S = 1.0


class ValkeyStorage(RedisStorage):
    """Fixed windows that begin with a key's first hit, by the server's clock; ends are told by the process's own.

    What it is asked raises ``Unavailable`` while the server is away, two or three seconds later at most.
    """

    STORAGE_SCHEME = ["redis", "rediss", "redis+unix", "valkey", "valkeys", "valkey+unix"]

    def __init__(self, uri: str, wrap_exceptions: bool = False, **options: Any) -> None:
        # Imported here: it is an extra.
        from redis import BlockingConnectionPool
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        # One client speaks to both servers.
        uri = re.sub(r"^valkey(s?)", r"redis\1", uri)
        pool = BlockingConnectionPool.from_url(
            uri.removeprefix("redis+"),
            max_connections=_CONNECTIONS,
            timeout=_TIMEOUT_S,
            socket_connect_timeout=_TIMEOUT_S,
            socket_timeout=_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )
        super().__init__(uri, connection_pool=pool, key_prefix="recto", wrap_exceptions=wrap_exceptions, **options)

    def hit(self, windows: Windows) -> Counts:
        """Count one hit in each window, given as key and length in seconds, in one round trip.

        Returns the hits of each window and when it ends, in seconds since the epoch.
        """
        with self._asked() as pipe:
            for key, expiry in windows:
                pipe.incr(self.prefixed_key(key))
                pipe.expire(self.prefixed_key(key), expiry, nx=True)
                pipe.pttl(self.prefixed_key(key))
            answers = pipe.execute()
        return [(hits, time() + left_ms / 1000) for hits, left_ms in zip(answers[::3], answers[2::3], strict=True)]

    def look(self, keys: Sequence[str]) -> Counts:
        """Return the hits of each key and when its window ends, without counting; zeros where none runs."""
        with self._asked() as pipe:
            for key in keys:
                pipe.get(self.prefixed_key(key))
                pipe.pttl(self.prefixed_key(key))
            answers = pipe.execute()
        return [
            (int(hits), time() + left_ms / 1000) if hits else (0, 0.0)
            for hits, left_ms in zip(answers[::2], answers[1::2], strict=True)
        ]

    def give_back(self, key: str, ends: float) -> None:
        """Take back one hit, unless the window that it was counted in, the one that ``ends`` then, is over."""
        if time() < ends:
            with self._asked() as pipe:
                pipe.decr(self.prefixed_key(key))
                pipe.execute()

    @contextmanager
    def _asked(self) -> Iterator[Any]:
        """Lend what sends all commands as one transaction: no key is left without an end by who dies in between."""
        try:
            with self.storage.pipeline() as pipe:
                yield pipe
        except self.base_exceptions as error:
            log.warning("limits_not_counted", reason=type(error).__name__)  # its text may hold the address
            raise Unavailable("Requests cannot be counted at the moment.") from error
