"""``open_sock_diag`` in async code.

May call ``transport``, ``wire`` and ``aio.requests``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from netlink_safe.aio.requests import RequestSocket
from netlink_safe.transport.opening import new_pool
from netlink_safe.wire.constants import NETLINK_SOCK_DIAG

if TYPE_CHECKING:
    from netlink_safe.transport.namespace import NetworkNamespace


class SockDiag(RequestSocket):
    """Questions about sockets; see RequestSocket for the verbs."""


def open_sock_diag(
    *,
    timeout: float = 5.0,
    receive_buffer: int | None = None,
    netns: NetworkNamespace = None,
) -> SockDiag:
    """Open sock_diag, for ``async with``.

    ``timeout`` in seconds, above 0, is for each verb as a whole; ``math.inf`` waits for ever.
    ``receive_buffer`` is in the bytes that setsockopt takes, at least 32 KiB, by default 1 MiB.
    ``netns`` is a name, a path, a pid or an object with ``fileno()``.
    Raises LocalProtocolError for nonsense; and, when entered, FileNotFoundError where there is no
    such namespace, PermissionError without the right to enter it, NotSupported where the kernel has
    no sock_diag, NetlinkTimeout when the opening takes longer than ``timeout``.
    """
    return SockDiag(new_pool(NETLINK_SOCK_DIAG, timeout, receive_buffer, netns), timeout)
