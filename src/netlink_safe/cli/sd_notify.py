"""What systemd is told by a service of ``Type=notify``, by datagrams; see sd_notify(3).

Calls nothing of ours.
"""

from __future__ import annotations

import contextlib
import os
import socket
from typing import Final

ADDRESS: Final = "NOTIFY_SOCKET"
READY: Final = "READY=1"
STOPPING: Final = "STOPPING=1"
ALIVE: Final = "WATCHDOG=1"
#: It is told so many times in the time that it gives.
MARGIN: Final = 3


def notify(state: str) -> None:
    """Tell it, if it wants to be told; whether it listens is its own affair."""
    address = os.environ.get(ADDRESS, "")
    if address.startswith("@"):  # a name that is no file
        address = "\0" + address[1:]
    if address:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.sendto(state.encode(), address)


def watchdog_seconds() -> float | None:
    """How often it wants to hear ``ALIVE`` of this process at the least; None if it does not."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(microseconds) / 1_000_000 if microseconds.isdecimal() and int(microseconds) else None
