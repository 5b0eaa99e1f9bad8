"""``python -m bench``: start everything, send the loads, print the tables. See README.md beside this file."""

import argparse
import json
import os
import shutil
import subprocess
import sys
import urllib.request
from collections import Counter
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Timer

from bench import jobs, load, payload, peers, renders, report, streams
from bench.processes import cpu_s, memory
from bench.provider import CARDS
from bench.targets import (
    JWT_SECRET,
    ROOT,
    Postgres,
    Target,
    passthrough,
    postgres,
    provider,
    service,
    service_environment,
    service_es256,
)

RESULTS = Path(__file__).with_name("results.md")
# Parts with a table of their own.
ALONE = {"streams": streams.measure, "renders": renders.measure, "jobs": jobs.measure}
CLIENTS = (1, 16, 64)
IN_FLIGHT, DELAY_S = 1000, 2.0
PARTS = ("provider", "pass-through", "service", "stages", *ALONE)

Runs = dict[tuple[str, str], list[report.Measurement]]


def main() -> None:
    """Read the command line, measure, report."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Recto under load; Linux only.")
    parser.add_argument("--quick", action="store_true", help="short runs: to see that it works, not for figures")
    parser.add_argument("--only", choices=PARTS, help="one part alone")
    parser.add_argument("--peer", action="store_true", help="also other gateways, where they are installed")
    parser.add_argument("--write", action="store_true", help="also write the tables beside this file")
    args = parser.parse_args()
    parts = (args.only,) if args.only else PARTS
    if args.peer:
        parts = (*parts, *(command for command in peers.PEERS if shutil.which(command)))
        print(*peers.missing(), sep="\n")

    with TemporaryDirectory(prefix="recto-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)  # Postgres, which does not run as root, must be able to walk through it
        database = stack.enter_context(postgres(folder))
        sections = [report.machine(database.version)]
        if args.only not in ("stages", *ALONE):
            runs = _closed(parts, database, folder, args.quick) | _open(parts, database, folder, args.quick)
            sections += [report.headline(runs), report.loads(runs)]
        sections += [measure(database, folder, args.quick) for part, measure in ALONE.items() if part in parts]
        if "stages" in parts:
            sections.append(report.stages(_stages(database, folder)))
    text = "\n\n".join(sections)
    print(text)
    if args.write:
        (RESULTS.with_name(f"results_{args.only}.md") if args.only else RESULTS).write_text(text + "\n")


def _closed(parts: tuple[str, ...], database: Postgres, folder: Path, quick: bool) -> Runs:
    rounds, seconds = (1, 2) if quick else (3, 4)
    runs: Runs = {}
    with ExitStack() as stack:
        upstream, targets = _targets(stack, parts, 0, database, folder)
        # The targets take turns, so that what else happens on the machine meets all of them.
        for _, clients, target in product(range(rounds), CLIENTS, targets):
            arguments = ["closed", "--clients", str(clients), "--seconds", str(seconds)]
            measured = _measure(target, upstream, database, arguments, 0)
            runs.setdefault((f"{clients} client{'s' * (clients > 1)}", target.name), []).append(measured)
    return runs


def _open(parts: tuple[str, ...], database: Postgres, folder: Path, quick: bool) -> Runs:
    windows, seconds = (2, 3) if quick else (5, 6)
    runs: Runs = {}
    with ExitStack() as stack:
        upstream, targets = _targets(stack, parts, DELAY_S, database, folder)
        for _, target in product(range(windows), targets):
            arguments = ["open", "--in-flight", str(IN_FLIGHT), "--delay", str(DELAY_S), "--seconds", str(seconds)]
            measured = _measure(target, upstream, database, arguments, DELAY_S)
            runs.setdefault((f"{IN_FLIGHT} in flight, {DELAY_S:g} s", target.name), []).append(measured)
    return runs


def _targets(
    stack: ExitStack, parts: tuple[str, ...], delay_s: float, database: Postgres, folder: Path
) -> tuple[Target, list[Target]]:
    """Start a provider of that delay and the targets in front of it, each warm and known to answer rightly."""
    upstream = stack.enter_context(provider(delay_s))
    environment = service_environment(database.url, upstream.port)
    targets = []
    if "provider" in parts:
        targets.append(upstream)
    if "pass-through" in parts:
        targets.append(stack.enter_context(passthrough(environment, folder)))
    if "service" in parts:
        targets.append(stack.enter_context(service(environment, folder)))
        _check(targets[-1])
        targets.append(stack.enter_context(service_es256(environment, upstream, folder)))
    targets += [stack.enter_context(start(upstream, folder)) for peer, start in peers.PEERS.items() if peer in parts]
    for target in targets:
        _measure(target, upstream, database, ["closed", "--clients", "64", "--seconds", "1"], delay_s)
    return upstream, targets


def _check(target: Target) -> None:
    """A fast wrong answer is no answer."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{target.port}/generations",
        data=next(payload.bodies()),
        headers={"Content-Type": "application/json", "Authorization": f"Bearer {payload.tokens(JWT_SECRET)[0]}"},
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        answer = json.load(response)
    proposals = [(proposal["front"], proposal["back"]) for proposal in answer["flashcards_proposals"]]
    if proposals != CARDS:
        raise SystemExit(f"{target.name} answered {answer}")


def _measure(
    target: Target, upstream: Target, database: Postgres, arguments: list[str], delay_s: float
) -> report.Measurement:
    """Run the load generator and look at the others' CPU and memory at its ``begin`` and ``end``."""
    roots = [target.pid, database.pid, upstream.pid]
    command = [sys.executable, "-m", "bench.load", arguments[0], str(target.port), JWT_SECRET, *arguments[1:]]
    command += target.load
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        watchdog = Timer(120, process.kill)
        watchdog.start()
        _line(process, "begin")
        before = [cpu_s(root) for root in roots]
        _line(process, "end")
        spent = [cpu_s(root) - earlier for root, earlier in zip(roots, before, strict=True)]
        held = memory(target.pid)
        values = json.loads(process.stdout.read())
        watchdog.cancel()
    result = load.Result(**values | {"errors": Counter(values["errors"])})
    server_ms, postgres_ms, provider_ms = (seconds * 1000 / max(result.requests, 1) for seconds in spent)
    return report.Measurement(result, delay_s, server_ms, postgres_ms, provider_ms, held)


def _line(process: subprocess.Popen[str], expected: str) -> None:
    if process.stdout.readline().strip() != expected:
        raise SystemExit("the load generator ended early")


def _stages(database: Postgres, folder: Path) -> dict[str, dict[str, float]]:
    log = folder / "stages.log"
    with provider(0) as upstream, log.open("w") as log_lines:
        done = subprocess.run(
            [sys.executable, "-m", "bench.stages"],
            cwd=ROOT,
            env=os.environ | service_environment(database.url, upstream.port),
            stdout=subprocess.PIPE,
            stderr=log_lines,
            check=False,
        )
    if done.returncode:
        raise SystemExit("\n".join(log.read_text().splitlines()[-20:]))
    return json.loads(done.stdout)


if __name__ == "__main__":
    main()
