"""One datagram in one system call, during which the interpreter runs nothing else.

``socket.sendto`` lets go of the interpreter for the microsecond that the call takes, and must then
wait until it gets it back: with one busy thread beside it, 5 milliseconds for each datagram, and
two of them made it 2,600 microseconds on average where this takes 7.  A call that cannot wait has
no reason to let go; and who holds a lock of the program's does not let others run under it.

Nobody can close the descriptor meanwhile either: between loading its number and the call the
interpreter looks neither for other threads nor for signals.

Calls nothing of ours.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from typing import Final

_ADDRESS: Final = struct.Struct("=HxxII")
_ADDRESS_SIZE: Final = _ADDRESS.size
_FLAGS: Final = int(socket.MSG_DONTWAIT)

_sendto = ctypes.PyDLL(None, use_errno=True).sendto
_sendto.restype = ctypes.c_ssize_t
_sendto.argtypes = (
    ctypes.c_int,
    ctypes.c_char_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_char_p,
    ctypes.c_uint32,
)


class Sending:
    """The sending side of a netlink socket, as long as its owner has not closed it."""

    def __init__(self, sock: socket.socket) -> None:
        self._descriptor = sock.fileno()

    def send_now(self, payload: bytes, port_id: int, groups: int) -> int:
        """Send, to a port or to groups, without waiting; 0, or the errno."""
        address, size = _ADDRESS.pack(socket.AF_NETLINK, port_id, groups), len(payload)
        if _sendto(self._descriptor, payload, size, _FLAGS, address, _ADDRESS_SIZE) < 0:
            return ctypes.get_errno()
        return 0

    def close(self) -> None:
        """Send nothing any more (EBADF); before the descriptor is given back."""
        self._descriptor = -1
