"""A run of the tests leaves nothing behind, however it ends."""

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from .conftest import until

ROOT = Path(__file__).resolve().parents[1]
ENDLESS = """
from pathlib import Path
from threading import Event

def test_it(service, short_folder):
    Path("{report}").write_text(str(short_folder))
    Event().wait()
"""


def processes_that_name(folder):
    return [
        process.info["cmdline"]
        for process in psutil.process_iter(["cmdline", "environ"])
        if folder in " ".join([*(process.info["cmdline"] or ()), *(process.info["environ"] or {}).values()])
    ]


@pytest.mark.soak
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("processes", ["0", "1"])
def test_a_run_that_is_ended_in_the_background_leaves_nothing(tmp_path, number, processes):
    report = tmp_path / "report"
    test = tmp_path / "test_endless.py"
    test.write_text(ENDLESS.format(report=report))
    # As `make test &` does in a script: the shell has SIGINT ignored.
    pytest_ = f"trap '' INT; exec {sys.executable} -m pytest -n {processes} -c pyproject.toml -p tests.conftest {test}"
    run = subprocess.Popen(["sh", "-c", pytest_], cwd=ROOT, stdout=subprocess.DEVNULL)
    folder = until(lambda: report.exists() and report.read_text())
    assert len(processes_that_name(folder)) >= 4  # PostgreSQL, gunicorn, a worker, and what ends them all
    run.send_signal(number)
    run.wait(30)
    until(lambda: not processes_that_name(folder))
    assert not Path(folder).exists()
