"""Which processes have the port IDs of generic netlink sockets, by /proc.

May call ``transport.namespace``, ``transport.processes`` and ``wire``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from netlink_safe.transport.processes import holders
from netlink_safe.wire.constants import NETLINK_GENERIC

if TYPE_CHECKING:
    from collections.abc import Collection

    from netlink_safe.transport.namespace import Namespace


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
            inodes[int(words[-1])] = int(words[2])
    owners = dict.fromkeys(inodes.values(), 0)
    for inode, pids in holders(inodes).pids.items():
        owners[inodes[inode]] = pids[-1]
    return owners
