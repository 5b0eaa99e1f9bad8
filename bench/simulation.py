"""A discrete simulation of Recto over what ``bench.costs`` measured; ``capacity.py`` asks it.

Each web process has one core and two groups of statements (hits, records), of each of which one is under way at a time.
A model answers after a log-normal time. A job waits for a place in a worker and for the lock under which claims go one
by one. Everything by one seed, so that a run can be repeated.
"""

import heapq
import math
import random
from collections import deque
from collections.abc import Callable
from statistics import median
from typing import Any

# Assumed, not measured: a model that writes ten cards of 40 tokens at 50 tokens a second, with a long tail.
MEDIAN_S, P99_S = 8.0, 25.0
SIGMA = math.log(P99_S / MEDIAN_S) / 2.326
MEAN_S = MEDIAN_S * math.exp(SIGMA**2 / 2)
MOST_TOGETHER = 200  # statements, as recto.db.together has it

Then = Callable[[float], None]


class Costs:
    """Seconds: ``web`` a generation, ``web_batch`` a statement; PostgreSQL's ``batch`` a statement, ``row`` a row."""

    def __init__(self, measured: dict[str, Any], slower: float = 1.0) -> None:
        one, many, self.job = measured["clients_1"], measured["clients_64"], measured["job"]
        fewer = one["commits"] - many["commits"]  # statements a generation, which go together at 64 clients
        self.web_batch = (one["cpu_ms"] - many["cpu_ms"]) / fewer / 1e3 * slower
        self.web = one["cpu_ms"] / 1e3 * slower - one["commits"] * self.web_batch
        self.batch = (one["database_cpu_ms"] - many["database_cpu_ms"]) / fewer / 1e3 * slower
        self.row = one["database_cpu_ms"] / 2e3 * slower - self.batch
        self.sync, self.claim = measured["fsync_ms"] / 1e3, measured["claim_ms"]["1500"] / 1e3
        self.others = (many["client_cpu_ms"] + many["provider_cpu_ms"]) / 1e3 * slower


class Cores:
    """Servers that take who comes first. ``busy``: the seconds that they have worked."""

    def __init__(self, number: int) -> None:
        self.free, self.busy = [0.0] * number, 0.0

    def serve(self, now: float, cost: float) -> float:
        """Return when it is done."""
        end = max(now, heapq.heappop(self.free)) + cost
        heapq.heappush(self.free, end)
        self.busy += cost
        return end


class World:
    """The service: so many web processes, cores of the database, places for jobs; or all on ``shared`` cores."""

    def __init__(self, costs: Costs, *, web: int, database: int, places: int, shared: int = 0) -> None:
        self.costs, self.events, self.number, self.statements = costs, [], 0, 0
        all_cores = Cores(shared) if shared else None
        self.database, self.claims = all_cores or Cores(database), Cores(1)
        self.web = [all_cores or Cores(1) for _ in range(web)]
        self.groups = [(Group(self, cores, 0.0), Group(self, cores, costs.sync)) for cores in self.web]
        self.places, self.pending, self.waits = places, deque(), []
        self.chance = random.Random(13)

    def at(self, time: float, then: Then) -> None:
        """Let something happen then."""
        self.number += 1
        heapq.heappush(self.events, (time, self.number, then))

    def run(self, until: float) -> None:
        """Let happen what happens until then."""
        while self.events and self.events[0][0] <= until:
            time, _, then = heapq.heappop(self.events)
            then(time)

    def model(self) -> float:
        """How long a model takes."""
        return self.chance.lognormvariate(math.log(MEDIAN_S), SIGMA)

    def generate(self, now: float, model: float, done: Then) -> None:
        """One request, from its arrival to its answer."""
        self.number += 1
        (hits, records), cores = self.groups[self.number % len(self.web)], self.web[self.number % len(self.web)]
        half = self.costs.web / 2

        def answered(time: float) -> None:
            self.at(cores.serve(time, half), lambda time: records.write(time, done))

        self.at(cores.serve(now, half), lambda time: hits.write(time, lambda time: self.at(time + model, answered)))

    def queue(self, now: float) -> None:
        """One job, which was asked for as a request without a model is."""
        self.pending.append(now)
        self.claim(now)

    def claim(self, now: float) -> None:
        """Begin a job if one waits and a place is free."""
        if self.pending and self.places:
            self.places -= 1
            begun = self.claims.serve(now, self.costs.claim)
            self.waits.append(begun - self.pending.popleft())
            self.at(begun + self.costs.job["cpu_ms"] / 1e3 + self.model(), self.finish)

    def finish(self, now: float) -> None:
        """End a job."""
        self.at(self.database.serve(now, self.costs.job["database_cpu_ms"] / 1e3) + self.costs.sync, self.leave)

    def leave(self, now: float) -> None:
        """Give its place to the next."""
        self.places += 1
        self.claim(now)


class Group:
    """Statements of one kind in one process: those that come while one is under way go together in the next."""

    def __init__(self, world: World, cores: Cores, sync: float) -> None:
        self.world, self.cores, self.sync, self.waiting, self.is_busy = world, cores, sync, [], False

    def write(self, now: float, done: Then) -> None:
        """Write a row."""
        self.waiting.append(done)
        if not self.is_busy:
            self.begin(now)

    def begin(self, now: float) -> None:
        """Write all that wait."""
        self.is_busy, world = True, self.world
        batch, self.waiting = self.waiting[:MOST_TOGETHER], self.waiting[MOST_TOGETHER:]
        sent = self.cores.serve(now, world.costs.web_batch)
        written = world.database.serve(sent, world.costs.batch + world.costs.row * len(batch)) + self.sync
        world.statements += 1
        world.at(written, lambda time: self.end(time, batch))

    def end(self, now: float, batch: list[Then]) -> None:
        """Let the callers go on, and the next ones begin."""
        self.is_busy = bool(self.waiting)
        if self.is_busy:
            self.begin(now)
        for done in batch:
            done(now)


def closed(costs: Costs, clients: int, seconds: float, cores: int) -> tuple[float, float]:
    """Return requests a second and the median in ms of clients that send again at once, all on the same cores."""
    world, latencies = World(costs, web=cores, database=0, places=0, shared=cores), []

    def send(began: float) -> None:
        def done(now: float) -> None:
            latencies.append(now - began)
            world.at(now, send)

        world.generate(world.database.serve(began, costs.others), 0.0, done)

    for _ in range(clients):
        world.at(0.0, send)
    world.run(seconds)
    return len(latencies) / seconds, median(latencies) * 1e3
