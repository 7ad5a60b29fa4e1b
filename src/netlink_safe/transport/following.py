"""A listener as steps: what is queued, and after an overrun a look at sysfs and the difference.

::

    open      subscribe, look at sysfs
    follow    receive until the queue is empty
                 drops have grown   look, Overrun, the difference, Resynced
                 otherwise          wait, no longer than the heartbeat, and look at the drops again

The order is the point: once a socket has overrun, the kernel drops everything for it until a
receive has left its queue empty, and says nothing of that (``net/netlink/af_netlink.c``:
netlink_overrun, netlink_rcv_wake).  So the drops are counted when the queue is empty, and only then
is looked: what was dropped by then is in the look, and what is dropped later grows the count again.

The steps can be left at any wait and gone on with later.

May call ``transport``, ``protocol`` and ``errors``.
"""

from __future__ import annotations

import errno
import math
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import attrs

from netlink_safe.errors import ClosedError, LocalProtocolError, NetlinkTimeout
from netlink_safe.protocol.deadline import Deadline, checked_timeout
from netlink_safe.protocol.notices import Overrun
from netlink_safe.protocol.statistics import Tally, UeventStatistics
from netlink_safe.transport.buffers import checked_size, default_listening_buffer
from netlink_safe.transport.forks import check_not_forked, forks
from netlink_safe.transport.listening import ListeningSocket
from netlink_safe.transport.namespace import Namespace, NetworkNamespace
from netlink_safe.transport.roots import roots
from netlink_safe.transport.steps import call
from netlink_safe.transport.sysfs import NoSysfsError, look
from netlink_safe.transport.terms import Terms, Wait
from netlink_safe.transport.workers import offload

if TYPE_CHECKING:
    from collections.abc import Callable

    from netlink_safe.protocol.sighting import Look
    from netlink_safe.protocol.subscription import Reader, Subscription
    from netlink_safe.protocol.trust import Roots
    from netlink_safe.transport.terms import Steps


#: Items handed out at once.
PORTION: Final = 64


def _checked_buffer(size: int | None) -> int:
    return checked_size(size, default_listening_buffer())


def _checked_heartbeat(seconds: float) -> float:
    return checked_timeout(seconds, "heartbeat")


def _checked_idle_timeout(seconds: float) -> float:
    return checked_timeout(seconds, "idle_timeout")


@attrs.frozen(slots=True, kw_only=True)
class Listening:
    """On what terms to listen, checked.

    ``timeout`` is for the opening and for each look at sysfs, in seconds; ``heartbeat`` the longest
    wait between two looks at the drops; ``idle_timeout`` the longest time without an item.
    """

    netns: NetworkNamespace
    timeout: float = attrs.field(converter=checked_timeout)
    heartbeat: float = attrs.field(converter=_checked_heartbeat)
    idle_timeout: float | None = attrs.field(
        converter=attrs.converters.optional(_checked_idle_timeout)
    )
    receive_buffer: int = attrs.field(converter=_checked_buffer)


class Follower:
    """One listening socket and the picture behind it.  Not for two threads at once."""

    def __init__(self, subscription: Subscription, listening: Listening) -> None:
        self.subscription = subscription
        self.listening = listening
        self.closed = False
        self._namespace = Namespace(listening.netns)
        self._tally = Tally()
        self._forks = forks()
        self.is_resyncing = False
        self._resyncs = 0
        self._loss_told = 0
        self._has_looked = False
        self._is_looking = False
        self._look_again_at: float | None = None
        self._socket: ListeningSocket | None = None
        self._reader: Reader | None = None
        self._beginning: list[Any] = []

    def open(self) -> Steps[Any, None]:
        """Subscribe, and then look.

        Raises NetlinkTimeout, OSError, NotSupported; LocalProtocolError where a look is needed
        and there is no sysfs.
        """
        terms = self._terms("the opening of a listening socket")
        wanted, buffer = self.subscription, self.listening.receive_buffer

        def subscribe() -> Roots:
            self._socket = ListeningSocket(wanted.protocol, buffer, 1 << wanted.group - 1)
            if self.closed:  # its caller has given up meanwhile
                self._socket.close()
            return roots()

        trusted = yield from offload(call(partial(self._namespace.run, subscribe)), terms)
        reader = self._reader = wanted.new_reader(trusted, self._tally.rejected)
        try:
            telling = yield from self._look(reader, reader.begin, terms)
        except NoSysfsError as error:
            if wanted.begins_with_look:
                raise LocalProtocolError(f"coldplug takes sysfs: {error}") from None
            self._look_later()
        except OSError as error:
            if wanted.begins_with_look or isinstance(error, NetlinkTimeout):
                raise
            self._look_later()
        else:
            self._beginning = reader.adopt(telling, True)
            self._has_looked = True

    def follow(self) -> Steps[Any, None]:
        """Yield what is to be handed out, for ever."""
        beginning, self._beginning = self._beginning, []
        yield from _portions(beginning)
        while True:
            sock, reader = self.check_open()
            if bursts := sock.receive_many():
                self._tally.datagrams += sum(len(burst.texts) for burst in bursts)
                yield reader.read(bursts)
                continue
            lost = sock.memory().drops or sock.overruns  # before Linux 4.12 there is no count
            if lost != self._loss_told or self._is_due():
                drops = (lost - self._loss_told) % 2**32  # the kernel's counter is as wide as that
                self._loss_told = lost
                yield from _portions((yield from self._resync(reader, drops)))
            else:
                yield Wait(sock.fileno(), self.listening.heartbeat)

    def check_open(self) -> tuple[ListeningSocket, Reader]:
        """Raise LocalProtocolError in a forked child, ClosedError once closed."""
        check_not_forked(self._forks)
        if self.closed:
            raise ClosedError("this listener is closed; open a new one")
        if self._socket is None or self._reader is None:
            raise LocalProtocolError("this listener is not open yet; enter it with 'async with'")
        return self._socket, self._reader

    def statistics(self) -> UeventStatistics:
        """What was counted so far; drops and what is queued are asked for now."""
        sock, reader = self._socket, self._reader
        if sock is not None and not self.closed and self._forks == forks():
            memory = sock.memory()
            self._tally.drops = max(memory.drops, self._tally.drops)
            queued = memory.queued
        else:
            queued = 0
        return UeventStatistics(
            receive_buffer=0 if sock is None else sock.effective_receive_buffer,
            requested_receive_buffer=self.listening.receive_buffer,
            queued=queued,
            drops=self._tally.drops,
            datagrams=self._tally.datagrams,
            events=0 if reader is None else reader.delivered,
            rejected=dict(self._tally.rejected),
            duplicates=0 if reader is None else reader.duplicates,
            overruns=self._tally.overruns,
            resyncs=self._resyncs,
            timeouts=self._tally.timeouts,
            last_seqnum=None if reader is None else reader.last_seqnum,
        )

    def patience(self, timeout: float | None) -> Patience:
        """How long to wait for the next item: so many seconds, or as the iteration does."""
        if timeout is not None:
            return Patience(self, checked_timeout(timeout), ends_the_stream=False)
        idle = self.listening.idle_timeout
        return Patience(self, math.inf if idle is None else idle, ends_the_stream=True)

    def timed_out(self, seconds: float) -> NetlinkTimeout:
        """The error for a wait that was as long as this."""
        self._tally.timeouts += 1
        statistics = self.statistics()
        return NetlinkTimeout(
            f"the silence of {self.subscription.name}",
            seconds,
            datagrams=statistics.datagrams,
            rows=statistics.events,
            drops=statistics.drops,
            queue_fill=statistics.queued,
        )

    def end(self) -> None:
        """Let nobody take another item; harmless when done twice, and from any thread."""
        if not self.closed:
            self.statistics()  # the drops are to be had only while it is open
        self.closed = True

    def release(self) -> None:
        """Give the descriptors back; only when nobody is in the steps, or waits on one of them."""
        self._namespace.close()
        if self._socket is not None:
            self._socket.close()

    def _is_due(self) -> bool:
        """Whether a look that failed is to be made again."""
        return self._look_again_at is not None and time.monotonic() >= self._look_again_at

    def _look_later(self) -> None:
        self._look_again_at = time.monotonic() + self.listening.heartbeat

    def _resync(self, reader: Reader, drops: int) -> Steps[Any, list[Any]]:
        if drops:
            self._tally.overruns += 1
        unresynced: str | None = None
        difference: list[Any] = []
        is_beginning = not self._has_looked
        self._look_again_at = None
        self.is_resyncing = True
        try:
            compare = reader.begin if is_beginning else reader.resync
            telling = yield from self._look(reader, compare, self._terms("a look at sysfs"))
            difference = reader.adopt(telling, is_beginning)
            self._has_looked = True
            self._resyncs += not is_beginning
            if is_beginning:
                unresynced = "there was no look at sysfs before it that one could be compared with"
        except NoSysfsError as error:
            unresynced = str(error)
            self._look_later()
        except (NetlinkTimeout, OSError, RuntimeError) as error:  # no thread to be had, the last
            unresynced = f"{error}; it is tried again"
            self._look_later()
        finally:
            self.is_resyncing = False
        return ([Overrun(drops, unresynced)] if drops else []) + difference

    def _look(
        self, reader: Reader, compare: Callable[[Look], Any], terms: Terms
    ) -> Steps[Any, Any]:
        """Look, and compare, in a worker: of ten thousand devices either takes its time."""
        foreign = self.listening.netns is not None
        by_udev = self.subscription.by_udev

        def looking() -> Any:
            self._is_looking = True
            try:
                return compare(look(reader.subsystems, reader.known, foreign, by_udev))
            finally:
                self._is_looking = False

        if self._is_looking:  # one that was given up: more of them would take all the workers
            raise OSError(errno.EBUSY, "the last look at sysfs is still held up in the kernel")
        return (yield from offload(call(partial(self._namespace.run, looking)), terms))

    def _terms(self, doing: str) -> Terms:
        return Terms(Deadline(self.listening.timeout), self._tally, doing=doing)


def _portions(items: list[Any]) -> Steps[Any, None]:
    """A long list as short ones, between which other tasks may have their turn."""
    for start in range(0, len(items), PORTION):
        yield items[start : start + PORTION]


class Patience:
    """The time that one item may take, the consumer's own between two items not counted."""

    def __init__(self, follower: Follower, seconds: float, ends_the_stream: bool) -> None:
        self._follower = follower
        self._deadline = Deadline(seconds)
        self._ends_the_stream = ends_the_stream

    def check(self) -> None:
        """Raise NetlinkTimeout once the time is over."""
        if self._deadline.remaining() > 0 or (
            # What was lost is to be told; a look has a deadline of its own.
            self._ends_the_stream and self._follower.is_resyncing
        ):
            return
        error = self._follower.timed_out(self._deadline.timeout)
        if self._ends_the_stream:
            self._follower.end()
        raise error

    def shorten(self, wait: Wait) -> Wait:
        """The wait, within what is left.  Raises NetlinkTimeout when nothing is."""
        self.check()
        left = self._deadline.remaining()
        return Wait(wait.descriptor, min(wait.seconds, left) if left else wait.seconds)
