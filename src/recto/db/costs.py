"""The table ``recto.untold_costs``: calls of which the provider has not said what they took."""

from dataclasses import dataclass
from datetime import timedelta

from recto.calls import Spent
from recto.db.pool import Pool, as_worker

# OpenRouter knows what a call took some seconds after its end. It is asked so often, each time after twice the pause:
# the last time about ten minutes later.
MAX_LOOKS = 8
_FIRST_PAUSE = timedelta(seconds=5)

_DUE = """
    update recto.untold_costs set looks = looks + 1, ask_at = now() + %s * 2 ^ looks
    where request_id in (
        select request_id from recto.untold_costs where ask_at <= now() order by ask_at limit %s for update skip locked)
    returning request_id, looks
"""


@dataclass(frozen=True, slots=True)
class Untold:
    """A call to ask about, by the provider's name for it; ``looks``: how often it has been, this time included."""

    request_id: str
    looks: int


def due(pool: Pool, *, limit: int = 20) -> list[Untold]:
    """Return the calls that it is time to ask about; no other worker asks about them now."""
    with as_worker(pool) as conn:
        return [Untold(*row) for row in conn.execute(_DUE, (_FIRST_PAUSE, limit)).fetchall()]


def tell(pool: Pool, request_id: str, spent: Spent) -> None:
    """Add what the call took to what is kept of it, once, however often this is called."""
    with as_worker(pool) as conn:
        conn.execute(
            "select recto.tell_cost(%s, %s, %s, %s)",
            (request_id, spent.tokens_input, spent.tokens_output, spent.cost_usd),
        )


def give_up(pool: Pool, request_id: str) -> None:
    """Ask no more about the call."""
    with as_worker(pool) as conn:
        conn.execute("delete from recto.untold_costs where request_id = %s", (request_id,))
