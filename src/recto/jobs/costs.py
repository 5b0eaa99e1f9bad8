"""Ask for the costs that the provider has not told: of calls that were broken off."""

from recto.db import costs
from recto.runtime import WorkerRuntime
from recto.telemetry import log


def ask_for_costs(runtime: WorkerRuntime) -> None:
    """Ask about the calls whose time has come; what stays unknown is given up after some looks, with a log line."""
    for untold in costs.due(runtime.pool):
        spent = runtime.openrouter.spent(untold.request_id)
        if spent:
            costs.tell(runtime.pool, untold.request_id, spent)
            log.info("cost_told", upstream_id=untold.request_id, cost_usd=float(spent.cost_usd))
        elif untold.looks >= costs.MAX_LOOKS:
            costs.give_up(runtime.pool, untold.request_id)
            log.warning("cost_not_told", upstream_id=untold.request_id)
