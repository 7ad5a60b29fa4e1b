"""Frames through a device as fast as they go, and what ``ip monitor`` tells of links meanwhile."""

from __future__ import annotations

import contextlib
import select
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final

from vm.guest.shell import run

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Frames through a device, as fast as they go, until it is gone.
FLOOD: Final = """
import errno, socket, sys
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
    sender.bind((sys.argv[1], 0))
    print("sending", flush=True)
    while True:
        try:
            sender.send(b"\\xff" * 6 + b"\\x02" * 6 + b"\\x88\\xb5" + bytes(500))
        except OSError as error:
            if error.errno not in (errno.ENETDOWN, errno.ENOBUFS):
                break
"""


@contextlib.contextmanager
def traffic(device: str) -> Iterator[None]:
    """Frames through a device until the body ends."""
    with subprocess.Popen([sys.executable, "-c", FLOOD, device], stdout=subprocess.PIPE) as sender:
        try:
            assert sender.stdout is not None
            assert sender.stdout.readline() == b"sending\n"
            yield
        finally:
            sender.kill()


@contextlib.contextmanager
def monitored() -> Iterator[list[str]]:
    """What ``ip monitor link`` says during the body; complete behind it."""
    told: list[str] = []
    run("ip link add mark0 type dummy")
    command = ["ip", "-o", "monitor", "link"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watcher:
        assert watcher.stdout is not None
        try:
            while not select.select([watcher.stdout], [], [], 0.1)[0]:
                run("ip link set mark0 mtu 1400 && ip link set mark0 mtu 1500")
            yield told
            run("ip link add mark1 type dummy")
            for line in watcher.stdout:
                if "mark1" in line:
                    break
                told.append(line)
        finally:
            watcher.kill()


def first(lines: list[str], fits: Any) -> int:
    """The place of the first line that fits."""
    return next(number for number, line in enumerate(lines) if fits(line))
