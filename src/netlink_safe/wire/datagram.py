"""What one ``recvmsg`` gave, before anything in it is believed.

Data only; imports nothing of ours.
"""

from __future__ import annotations

from typing import NamedTuple

import attrs


@attrs.frozen(slots=True)
class Datagram:
    """One datagram and what the kernel says of its sender.

    ``sender`` is the port ID of ``recvmsg``'s address: 0 is the kernel, whatever the headers inside
    claim.  ``group`` is the lowest multicast group it was sent to, 0 for a unicast.
    ``truncated`` says that the receive was shorter than the datagram (``MSG_TRUNC``).
    """

    data: bytes
    sender: int
    group: int
    truncated: bool


class Credentials(NamedTuple):
    """Of a sender: a process, or the kernel, which has pid 0 (include/linux/socket.h: ucred)."""

    pid: int
    uid: int
    gid: int


class Sender(NamedTuple):
    """What the kernel says of whoever sent a multicast.

    ``groups`` is a mask of the one group that it was sent to, 0 for a unicast; ``credentials`` are
    None where they were not asked for.
    """

    port_id: int
    groups: int
    credentials: Credentials | None
    truncated: bool


class Burst(NamedTuple):
    """Neighbours in a queue that have the same sender."""

    sender: Sender
    texts: list[bytes]
