"""Machines of a test: each has its own network, name and home, and a wire to the others' sockets that can be cut.

Where the system lets nobody make networks, a machine is what is left of that: processes that share addresses alone.

    python machine.py wire NAME APART FAR_END …   carries what comes to ports of the machine to these addresses
    python machine.py hold NAME CHANNEL COUNT     is the machine: keeps its network, and listens on its ports
"""

import fcntl
import json
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_GET_FLAGS, _SET_FLAGS, _UP = 0x8913, 0x8914, 1  # of netdevice(7)
_NEW = ("unshare", "--net", "--uts")


@dataclass(frozen=True)
class Machine:
    """Port ``ports[n]`` on its 127.0.0.1 leads to the n-th far end. ``enter``: before a command to be run there."""

    home: Path
    ports: list[int]
    enter: tuple[str, ...]
    wire: subprocess.Popen

    @contextmanager
    def cut(self) -> Iterator[None]:
        """Let nothing through, in either direction, and tell nobody; what has waited goes through afterwards."""
        self.wire.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.wire.send_signal(signal.SIGCONT)


@contextmanager
def machine(name: str, folder: Path, far_ends: list[str]) -> Iterator[Machine]:
    """Make a machine. A far end is `host:port`, or the path of a Unix socket."""
    apart = shutil.which("nsenter") and not subprocess.run([*_NEW, "true"], capture_output=True).returncode
    home = folder / name
    home.mkdir()
    command = [sys.executable, __file__, "wire", name, "apart" if apart else "", *far_ends]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as wire:
        try:
            pid, ports = json.loads(wire.stdout.readline())
            enter = ("nsenter", f"--net=/proc/{pid}/ns/net", f"--uts=/proc/{pid}/ns/uts") if apart else ()
            yield Machine(home, ports, enter, wire)
        finally:
            wire.kill()


def _wire(name: str, apart: str, *far_ends: str) -> None:
    ours, theirs = socket.socketpair()
    hold = [sys.executable, __file__, "hold", name if apart else "", str(theirs.fileno()), str(len(far_ends))]
    holder = subprocess.Popen([*_NEW, *hold] if apart else hold, stdin=subprocess.PIPE, pass_fds=[theirs.fileno()])
    listeners = [socket.socket(fileno=number) for number in socket.recv_fds(ours, 1, len(far_ends))[1]]
    for listener, far_end in zip(listeners, far_ends, strict=True):
        threading.Thread(target=_accept, args=(listener, far_end), daemon=True).start()
    sys.stdout.write(f"{json.dumps([holder.pid, [listener.getsockname()[1] for listener in listeners]])}\n")
    sys.stdout.flush()
    holder.wait()


def _accept(listener: socket.socket, far_end: str) -> None:
    host, _, port = far_end.rpartition(":")
    while True:
        near, _ = listener.accept()
        far = socket.socket(socket.AF_INET if host else socket.AF_UNIX)
        far.connect((host, int(port)) if host else far_end)
        for source, target in ((near, far), (far, near)):
            threading.Thread(target=_carry, args=(source, target), daemon=True).start()


def _carry(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def _hold(name: str, channel: str, count: str) -> None:
    if name:
        socket.sethostname(name)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            answer = fcntl.ioctl(control, _GET_FLAGS, struct.pack("16sH14x", b"lo", 0))
            (flags,) = struct.unpack_from("H", answer, 16)
            fcntl.ioctl(control, _SET_FLAGS, struct.pack("16sH14x", b"lo", flags | _UP))
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(int(count))]
    socket.send_fds(socket.socket(fileno=int(channel)), [b"."], [listener.fileno() for listener in listeners])
    sys.stdin.read()  # until the wire ends


if __name__ == "__main__":
    {"wire": _wire, "hold": _hold}[sys.argv[1]](*sys.argv[2:])
