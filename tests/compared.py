"""What tests of other libraries share: faults on their own sockets, and programs that use them."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import uevents
from netlink_safe.wire.constants import NLMSG_DONE
from netlink_safe.wire.header import build_message

if TYPE_CHECKING:
    from collections.abc import Iterator

TESTS: Final = Path(__file__).parent
#: Seconds in which whoever waits for ever is seen to do nothing.
SEEN_WAITING: Final = 1.0
#: What copied listeners ask for, and what the kernel makes of it.
COPIED: Final = 1024
SMALLEST: Final = 2304
#: More than the smallest buffer holds.
STORM: Final = 50
EVENT: Final = uevents.text("add", "/devices/virtual/net/ghost", INTERFACE="ghost", IFINDEX=99)


def environment() -> dict[str, str]:
    """In which a program finds what tests find."""
    paths = [str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths)}


def run(program: str) -> str:
    """What a program prints, which is to end in time."""
    command = [sys.executable, "-c", program]
    return subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=True, timeout=60, env=environment()
    ).stdout


def waits(program: str) -> bool:
    """Whether a program says that it begins, and nothing behind that for a while."""
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment()) as running:
        assert running.stdout is not None
        try:
            assert running.stdout.readline() == "begins\n"
            running.wait(SEEN_WAITING)
        except subprocess.TimeoutExpired:
            return True
        finally:
            running.kill()
    return False


@contextlib.contextmanager
def a_listener() -> Iterator[None]:
    """One TCP socket, so that a dump has a row."""
    with socket.create_server(("127.0.0.1", 0)):
        yield


def the_end(sequence: int, port_id: int) -> bytes:
    """NLMSG_DONE, as the kernel would say it."""
    return build_message(NLMSG_DONE, 2, sequence, port_id, bytes(4))


def storm() -> None:
    """More events than the smallest buffer holds, each of them broadcast by the kernel."""
    for _ in range(STORM):
        uevents.inject(EVENT)


def shrink(of: Any) -> None:
    """Have a socket, or what has one, the smallest receive buffer there is."""
    with socket.socket(fileno=os.dup(of.fileno())) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, COPIED)


def receive_buffer(sock: socket.socket) -> int:
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
