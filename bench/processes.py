"""CPU time and memory of a process and all its descendants, from Linux's /proc."""

import os
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Memory:
    """In megabytes of 10^6 bytes. ``pss`` divides what processes share among them; ``rss`` counts it for each."""

    pss_mb: float
    rss_mb: float


def parent(pid: int) -> int:
    """The id of the process's parent."""
    return int(_stat(pid)[1])


def cpu_s(root: int) -> float:
    """User and system time spent so far in the tree under ``root``, children that have ended included."""
    return sum(sum(map(int, _stat(pid)[11:15])) for pid in _tree(root)) / _TICKS_PER_S


def memory(root: int) -> Memory:
    """What the tree under ``root`` holds at this moment."""
    kib: defaultdict[str, int] = defaultdict(int)
    for pid in _tree(root):
        with suppress(FileNotFoundError, ProcessLookupError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
                name, value, *_ = line.split()
                kib[name] += int(value)
    return Memory(pss_mb=kib["Pss:"] * 1024 / 1e6, rss_mb=kib["Rss:"] * 1024 / 1e6)


def _tree(root: int) -> list[int]:
    children = defaultdict(list)
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            with suppress(FileNotFoundError, ProcessLookupError):
                children[parent(int(entry))].append(int(entry))
    found = [root]
    for pid in found:
        found += children[pid]
    return found


def _stat(pid: int) -> list[str]:
    """The fields of proc_pid_stat(5) from the third on: the second, a name, may hold anything."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
