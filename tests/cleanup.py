"""Wait until standard input ends, then end every process that names a folder and remove the folder.

The tests start this beside themselves and hold the other end of its standard input: however they end, it runs.
"""

import shutil
import signal
import sys
from contextlib import suppress
from os import getpid
from pathlib import Path

import psutil

_PATIENCE_S = 30


def _processes_that_name(folder: Path) -> list[psutil.Process]:
    """Return those with the folder in their command line, or in an environment variable such as DATABASE_URL."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            words = [*process.cmdline(), *process.environ().values()]
            if process.pid != getpid() and any(str(folder) in word for word in words):
                found.append(process)
    return found


def main(folder: Path) -> None:
    # Ctrl-C and `kill` reach the whole group of processes; this one ends last.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.read()
    # SIGINT: after a SIGTERM, PostgreSQL waits until its clients leave.
    for process in _processes_that_name(folder):
        with suppress(psutil.Error):
            process.send_signal(signal.SIGINT)
    psutil.wait_procs(_processes_that_name(folder), _PATIENCE_S)
    for process in _processes_that_name(folder):
        with suppress(psutil.Error):
            process.kill()
    shutil.rmtree(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
