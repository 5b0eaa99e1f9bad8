"""Debian's packages that tests need, installed where that can be done without being asked anything."""

import os
import shutil
import subprocess
import sys


def install(what: str, *packages: str) -> bool:
    """Say ``what`` is being installed and try to; return False where it is not even tried."""
    if not shutil.which("apt-get") or (root := _root()) is None:
        return False
    say(f"Installing Debian's {what} …")
    apt = [*root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300"]
    runs(*apt, "update")
    runs(*apt, "install", "-y", "--no-install-recommends", *packages)
    return True


def runs(*command: str, executable: str | None = None) -> bool:
    """Whether the command can be run and says that all went well."""
    try:
        done = subprocess.run(command, executable=executable, stdin=subprocess.DEVNULL, capture_output=True)
    except OSError:
        return False
    return done.returncode == 0


def say(text: str) -> None:
    """Tell whoever runs the tests."""
    sys.stderr.write(f"{text}\n")


def _root() -> list[str] | None:
    """Return what stands before a command to run it as root without being asked anything, None if nothing does."""
    if os.geteuid() == 0:
        return []
    return ["sudo", "-n"] if runs("sudo", "-n", "true") else None
