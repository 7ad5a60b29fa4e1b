"""One datagram in one system call, during which the interpreter runs nothing else.

``socket.sendto`` lets go of the interpreter for the microsecond that the call takes, and must then
wait until it gets it back: with one busy thread beside it, 5 milliseconds for each datagram, and
two of them made it 2,600 microseconds on average where this takes 7.  A call that cannot wait has
no reason to let go; and who holds a lock of the program's does not let others run under it.
Nobody can close the descriptor meanwhile either: between loading its number and the call the
interpreter looks neither for other threads nor for signals.

A multicast is the exception.  Where a receiver's queue is more than half full the kernel gives the
processor to others before it returns (``net/netlink/af_netlink.c``: netlink_broadcast_filtered),
and so the interpreter is to be had by others, too.

The errno is read in the same call into C: a signal's handler that sends would change it.

Calls nothing of ours.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from functools import partial
from operator import call
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from netlink_safe.transport.kernel import End

_ADDRESS: Final = struct.Struct("=HxxII")
_ADDRESS_SIZE: Final = _ADDRESS.size
_FLAGS: Final = int(socket.MSG_DONTWAIT)

_ARGUMENTS: Final = (
    ctypes.c_int,
    ctypes.c_char_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_char_p,
    ctypes.c_uint32,
)

_sendto = ctypes.PyDLL(None, use_errno=True).sendto
_multicast = ctypes.CDLL(None, use_errno=True).sendto
for _function in (_sendto, _multicast):
    _function.restype = ctypes.c_ssize_t
    _function.argtypes = _ARGUMENTS


class Sending:
    """The sending side of a netlink socket, as long as its owner has not closed it."""

    def __init__(self, end: End) -> None:
        self._descriptor = end.fileno()

    def send_now(self, payload: bytes, port_id: int) -> int:
        """Send to a port without waiting; 0, or the errno."""
        address, size = _ADDRESS.pack(socket.AF_NETLINK, port_id, 0), len(payload)
        return _errno_of(
            partial(_sendto, self._descriptor, payload, size, _FLAGS, address, _ADDRESS_SIZE)
        )

    def multicast_now(self, payload: bytes, groups: int) -> int:
        """Send to groups, a bit each, without waiting for anybody; 0, or the errno."""
        address, size, send = _ADDRESS.pack(socket.AF_NETLINK, 0, groups), len(payload), _multicast
        return _errno_of(
            partial(send, self._descriptor, payload, size, _FLAGS, address, _ADDRESS_SIZE)
        )

    def close(self) -> None:
        """Send nothing any more (EBADF); before the descriptor is given back."""
        self._descriptor = -1


def _errno_of(send: partial[int]) -> int:
    calls: list[Callable[[], int]] = [send, ctypes.get_errno]
    sent, number = list(map(call, calls))
    return number if sent < 0 else 0
