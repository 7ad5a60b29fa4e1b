"""What every socket that hears by itself is to a surface: steps without an end, and a way to stop.

The steps can be left at any wait and gone on with later.

May call ``transport``, ``protocol`` and ``errors``.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from netlink_safe.errors import ClosedError, LocalProtocolError, NetlinkTimeout
from netlink_safe.protocol.deadline import Deadline, checked_timeout
from netlink_safe.protocol.statistics import Tally
from netlink_safe.transport.census import enter
from netlink_safe.transport.forks import check_not_forked, forks
from netlink_safe.transport.namespace import Namespace, NetworkNamespace
from netlink_safe.transport.terms import Terms, Wait

if TYPE_CHECKING:
    from netlink_safe.transport.census import Kind
    from netlink_safe.transport.listening import ListeningSocket
    from netlink_safe.transport.socket import Memory
    from netlink_safe.transport.terms import Steps


class Hearing:
    """One listening socket.  Not for two threads at once, but for ``end`` and ``statistics``.

    ``timeout`` is for the opening and for what takes time inside, in seconds; ``idle_timeout`` the
    longest time without an item, of an iteration.  ``is_owing`` says that there is something to be
    told as soon as it is ready, so that nobody is idle.  ``closed_error`` is what a surface calls
    ClosedError.
    """

    closed_error: type[ClosedError] = ClosedError

    def __init__(
        self,
        kind: Kind,
        name: str,
        netns: NetworkNamespace | Namespace,
        timeout: float,
        idle_timeout: float | None,
    ) -> None:
        self.name = name
        self.timeout = timeout
        self.closed: bool = False
        self.is_owing = False
        self._idle_timeout = idle_timeout
        self._namespace = Namespace(netns)
        self._tally = Tally()
        self._forks = forks()
        self._socket: ListeningSocket | None = None
        enter(kind, self, self._tally)

    def open(self) -> Steps[Any, None]:
        """Open the socket, and make ready."""
        raise NotImplementedError

    def follow(self) -> Steps[Any, None]:
        """Yield what is to be handed out, for ever."""
        raise NotImplementedError

    def check_open(self) -> ListeningSocket:
        """Raise LocalProtocolError in a forked child or before the opening, ClosedError behind."""
        check_not_forked(self._forks)
        if self.closed:
            raise self.closed_error("this listener is closed; open a new one")
        if self._socket is None:
            raise LocalProtocolError("this listener is not open yet; enter it with 'async with'")
        return self._socket

    def patience(self, timeout: float | None) -> Patience:
        """How long to wait for the next item: so many seconds, or as the iteration does."""
        if timeout is not None:
            return Patience(self, checked_timeout(timeout), ends_the_stream=False)
        idle = self._idle_timeout
        return Patience(self, math.inf if idle is None else idle, ends_the_stream=True)

    def heard(self) -> int:
        """How many datagrams were received so far, also by questions that were asked on the way."""
        return self._tally.datagrams

    def timed_out(self, seconds: float, heard_before: int) -> NetlinkTimeout:
        """The error for a wait that was as long as this, at whose start so much was heard."""
        self._tally.timeouts += 1
        drops, queued = self.look_at_memory()
        return NetlinkTimeout(
            f"the silence of {self.name}",
            seconds,
            datagrams=self.heard() - heard_before,
            drops=drops,
            queue_fill=queued,
        )

    def look_at_memory(self) -> tuple[int, int]:
        """The drops, and how many bytes are queued now; the drops are remembered."""
        looks = [] if self.closed or self._forks != forks() else self.look()
        return self._tally.drops, sum(memory.queued for _, memory in looks)

    def look(self) -> list[tuple[int, Memory]]:
        """Port ID and memory of the socket if it is open; its drops are counted."""
        sock = self._socket
        memory = None if sock is None else sock.look(self._tally)
        return [] if sock is None or memory is None else [(sock.port_id, memory)]

    def end(self) -> None:
        """Let nobody take another item; harmless when done twice, and from any thread."""
        self.look_at_memory()  # the drops are to be had only while it is open
        self.closed = True

    def release(self) -> None:
        """Give the descriptors back; only when nobody is in the steps, or waits on one of them."""
        self._namespace.close()
        if self._socket is not None:
            self._socket.close()

    def _opened(self, sock: ListeningSocket) -> None:
        """Take a socket that a worker has opened, whose caller may have given up meanwhile."""
        self._socket = sock
        if self.closed:
            sock.close()

    def _terms(self, doing: str) -> Terms:
        return Terms(Deadline(self.timeout), self._tally, doing=doing)


class Patience:
    """The time that one item may take, the consumer's own between two items not counted."""

    def __init__(self, hearing: Hearing, seconds: float, ends_the_stream: bool) -> None:
        self._hearing = hearing
        self._deadline = Deadline(seconds)
        self._heard_before = hearing.heard()
        self._ends_the_stream = ends_the_stream

    def check(self) -> None:
        """Raise NetlinkTimeout once the time is over."""
        if self._deadline.remaining() > 0 or (self._ends_the_stream and self._hearing.is_owing):
            return
        error = self._hearing.timed_out(self._deadline.timeout, self._heard_before)
        if self._ends_the_stream:
            self._hearing.end()
        raise error

    def shorten(self, wait: Wait) -> Wait:
        """The wait, within what is left.  Raises NetlinkTimeout when nothing is."""
        self.check()
        left = self._deadline.remaining()
        return Wait(wait.descriptor, min(wait.seconds, left) if left else wait.seconds)
