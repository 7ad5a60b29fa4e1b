"""What every kind of socket has in sock_diag: message types, types, cookies, memory.

From ``include/uapi/linux/sock_diag.h``.
May call ``wire`` and ``errors``.
"""

from __future__ import annotations

import enum
import struct
from typing import Final

import attrs

from netlink_safe.errors import LocalProtocolError
from netlink_safe.wire.enums import newer_member

SOCK_DIAG_BY_FAMILY: Final = 20
SOCK_DESTROY: Final = 21

#: A socket's cookie: its low and its high word.
COOKIE: Final = struct.Struct("=II")
#: In a question: whatever cookie the socket has (INET_DIAG_NOCOOKIE).
NO_COOKIE: Final = b"\xff" * COOKIE.size


def packed_cookie(cookie: int) -> bytes:
    """A cookie as a question has it.  Raises LocalProtocolError for what is none."""
    if isinstance(cookie, bool) or not isinstance(cookie, int) or not 0 <= cookie < 1 << 64:
        raise LocalProtocolError(f"{cookie!r} is no cookie; a row's .cookie is one")
    return COOKIE.pack(cookie & 0xFFFFFFFF, cookie >> 32)


class SocketType(enum.IntEnum):
    """The second argument of socket(2); one that is not listed is named ``TYPE_n``.

    From ``include/linux/net.h``: enum sock_type.
    """

    STREAM = 1
    DGRAM = 2
    RAW = 3
    RDM = 4
    SEQPACKET = 5
    DCCP = 6
    PACKET = 10

    def __str__(self) -> str:
        return self.name.lower()

    @classmethod
    def _missing_(cls, value: object) -> SocketType | None:
        return newer_member(cls, value, "TYPE", 0xFF)


@attrs.frozen(slots=True)
class AcceptQueue:
    """Connections waiting to be accepted, and how many may wait: the backlog of listen(2).

    The kernel lets one more wait (``include/net/sock.h``: sk_acceptq_is_full).
    """

    length: int
    limit: int


@attrs.frozen(slots=True)
class SocketMemory:
    """A socket's memory in bytes: the ``SK_MEMINFO_*`` words, ``drops`` in packets.

    ``receive``, ``transmit`` and ``option`` are in use, the buffers what may be,
    ``forward_allocated`` is set aside, ``transmit_queued`` waits to be sent or acknowledged,
    ``backlog`` came while the socket's owner had it locked (``net/core/sock.c``: sk_get_meminfo).
    """

    receive: int
    receive_buffer: int
    transmit: int
    send_buffer: int
    forward_allocated: int
    transmit_queued: int
    option: int
    backlog: int
    drops: int

    @classmethod
    def read(cls, raw: bytes | None) -> SocketMemory | None:
        """The words of a ``*_DIAG_MEMINFO`` attribute; None for one that is missing or short."""
        if raw is None or len(raw) < _MEMORY.size:
            return None
        return cls(*_MEMORY.unpack_from(raw))


#: struct of nine words (``net/core/sock.c``: sk_get_meminfo).
_MEMORY: Final = struct.Struct("=9I")
