"""The kernel sockets of one opened object: one for each exchange under way, a few kept idle.

A netlink socket carries one dump at a time (EBUSY says the kernel to a second), and a dump that
was given up may still be running in the kernel, its rows still to come.  So an exchange has a
socket of its own, and only one that was read to its end is used again.

May call ``transport``, ``protocol`` and ``errors``.
"""

from __future__ import annotations

import os
from collections import deque
from typing import TYPE_CHECKING, Final

from netlink_safe.errors import ClosedError
from netlink_safe.protocol.statistics import SocketStatistics, Tally
from netlink_safe.transport.census import ASKING, OTHER, enter
from netlink_safe.transport.forks import check_not_forked, forks
from netlink_safe.transport.socket import NetlinkSocket

if TYPE_CHECKING:
    from netlink_safe.transport.namespace import Namespace
    from netlink_safe.transport.socket import Memory

IDLE: Final = 4

#: (protocol, feature) pairs that have answered in this process, so that their modules are loaded.
answered: Final[set[tuple[int, str]]] = set()
#: The feature of a protocol as such.
OPENING: Final = "opening"


class SocketPool:
    """Opens, keeps and closes; counts for ``statistics``.  Any thread may call it.

    ``protocol`` is a NETLINK_* number, ``namespace`` where its sockets are opened.
    ``receive_buffer`` is in the bytes that setsockopt takes; nothing checks it here.
    ``closed_error`` is what a surface calls ClosedError.
    Where ClosedError is raised, once it is closed, so is LocalProtocolError in the child of a fork;
    opening a socket raises OSError, NotSupported, and what ``Namespace`` does.
    """

    closed_error: type[ClosedError] = ClosedError

    def __init__(self, protocol: int, receive_buffer: int, namespace: Namespace) -> None:
        self.protocol = protocol
        self.namespace = namespace
        self.tally: Tally = Tally()
        self.closed: bool = False
        self._forks = forks()
        self._receive_buffer = receive_buffer
        self._effective_receive_buffer = 0
        self._idle: deque[NetlinkSocket] = deque()
        self._busy: set[NetlinkSocket] = set()
        enter(ASKING.get(protocol, OTHER), self, self.tally)

    def open(self) -> None:
        """Open a first socket, for what is wrong to come out.

        Raises OSError, NotSupported, ClosedError, LocalProtocolError.
        """
        self.release(self.acquire())
        answered.add((self.protocol, OPENING))

    def acquire(self) -> NetlinkSocket:
        """An idle socket, or a new one.  Raises ClosedError, LocalProtocolError, OSError."""
        self.check_open()
        try:
            sock = self._idle.pop()
        except IndexError:
            return self.acquire_fresh()
        self._busy.add(sock)
        return sock

    def acquire_fresh(self) -> NetlinkSocket:
        """A new one, whose queue nobody can have filled yet.  Raises as ``acquire`` does."""
        self.check_open()
        sock = self.namespace.run(lambda: NetlinkSocket(self.protocol, self._receive_buffer))
        self._effective_receive_buffer = sock.effective_receive_buffer
        self._busy.add(sock)
        return sock

    def release(self, sock: NetlinkSocket) -> None:
        """Take back a socket whose exchange ended well and whose queue is empty."""
        if self.closed or len(self._idle) >= IDLE:
            self.discard(sock)
            return
        self._busy.discard(sock)
        self._idle.append(sock)
        if self.closed:  # close() ran between the look and the append
            self._close_idle()

    def discard(self, sock: NetlinkSocket) -> None:
        """Close a socket whose exchange may still be running in the kernel."""
        self._busy.discard(sock)
        self._close(sock)

    def close(self) -> None:
        """Close what is idle; a socket in use is closed by its exchange, at its next step."""
        self.closed = True
        self._close_idle()
        self.namespace.close()

    def check_open(self) -> None:
        """Raise LocalProtocolError in a forked child, ClosedError once closed."""
        check_not_forked(self._forks)
        if self.closed:
            raise self.closed_error("this socket is closed; open a new one")

    def statistics(self) -> SocketStatistics:
        """What was counted so far; the drops of sockets still open are asked for now."""
        tally = self.tally
        living = self.look()
        return SocketStatistics(
            receive_buffer=self._effective_receive_buffer,
            requested_receive_buffer=self._receive_buffer,
            drops=tally.drops,
            datagrams=tally.datagrams,
            rejected=dict(tally.rejected),
            attempts=tally.attempts,
            retries=tally.retries,
            timeouts=tally.timeouts,
            overruns=tally.overruns,
            interrupted=tally.interrupted,
            open_sockets=len(living),
        )

    def look(self) -> list[tuple[int, Memory]]:
        """Port ID and memory of each socket that is open; their drops are counted."""
        looks = [(sock.port_id, sock.look(self.tally)) for sock in [*self._idle, *self._busy]]
        return [(port_id, memory) for port_id, memory in looks if memory is not None]

    def inodes(self) -> set[int]:
        """By what the kernel's own lists name the sockets that are open."""
        return {os.fstat(sock.fileno()).st_ino for sock in [*self._idle, *self._busy]}

    def _close_idle(self) -> None:
        while self._idle:
            try:
                sock = self._idle.pop()
            except IndexError:  # another thread closed it
                return
            self._close(sock)

    def _close(self, sock: NetlinkSocket) -> None:
        sock.look(self.tally)  # the drops are to be had only while it is open
        sock.close()
