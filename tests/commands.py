"""Recto's commands, each in a process of its own, made by a fork server: their imports are done once."""

import os
import sys
from multiprocessing import forkserver, get_context
from pathlib import Path
from subprocess import CompletedProcess
from tempfile import TemporaryDirectory
from unittest.mock import patch

from recto import cli

RECTO = str(Path(sys.executable).with_name("recto"))

_PROCESSES = get_context("forkserver")
_PROCESSES.set_forkserver_preload(["recto.cli"])


def run(*arguments, text=None, environment=None):
    """Run `recto` with the arguments and ``text`` as its input, and return what it wrote and its status."""
    with TemporaryDirectory() as name:
        files = [Path(name, stream) for stream in ("stdin", "stdout", "stderr")]
        files[0].write_bytes(text.encode() if isinstance(text, str) else text or b"")
        environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"} | (environment or {})
        with patch.dict(os.environ):
            os.environ.pop("TMPDIR", None)  # by whose folder tests/cleanup.py would take the server for a leftover
            forkserver.ensure_running()
        process = _PROCESSES.Process(target=_recto, args=(arguments, environment, files))
        process.start()
        process.join()
        return CompletedProcess(arguments, process.exitcode, files[1].read_bytes(), files[2].read_bytes())


def _recto(arguments, environment, files):
    for number, file in enumerate(files):
        os.dup2(os.open(file, os.O_RDWR | os.O_CREAT), number)
    sys.stdin = open(0)  # noqa: SIM115  multiprocessing has put the null device there
    sys.argv = [RECTO, *arguments]
    os.environ.clear()
    os.environ.update(environment)
    cli.main()
