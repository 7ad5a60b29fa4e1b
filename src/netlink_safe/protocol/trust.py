"""Whom to believe.

On a socket for requests only the kernel speaks, from port 0, and to this socket alone.
The sender is what ``recvmsg`` says, never the port ID inside a header: a process that may send to
us can write what it likes there, but it cannot have port 0 (``net/netlink/af_netlink.c``:
netlink_sendmsg takes the sender's own port ID, and netlink_autobind never gives 0).

On a socket for multicasts the kernel speaks too, and with it whoever has the right to: so there the
credentials count as well, which the kernel writes (SCM_CREDENTIALS).

May call ``wire``.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

import attrs

from netlink_safe.wire.constants import MSG_TRUNC, SCM_CREDENTIALS, SOL_SOCKET

if TYPE_CHECKING:
    from netlink_safe.wire.datagram import Datagram, Received

_CREDENTIALS: Final = struct.Struct("=iII")


def reject_reply(datagram: Datagram) -> str | None:
    """Why a datagram on a request socket is not to be believed, or None if it is."""
    if datagram.sender != 0:
        return "foreign_sender"
    if datagram.group != 0:
        return "multicast"
    return None


class Credentials(NamedTuple):
    """Of a sender: a process, or the kernel, which has pid 0 (include/linux/socket.h: ucred)."""

    pid: int
    uid: int
    gid: int


@attrs.frozen(slots=True)
class Roots:
    """Whose word about devices counts: root's, by the numbers that it has for us.

    ``uids`` are root here, and root of the user namespace that owns the network namespace.
    ``any_of_the_kernel`` says that the owner's root cannot be named from here, so that the kernel,
    which signs as that root, is known by its pid alone.
    """

    uids: frozenset[int]
    any_of_the_kernel: bool = False

    def include(self, sender: Credentials) -> bool:
        """Whether the sender is one of them."""
        return sender.uid in self.uids or (self.any_of_the_kernel and sender.pid == 0)


def judge_multicast(
    received: Received, mask: int, from_kernel: bool, roots: Roots
) -> Credentials | str:
    """The sender of a multicast, or why it is not to be believed.

    ``mask`` is of the one group that is listened to; ``from_kernel`` says that port 0 sends to it,
    and otherwise a process does.
    """
    _, ancillary, flags, (port_id, groups) = received
    if flags & MSG_TRUNC:
        return "truncated"
    if groups != mask:
        return "unicast"
    if (port_id == 0) is not from_kernel:
        return "foreign_sender"
    for level, kind, data in ancillary:
        if (level, kind, len(data)) == (SOL_SOCKET, SCM_CREDENTIALS, _CREDENTIALS.size):
            sender = Credentials(*_CREDENTIALS.unpack(data))
            return sender if roots.include(sender) else "not_root"
    return "no_credentials"
