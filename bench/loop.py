"""What the load generator and the provider run on: asyncio with exact timers and cheap reads."""

import asyncio
import gc
import select
import selectors
from collections.abc import Coroutine
from typing import TypeVar

T = TypeVar("T")


_RECEIVE_BUFFER = bytearray(65_536)


class Protocol(asyncio.BufferedProtocol):
    """``asyncio.Protocol`` with one receive buffer for the whole process.

    asyncio allocates 256 KiB for each read otherwise, which was a third of the CPU time of these processes.
    """

    def get_buffer(self, sizehint: int) -> bytearray:
        """Lend the buffer for one read."""
        return _RECEIVE_BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        """Copy out what was read: the next read, of whichever connection, overwrites it."""
        self.data_received(bytes(memoryview(_RECEIVE_BUFFER)[:nbytes]))

    def data_received(self, data: bytes) -> None:
        """Take what has arrived: a part of a message, or all of it."""
        raise NotImplementedError


class _PreciseSelector(selectors.EpollSelector):
    """An epoll selector that waits to the microsecond.

    ``epoll_wait`` rounds its timeout up to whole milliseconds, which would count as latency added by the target.
    """

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout > 0:
            select.select([self._selector.fileno()], [], [], timeout)
        return super().select(0)


def run(main: Coroutine[None, None, T]) -> T:
    """Run ``main`` to its end. No garbage collection interrupts it: the processes are short-lived."""
    gc.disable()
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(_PreciseSelector())) as runner:
        return runner.run(main)
