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

May call ``transport``, ``protocol`` and ``errors``.
"""

from __future__ import annotations

import errno
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import attrs

from netlink_safe.errors import LocalProtocolError, NetlinkTimeout
from netlink_safe.protocol.deadline import checked_timeout
from netlink_safe.protocol.notices import Overrun
from netlink_safe.protocol.statistics import UeventStatistics
from netlink_safe.transport.buffers import checked_size, default_listening_buffer
from netlink_safe.transport.hearing import Hearing
from netlink_safe.transport.listening import ListeningSocket, since
from netlink_safe.transport.roots import roots
from netlink_safe.transport.steps import call
from netlink_safe.transport.sysfs import NoSysfsError, look
from netlink_safe.transport.terms import Wait
from netlink_safe.transport.workers import offload

if TYPE_CHECKING:
    from collections.abc import Callable

    from netlink_safe.protocol.sighting import Look
    from netlink_safe.protocol.subscription import Reader, Subscription
    from netlink_safe.protocol.trust import Roots
    from netlink_safe.transport.namespace import NetworkNamespace
    from netlink_safe.transport.terms import Steps, Terms


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


class Follower(Hearing):
    """One listening socket and the picture behind it."""

    def __init__(self, subscription: Subscription, listening: Listening) -> None:
        super().__init__(
            subscription.name, listening.netns, listening.timeout, listening.idle_timeout
        )
        self.subscription = subscription
        self.listening = listening
        self._resyncs = 0
        self._loss_told = 0
        self._has_looked = False
        self._is_looking = False
        self._look_again_at: float | None = None
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
            self._opened(ListeningSocket(wanted.protocol, buffer, groups=[wanted.group]))
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
            sock, reader = self.check_open(), self._reader
            if reader is None:
                raise LocalProtocolError("this listener was not opened to the end")
            if bursts := sock.receive_many():
                self._tally.datagrams += sum(len(burst.texts) for burst in bursts)
                yield reader.read(bursts)
                continue
            lost = sock.losses()
            if lost != self._loss_told or self._is_due():
                items = yield from self._resync(reader, since(lost, self._loss_told))
                self._loss_told = lost  # not before: what is raised in there hides no loss
                yield from _portions(items)
            else:
                yield Wait(sock.fileno(), self.listening.heartbeat)

    def statistics(self) -> UeventStatistics:
        """What was counted so far; drops and what is queued are asked for now."""
        sock, reader = self._socket, self._reader
        drops, queued = self.look_at_memory()
        return UeventStatistics(
            receive_buffer=0 if sock is None else sock.effective_receive_buffer,
            requested_receive_buffer=self.listening.receive_buffer,
            queued=queued,
            drops=drops,
            datagrams=self._tally.datagrams,
            events=0 if reader is None else reader.delivered,
            rejected=dict(self._tally.rejected),
            duplicates=0 if reader is None else reader.duplicates,
            overruns=self._tally.overruns,
            resyncs=self._resyncs,
            timeouts=self._tally.timeouts,
            last_seqnum=None if reader is None else reader.last_seqnum,
        )

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
        self.is_owing = True
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
            self.is_owing = False
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


def _portions(items: list[Any]) -> Steps[Any, None]:
    """A long list as short ones, between which other tasks may have their turn."""
    for start in range(0, len(items), PORTION):
        yield items[start : start + PORTION]
