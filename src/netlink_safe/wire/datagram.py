"""What one ``recvmsg`` gave, before anything in it is believed.

Data only; imports nothing of ours.
"""

from __future__ import annotations

from typing import Any, TypeAlias

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


#: The same as it comes, where hundreds of thousands a second are to be looked at: data, ancillary
#: data (level, type, bytes), flags, and the sender's address (port ID, mask of groups).
Received: TypeAlias = tuple[bytes, list[tuple[int, int, bytes]], int, Any]
