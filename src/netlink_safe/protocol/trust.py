"""Whom to believe.

On a socket for requests only the kernel speaks, from port 0, and to this socket alone.
The sender is what ``recvmsg`` says, never the port ID inside a header: a process that may send to
us can write what it likes there, but it cannot have port 0 (``net/netlink/af_netlink.c``:
netlink_sendmsg takes the sender's own port ID, and netlink_autobind never gives 0).

May call ``wire``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from netlink_safe.wire.datagram import Datagram


def reject_reply(datagram: Datagram) -> str | None:
    """Why a datagram on a request socket is not to be believed, or None if it is."""
    if datagram.sender != 0:
        return "foreign_sender"
    if datagram.group != 0:
        return "multicast"
    return None
