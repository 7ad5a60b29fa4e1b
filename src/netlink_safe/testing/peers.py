"""Other processes as one meets them: who does not read, who is full, who lies about who he is.

May call ``wire`` and ``errors``.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
from typing import TYPE_CHECKING, Final

from netlink_safe.errors import LocalProtocolError
from netlink_safe.wire.constants import NETLINK_SOCK_DIAG, NETLINK_USERSOCK

if TYPE_CHECKING:
    from collections.abc import Iterator

RECEIVE_SIZE: Final = 1 << 20
FILLING: Final = bytes(256)


class QuietPeer:
    """Somebody with a port ID who reads when a test says so, and never by himself.

    Behind the ``with`` that gave him, reading raises OSError.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self.port_id: int = sock.getsockname()[0]

    def read(self) -> bytes | None:
        """One datagram, its first MiB; None where none is queued.  Raises OSError."""
        try:
            return self._socket.recv(RECEIVE_SIZE, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None

    def read_all(self) -> list[bytes]:
        """What is queued, so that there is room again."""
        return list(iter(self.read, None))


@contextlib.contextmanager
def slow_reader(protocol: int = NETLINK_USERSOCK) -> Iterator[QuietPeer]:
    """A peer whose queue has room, and who reads only when told to.

    ``protocol`` is a NETLINK_* number; OSError for one that the kernel has not.
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol) as sock:
        sock.bind((0, 0))
        yield QuietPeer(sock)


@contextlib.contextmanager
def full_peer(protocol: int = NETLINK_USERSOCK) -> Iterator[QuietPeer]:
    """The same with a queue that is full: a blocking send to it sleeps in the kernel.

    (``net/netlink/af_netlink.c``: netlink_attachskb.)  Raises as ``spoof`` does.
    """
    with slow_reader(protocol) as peer:
        for _ in itertools.count():
            try:
                spoof(peer.port_id, FILLING, protocol=protocol)
            except BlockingIOError:
                break
        yield peer


def spoof(port_id: int, data: bytes, *, protocol: int = NETLINK_SOCK_DIAG) -> None:
    """Send a datagram to somebody's socket, as a stranger who may.

    On most protocols that takes CAP_NET_ADMIN (``net/netlink/af_netlink.c``: netlink_allowed).
    ``port_id`` is up to 2**32 - 1, 0 the kernel's.
    Raises PermissionError, ConnectionRefusedError where nobody has that port ID, BlockingIOError
    where the queue is full, OSError.
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol) as stranger:
        stranger.sendto(data, socket.MSG_DONTWAIT, (port_id, 0))


def spoof_multicast(protocol: int, group: int, data: bytes) -> None:
    """Send a datagram to all members of a group, 1 to 32, as a privileged stranger may.

    On most protocols that takes CAP_NET_ADMIN (``net/netlink/af_netlink.c``: netlink_sendmsg).
    Raises LocalProtocolError for any other group, PermissionError, OSError.
    """
    if isinstance(group, bool) or not isinstance(group, int) or not 1 <= group <= 32:
        raise LocalProtocolError(f"group={group!r} is none of 1 to 32, which a sender can name")
    with (
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol) as stranger,
        contextlib.suppress(ConnectionRefusedError),  # at port 0 there may be nobody to hear it
    ):
        stranger.sendto(data, socket.MSG_DONTWAIT, (0, 1 << group - 1))
