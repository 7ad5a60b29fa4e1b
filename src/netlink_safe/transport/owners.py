"""Which processes have the port IDs of generic netlink sockets, by /proc.

May call ``transport.namespace`` and ``wire``.
"""

from __future__ import annotations

import contextlib
import os
import re
from typing import TYPE_CHECKING, Final

from netlink_safe.wire.constants import NETLINK_GENERIC

if TYPE_CHECKING:
    from collections.abc import Collection

    from netlink_safe.transport.namespace import Namespace

SOCKET: Final = re.compile(r"socket:\[(\d+)\]")


def owners_of(namespace: Namespace, port_ids: Collection[int]) -> dict[int, int]:
    """The pid of each port ID that somebody has, 0 where it is not to be seen who.

    /proc/net/netlink lists the sockets of the namespace: protocol, port ID, and inode last
    (``net/netlink/af_netlink.c``: netlink_native_seq_show).
    """
    (text,) = namespace.read(["netlink"])
    inodes = {}
    for line in text.splitlines()[1:]:
        words = line.split()
        if len(words) > 3 and words[1] == str(NETLINK_GENERIC) and int(words[2]) in port_ids:
            inodes[words[-1]] = int(words[2])
    owners = dict.fromkeys(inodes.values(), 0)
    for pid, inode in _sockets() if inodes else ():
        if inode in inodes:
            owners[inodes[inode]] = pid
    return owners


def _sockets() -> list[tuple[int, str]]:
    """The sockets that processes have open, of those that may be looked at."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            for number in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    if match := SOCKET.fullmatch(os.readlink(f"/proc/{pid}/fd/{number}")):
                        found.append((int(pid), match[1]))
    return found
