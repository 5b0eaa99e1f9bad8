"""One statement for what several callers want written at the same time."""

from collections.abc import Callable, Sequence
from threading import Event, Lock
from typing import Generic, TypeVar

from recto.db.pool import AWAY

Item = TypeVar("Item")
Result = TypeVar("Result")

_MOST = 200  # items at once


class Together(Generic[Item, Result]):
    """Writes an item; all that come while one call of ``write`` is under way go together into the next.

    Nobody waits when nobody is before them. ``write`` returns a result for each item, in their order, and changes
    nothing if it raises. Of several items each is then written alone, so that a bad one harms no other; not if the
    database is away.
    """

    def __init__(self, write: Callable[[Sequence[Item]], Sequence[Result]]) -> None:
        self._write_all = write
        self._lock = Lock()
        self._waiting: list[_Caller[Item, Result]] = []
        self._is_writing = False

    def write(self, item: Item) -> Result:
        """Return the item's result, or raise what ``write`` raises for it."""
        caller: _Caller[Item, Result] = _Caller(item)
        with self._lock:
            self._waiting.append(caller)
            must_wait, self._is_writing = self._is_writing, True
        if must_wait:
            caller.turn.wait()
        if not caller.is_done:
            self._write_waiting(caller)
        return caller.result()

    def _write_waiting(self, first: "_Caller[Item, Result]") -> None:
        with self._lock:
            callers, self._waiting = self._waiting[:_MOST], self._waiting[_MOST:]
        try:
            self._write_for(callers)
        finally:
            with self._lock:
                # If this caller was broken off, as at the end of the process, another writes for those who wait.
                self._waiting[:0] = [caller for caller in callers if not caller.is_done and caller is not first]
                self._is_writing = bool(self._waiting)
                # The next one first: the database works while the others go on.
                awake = self._waiting[:1] + [caller for caller in callers if caller.is_done]
            for caller in awake:
                caller.turn.set()

    def _write_for(self, callers: "Sequence[_Caller[Item, Result]]") -> None:
        try:
            results = self._write_all([caller.item for caller in callers])
        except Exception as error:  # noqa: BLE001  its callers raise it
            if len(callers) > 1 and not isinstance(error, AWAY):
                for caller in callers:
                    self._write_for([caller])
            else:
                for caller in callers:
                    caller.fail(error)
        else:
            for caller, result in zip(callers, results, strict=True):
                caller.succeed(result)


class _Caller(Generic[Item, Result]):
    """Who waits for an item, and what came of it."""

    __slots__ = ("_error", "_result", "is_done", "item", "turn")

    def __init__(self, item: Item) -> None:
        self.item = item
        self.turn = Event()  # set when the item is done, or when this caller is to write for all who wait
        self.is_done = False
        self._error: Exception | None = None

    def succeed(self, result: Result) -> None:
        self._result, self.is_done = result, True

    def fail(self, error: Exception) -> None:
        self._error, self.is_done = error, True

    def result(self) -> Result:
        if self._error:
            raise self._error
        return self._result
