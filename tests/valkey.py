"""A Valkey or Redis of the tests' own. Run as a script, get one where none is found: `make test` does."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import sleep

import redis
from tests.debian import install, runs

# Debian's redis-tools hold the whole server, which is told by its name what to be: unlike redis-server, the package
# starts no service.
_NAMES = ("valkey-server", "redis-server", "redis-check-rdb")
_NAME = "redis-server"
MISSING = "The tests of rate limits need Valkey or Redis, and none could be installed here: install valkey or redis."


def find() -> str | None:
    """Return the path of a server that starts as ``redis-server``, else None."""
    for name in _NAMES:
        if (path := shutil.which(name)) and runs(_NAME, "--version", executable=path):
            return path
    return None


def get() -> str | None:
    """Return what ``find`` does; where that is None, install Debian's package first."""
    if (path := find()) is None and install("Redis for the tests of rate limits", "redis-tools"):
        path = find()
    return path


class Server:
    """A server with a password on a port of 127.0.0.1 that keeps nothing. ``url``: its address with the password."""

    password = "a-password-that-must-never-be-seen"

    def __init__(self, path: str, folder: Path, port: int) -> None:
        self._path, self._folder, self.port = path, folder, port
        self.url = f"valkey://:{self.password}@127.0.0.1:{port}"
        self.client = redis.Redis(port=port, password=self.password)
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = {
            "bind": "127.0.0.1",
            "port": self.port,
            "requirepass": self.password,
            "save": "",
            "appendonly": "no",
            "dir": self._folder,
            "set-proc-title": "no",  # tests/cleanup.py knows it by the folder
        }
        command = [_NAME, *(text for name, value in options.items() for text in (f"--{name}", str(value)))]
        self._process = subprocess.Popen(command, executable=self._path, stdout=subprocess.DEVNULL)
        while not self._answers():
            assert self._process.poll() is None, "the server ended"
            sleep(0.01)

    def stop(self) -> None:
        """End it with all that it knows."""
        self._process.kill()
        self._process.wait()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Let it answer nobody; its connections stay open, and new ones are taken by the kernel."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """End it for good."""
        self.stop()
        self.client.close()

    def _answers(self) -> bool:
        try:
            return self.client.ping()
        except redis.ConnectionError:
            return False


if __name__ == "__main__":
    sys.exit(None if get() else MISSING)
