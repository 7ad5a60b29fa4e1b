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

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from netlink_safe.wire.datagram import Credentials, Datagram, Sender


def reject_reply(datagram: Datagram) -> str | None:
    """Why a datagram on a request socket is not to be believed, or None if it is.

    The group says nothing: an echo (NLM_F_ECHO) carries that of the notification that it is a copy
    of (``net/netlink/af_netlink.c``: nlmsg_notify), and a socket that has joined none hears none.
    """
    return "foreign_sender" if datagram.sender != 0 else None


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


def reject_multicast(sender: Sender, groups: int, from_kernel: bool, roots: Roots) -> str | None:
    """Why the sender of a multicast is not to be believed, or None if it is.

    ``groups`` is a mask of the one group that is listened to; ``from_kernel`` says that port 0
    sends to it, and otherwise a process does.
    """
    if sender.truncated:
        return "truncated"
    if sender.groups != groups:
        return "unicast"
    if (sender.port_id == 0) is not from_kernel:
        return "foreign_sender"
    if sender.credentials is None:
        return "no_credentials"
    return None if roots.include(sender.credentials) else "not_root"
