"""``python -m bench.capacity``: what 10, 1,000 and 100,000 generations a minute take, and what ends first.

Sizes come from the costs in ``costs.json``, which ``bench.costs`` measured; a simulation over them (``simulation.py``)
then shows what waits where. Each tenth generation is a job.
"""

import json
import math
from statistics import quantiles
from typing import Any

from bench.costs import COSTS
from bench.report import table
from bench.simulation import MEAN_S, Costs, World, closed

LOADS = (10, 1_000, 100_000)  # generations a minute
JOBS = 0.1
WARM_UP_S, SECONDS, AT_LEAST = 40.0, 40.0, 2_000  # simulated; generations
# As an operator has it without a setting of theirs: two web processes and one worker.
WEB, IN_FLIGHT, POOL, PLACES, RUNNING, CONNECTIONS, DISK_GB = 2, 2_000, 5, 4, 10, 97, 100
SIZES, WORKER_EXTRA = (4, 16, 128), 4  # places of workers, of which eight are run at most if they are not the largest
BUSY = 0.6  # of a core or of places, so that what waits for one waits shortly
GREENLET_MB, WINDOW_S, MINUTES_A_MONTH = 0.1, 300, 60 * 24 * 30


def main() -> None:
    """Print the tables."""
    measured = json.loads(COSTS.read_text())
    columns = [_needs(load, measured) for load in LOADS]
    rows = [[name, *(column[name] for column in columns)] for name in columns[0]]
    print(table(["generations a minute", *(f"{load:,}" for load in LOADS)], rows), "\n")
    print(
        table(["what ends", "a minute", "then"], [[n, f"{at:,.0f}", c] for at, n, c in sorted(_ends(measured))]), "\n"
    )
    print(_validation(measured))


def _needs(load: int, measured: dict[str, Any]) -> dict[str, str]:
    """Return the sizes for a load, and what the simulation shows of them."""
    costs, many, job, rate = Costs(measured), measured["clients_64"], measured["job"], load / 60
    places = math.ceil(rate * JOBS * MEAN_S / BUSY) + 1
    in_worker = next((size for size in SIZES if places <= 8 * size), SIZES[-1])
    workers = math.ceil(places / in_worker)
    web = max(
        math.ceil(rate * measured["clients_1"]["cpu_ms"] / 1e3 / BUSY),
        math.ceil(rate * (1 - JOBS) * MEAN_S / IN_FLIGHT / BUSY),
    )
    database_s = rate * (2 * (costs.batch + costs.row) + JOBS * job["database_cpu_ms"] / 1e3)
    world = World(costs, web=web, database=math.ceil(database_s / BUSY), places=workers * in_worker)
    added, seconds = _simulate(world, rate)
    in_flight = rate * (1 - JOBS) * MEAN_S
    month = load * MINUTES_A_MONTH / 1e9
    return {
        "web processes, a core each; busy": f"{web}; {sum(c.busy for c in world.web) / web / seconds:.0%}",
        "requests in flight; memory of them all": f"{in_flight:,.0f}; "
        f"{(web * measured['idle_web_mb'] + in_flight * GREENLET_MB) / 1e3:.1f} GB",
        "jobs at a time; workers × concurrency; their memory": f"{rate * JOBS * MEAN_S:,.0f}; {workers} × {in_worker}; "
        f"{workers * job['memory_mb'] / 1e3:.1f} GB",
        "PostgreSQL: connections": f"{web * POOL + workers * (in_worker + WORKER_EXTRA):,}",
        "PostgreSQL: cores busy": f"{world.database.busy / seconds:.2f}",
        "PostgreSQL: commits/s": f"{world.statements / seconds + rate * JOBS * job['commits']:,.1f}",
        "PostgreSQL: WAL MB/s": f"{rate * (many['wal_bytes'] + JOBS * job['wal_bytes']) / 1e6:.3f}",
        "rows of limits, if each call is another user's": f"{rate * WINDOW_S:,.0f}",
        "claims' lock busy": f"{world.claims.busy / seconds:.1%}",
        "GB a month of records; held of jobs' cards": f"{month * sum(many['table_bytes'].values()):,.2f}; "
        f"{month * JOBS * sum(job['table_bytes'].values()):,.2f}",
        "added to the model, p50, p99": "{:.0f}, {:.0f} ms".format(*_percentiles(added, 1e3)),
        "a job waits, p50, p99": "{:.2f}, {:.2f} s".format(*_percentiles(world.waits, 1)),
    }


def _simulate(world: World, rate: float) -> tuple[list[float], float]:
    """Let generations arrive at random; return what Recto added to each model's time, and the seconds looked at."""
    seconds, added, chance = max(SECONDS, AT_LEAST / rate), [], world.chance

    def arrive(now: float) -> None:
        world.at(now + chance.expovariate(rate), arrive)
        if chance.random() < JOBS:
            world.generate(now, 0.0, world.queue)
        else:
            model = world.model()
            world.generate(now, model, lambda end: added.append(end - now - model))

    world.at(0.0, arrive)
    world.run(WARM_UP_S)
    added.clear()
    world.waits.clear()
    world.statements, world.database.busy, world.claims.busy = 0, 0.0, 0.0
    for cores in world.web:
        cores.busy = 0.0
    world.run(WARM_UP_S + seconds)
    return added, seconds


def _ends(measured: dict[str, Any]) -> list[tuple[float, str, str]]:
    """Return up to how many generations a minute each part lasts, and what to change then."""
    many, job = measured["clients_64"], measured["job"]
    cores_s = (many["database_cpu_ms"] + JOBS * job["database_cpu_ms"]) / 1e3
    a_web = min(1e3 * BUSY / many["cpu_ms"], IN_FLIGHT * BUSY / MEAN_S)
    connections = POOL / a_web + JOBS * MEAN_S / BUSY * (SIZES[-1] + WORKER_EXTRA) / SIZES[-1]
    month = sum(many["table_bytes"].values()) + JOBS * sum(job["table_bytes"].values())
    return [
        (PLACES * 60 / MEAN_S / JOBS, f"one worker of {PLACES} places", "more workers, a larger `--concurrency`"),
        (RUNNING * 60 / MEAN_S / JOBS, "`MAX_CONCURRENT_GENERATIONS=10`", "raise it to the workers' places"),
        (
            DISK_GB * 1e9 / month / MINUTES_A_MONTH,
            f"{DISK_GB} GB of disk, after a month",
            "a shorter `RETENTION_DAYS`; `recto prune`; a larger disk",
        ),
        (WEB * IN_FLIGHT * 60 / MEAN_S / (1 - JOBS), f"{WEB} × {IN_FLIGHT:,} requests in flight", "more web processes"),
        (WEB * 60e3 / many["cpu_ms"], f"{WEB} web processes' cores", "more web processes, on more machines"),
        (60 / cores_s, "one core of PostgreSQL", "a machine of its own for PostgreSQL, then a larger one"),
        (
            CONNECTIONS / connections * 60,
            f"{CONNECTIONS} connections",
            "`max_connections`, or PgBouncer in transaction mode",
        ),
        (
            60e3 / measured["claim_ms"]["1500"] / JOBS,
            "claims, one after another",
            "groups of users, each with a Recto and a database of its own",
        ),
    ]


def _validation(measured: dict[str, Any]) -> str:
    """Return what the simulation makes of the load of which its costs were measured, beside what else ran."""
    cores, real = measured["cpus"], measured["clients_64"]
    costs = Costs(measured, slower=cores / (cores - real["others_cores"]))
    rate, p50 = closed(costs, 64, 60, cores)
    return (
        f"64 clients, everything on {cores} cores but {real['others_cores']:.1f} that others took: simulated "
        f"{rate:.0f}/s, p50 {p50:.0f} ms; measured {real['requests_a_second']:.0f}/s, p50 {real['p50_ms']:.0f} ms."
    )


def _percentiles(values: list[float], scale: float) -> tuple[float, float]:
    cuts = quantiles(values, n=100)
    return cuts[49] * scale, cuts[98] * scale


if __name__ == "__main__":
    main()
