"""Debian's packages that tests need, installed where that can be done without being asked anything."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

_INSTALL = ("install", "-y", "--no-install-recommends")


def install(what: str, *packages: str) -> bool:
    """Say ``what`` is being installed and try to; return False where it is not even tried."""
    if (apt := _updated_apt(f"Installing Debian's {what} …")) is None:
        return False
    runs(*apt, *_INSTALL, *packages)
    return True


def unpack(what: str, package: str, folder: Path) -> bool:
    """Unpack into ``folder`` what ``install`` would install, for packages that would start a service of the machine's.

    Say ``what`` it is; return False where it is not even tried.
    """
    if _updated_apt(f"Unpacking Debian's {what} …") is None:
        return False
    archives = folder / "archives"
    (archives / "partial").mkdir(parents=True)
    # Nothing of the machine's is written, so neither root nor a lock is needed.
    private = ["-o", f"Dir::Cache::archives={archives}", "-o", "Debug::NoLocking=true"]
    runs("apt-get", "-qq", *private, "--download-only", *_INSTALL, package)
    for archive in archives.glob("*.deb"):
        runs("dpkg-deb", "--extract", str(archive), str(folder))
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


def _updated_apt(purpose: str) -> list[str] | None:
    """Say what it is for and fetch the lists of packages; return how apt-get is run as root, None if it cannot be."""
    if not shutil.which("apt-get") or (root := _root()) is None:
        return None
    say(purpose)
    apt = [*root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300"]
    runs(*apt, "update")
    return apt


def _root() -> list[str] | None:
    """Return what stands before a command to run it as root without being asked anything, None if nothing does."""
    if os.geteuid() == 0:
        return []
    return ["sudo", "-n"] if runs("sudo", "-n", "true") else None
