"""``open_user`` in blocking code.

May call ``transport``, ``protocol``, ``wire``, ``blocking.streams``, ``blocking.waiting`` and
``errors``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from netlink_safe.blocking.streams import Stream
from netlink_safe.blocking.waiting import result
from netlink_safe.errors import NetlinkError
from netlink_safe.protocol.deadline import Deadline
from netlink_safe.protocol.message import UserMessage
from netlink_safe.transport.buffers import checked_size, default_request_buffer
from netlink_safe.transport.locks import waits
from netlink_safe.transport.messaging import SendsNow, UserEnd
from netlink_safe.wire.constants import NETLINK_USERSOCK

if TYPE_CHECKING:
    from collections.abc import Iterable

    from netlink_safe.transport.namespace import NetworkNamespace


class User(SendsNow, Stream[UserMessage]):
    """Messages to other processes, and from them; see Stream for iterating, which waits for ever.

    Iterating raises TruncatedError and OverrunError as ``receive`` does, and may go on behind them.
    """

    def __init__(self, end: UserEnd) -> None:
        self._end = end
        super().__init__(end)

    @waits
    def send(self, payload: bytes, *, port_id: int, timeout: float | None = None) -> None:
        """Send when there is room, trying again after pauses, within ``timeout`` seconds.

        They are above 0, ``math.inf`` for ever, and by default those given at the opening.
        Never waits in the kernel, and never for writability, which says nothing of the receiver
        (``net/netlink/af_netlink.c``: netlink_attachskb waits for the receiver's queue).
        Raises NetlinkTimeout, which says how often it was tried; NoSuchPeer, KernelError,
        LocalProtocolError for no timeout and as ``send_nowait`` does, ClosedError.
        """
        deadline = Deadline(self._end.timeout if timeout is None else timeout)
        result(self._end.send(payload, port_id, deadline), self._waiter)

    @waits
    def receive(self, timeout: float | None = None) -> UserMessage:
        """The next message, within ``timeout`` seconds, by default those given at the opening.

        Raises NetlinkTimeout; TruncatedError for a message of more than 256 KiB, and OverrunError
        where multicasts were lost; after any of them the next receive goes on.  ClosedError,
        BusyError; LocalProtocolError for no timeout.
        """
        return _given(super().receive(timeout))

    @waits
    def __next__(self) -> UserMessage:
        return _given(super().__next__())


def open_user(
    protocol: int = NETLINK_USERSOCK,
    port_id: int | None = None,
    groups: Iterable[int] = (),
    *,
    timeout: float = 5.0,
    receive_buffer: int | None = None,
    netns: NetworkNamespace = None,
) -> User:
    """Open a socket for messages between processes, for ``with``.

    ``protocol`` is a NETLINK_* number from 0 to 31, by default NETLINK_USERSOCK.
    ``port_id``, from 1 to 2**32 - 1, is what others send to; the kernel assigns one unless it is
    given.
    ``groups`` are multicast groups to join, from 1 to 32.
    ``timeout``, in seconds, above 0, is for the opening, and for each ``send()`` and ``receive()``;
    ``math.inf`` waits for ever.
    ``receive_buffer`` is in the bytes that setsockopt takes, from 32 KiB to just below 1 GiB, by
    default 1 MiB, or less on a machine with less than 128 MiB of memory.
    ``netns`` is a name in /run/netns, a path with a slash in it, a pid or an object with
    ``fileno()``; by default it is the calling thread's own namespace.
    Raises LocalProtocolError for nonsense, OSError (EADDRINUSE for a port ID that is taken),
    PermissionError for groups without CAP_NET_ADMIN (``net/netlink/af_netlink.c``:
    netlink_setsockopt), NotSupported for a protocol that is none,
    FileNotFoundError and PermissionError for a namespace, NetlinkTimeout.
    """
    size = checked_size(receive_buffer, default_request_buffer())
    return User(UserEnd(protocol, port_id, groups, timeout, size, netns))


def _given(item: UserMessage | NetlinkError) -> UserMessage:
    if isinstance(item, NetlinkError):
        raise item
    return item
