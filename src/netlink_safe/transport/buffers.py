"""How large a receive buffer is, and why not smaller.

``net/core/sock.c``: sock_setsockopt doubles the value, clamps it to net.core.rmem_max without a
word, and floors it at SOCK_MIN_RCVBUF; SO_RCVBUFFORCE, with CAP_NET_ADMIN, passes the clamp.
So the value is forced where that is allowed, and always read back.

May call ``transport.machine`` and ``errors``.
"""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING, Final

from netlink_safe.errors import LocalProtocolError
from netlink_safe.transport.machine import HERE

if TYPE_CHECKING:
    from netlink_safe.transport.kernel import End

FLOOR: Final = 32 * 1024
LARGEST: Final = 0x3FFFFFFF
REQUEST_CAP: Final = 1024 * 1024
LISTENING_CAP: Final = 128 * 1024 * 1024


def default_request_buffer() -> int:
    """A size for sockets that ask: 1 MiB, less on machines below 128 MiB of memory, in bytes.

    The kernel makes a dump's next chunk while half the buffer is free (netlink_recvmsg), so more
    would only lie idle.
    """
    return max(FLOOR, min(REQUEST_CAP, _memory() // 128))


def default_listening_buffer() -> int:
    """A size for sockets that hear multicasts, in bytes: a 128th of the memory, at most 128 MiB.

    It is a bound, not a reservation: the kernel takes memory for what is queued alone.
    """
    return max(FLOOR, min(LISTENING_CAP, _memory() // 128))


def checked_size(size: int | None, default: int) -> int:
    """The size to ask for, in the bytes that setsockopt takes.

    Raises LocalProtocolError below 32 KiB, above 1 GiB, and for what is no whole number.
    """
    if size is None:
        return default
    if isinstance(size, bool) or not isinstance(size, int):
        raise LocalProtocolError(f"receive_buffer={size!r} is no whole number of bytes")
    if size < FLOOR:
        raise LocalProtocolError(
            f"receive_buffer={size} is below the floor of {FLOOR} bytes: listeners that copied "
            "SO_RCVBUF 1024 from each other lost events and died of ENOBUFS at the first USB plug; "
            "leave it out, or ask for more"
        )
    if size > LARGEST:
        raise LocalProtocolError(f"receive_buffer={size} is above the {LARGEST} that fit an int")
    return size


def set_receive_buffer(end: End, size: int) -> int:
    """Ask for ``size``, past rmem_max where permitted; return the effective size."""
    end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
    with contextlib.suppress(PermissionError):
        end.setsockopt(socket.SOL_SOCKET, HERE.receive_buffer_force, size)
    return end.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)


def _memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
