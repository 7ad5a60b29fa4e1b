"""One kernel socket that hears multicasts.

May call ``transport.bursts``, ``transport.forks``, ``transport.kernel``, ``transport.socket`` and
``wire``.
"""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING, ClassVar

from netlink_safe.transport.bursts import BurstBuffer
from netlink_safe.transport.forks import forks
from netlink_safe.transport.kernel import foremost
from netlink_safe.transport.socket import KernelSocket

if TYPE_CHECKING:
    from collections.abc import Iterable

    from netlink_safe.wire.datagram import Burst


def since(now: int, before: int) -> int:
    """How far a count of losses has grown; the kernel's is 32 bits wide."""
    return (now - before) % 2**32


class ListeningSocket(KernelSocket):
    """A socket that hears multicasts, with the credentials of who sent them."""

    OPTIONS: ClassVar[tuple[tuple[int, int], ...]] = ((socket.SOL_SOCKET, socket.SO_PASSCRED),)

    def __init__(
        self,
        protocol: int,
        receive_buffer: int,
        groups: Iterable[int] = (),
        port_id: int = 0,
        buffer: BurstBuffer | None = None,
        purpose: str = "",
    ) -> None:
        super().__init__(protocol, receive_buffer, groups, port_id, purpose)
        self.overruns: int = 0
        self._buffer = buffer or BurstBuffer()

    def receive_many(self) -> list[Burst]:
        """Some of what is queued; nothing where the queue is empty.

        ENOBUFS is passed over: it is reported before what is still queued, once, however much is
        lost until the queue is empty (``net/netlink/af_netlink.c``: netlink_overrun).  Whether
        anything was lost is to be asked of ``losses()`` when the queue is empty.
        """
        if self._forks != forks():
            self.check_usable()
        while True:
            try:
                return foremost().receive_burst(self._socket, self._buffer)
            except OSError as error:
                self.check_usable()
                if error.errno != errno.ENOBUFS:
                    raise
                self.overruns += 1

    def join(self, group: int) -> None:
        """Join one more multicast group.  Raises OSError, as the opening does."""
        self.check_usable()
        self._join(group)

    def losses(self) -> int:
        """What only grows when something is lost: the drops, or ENOBUFS before Linux 4.12."""
        return self.memory().drops or self.overruns
