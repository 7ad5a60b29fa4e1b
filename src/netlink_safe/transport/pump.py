"""The pump of an outbox: it sends what was posted, in order for each peer, and never waits for one.

::

    run      take from the ring, send; what finds its peer full waits in a queue of that peer, which
             is tried again after a pause, and holds up nobody else
    flush    wait until all has ended that was posted before
    close    refuse posts, wait until all has ended, and give up what has not

The pump announces that it sleeps, looks at the ring once more, and only then sleeps.  A poster
appends, and then looks whether the pump sleeps.  So one of the two sees the other, and the eventfd
is written once for a sleep.  How the ring does without a lock is said in ``protocol.backlog``.

When the pump ends it says so before it empties the ring for the last time: a poster who was between
looking and appending either has its message taken, or sees the end and takes it back, unposted.

Whatever ends the pump, a KeyboardInterrupt in any line of it, too, leaves all messages where they
can be found; ``end`` accounts for them, and may be called again where it was interrupted itself.

May call ``transport``, ``protocol`` and ``errors``.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, Final

from netlink_safe.errors import (
    ClosedError,
    NetlinkError,
    NetlinkTimeout,
    PeerQueueFull,
)
from netlink_safe.protocol.backlog import NO_ROOM
from netlink_safe.protocol.deadline import Deadline
from netlink_safe.protocol.pauses import Pauses
from netlink_safe.transport.forks import check_not_forked, forks, tell_of_forks
from netlink_safe.transport.terms import Wait
from netlink_safe.transport.undelivered import reason_of, tell
from netlink_safe.transport.wakeup import Signal, Wakeup

if TYPE_CHECKING:
    from collections.abc import Callable

    from netlink_safe.protocol.backlog import Backlog, Message, Peer, Reason
    from netlink_safe.protocol.message import Undelivered
    from netlink_safe.transport.messaging import UserEnd
    from netlink_safe.transport.terms import Steps

#: Messages that the pump sends before it lets others have a turn.
PORTION: Final = 16
#: What those who post see for ever once there is no pump any more.
OVER: Final = ("over",)
#: How long, in seconds, the pump sleeps at least for each peer that is full: a look at all of them
#: costs as much as there are, and thousands of them would have one looked for every moment.
SHARE: Final = 0.00001
#: The longest sleep of the pump, in seconds; it is woken for whatever it has to do.
HEARTBEAT: Final = 30.0
#: How long, in seconds, closing waits for a pump that was told to give up, which is at once unless
#: ``on_undelivered`` takes its time.
GRACE: Final = 1.0


class _Flush(Signal):
    """Given once all has ended that was posted before it.

    ``marks`` says of each peer that was full how many messages must have left its queue; None as
    long as there may be some of them in the ring.
    """

    marks: list[tuple[Peer, int]] | None = None

    def is_due(self) -> bool:
        return self.marks is not None and all(peer.left >= mark for peer, mark in self.marks)


class Pump:
    """Sends what is posted.  ``run`` is for one task or thread; all else may come from any."""

    def __init__(
        self,
        end: UserEnd,
        is_own: bool,
        backlog: Backlog,
        deadline: float,
        on_undelivered: Callable[[Undelivered], object] | None,
    ) -> None:
        self.backlog = backlog
        self.is_over: bool = False
        self.wakeup: Wakeup | None = Wakeup()
        backlog.sleepers = self.wakeup.announced
        self._end = end
        self._is_own = is_own
        self._deadline = deadline
        self._on_undelivered = on_undelivered
        self._is_given_up = False
        self._may_be_sent = False
        self._is_accounted_for = False
        self._due = math.inf
        self._flushes: set[_Flush] = set()
        self._ended = Signal()  # now, since closing is not to fail for want of a descriptor
        self._forks = forks()
        tell_of_forks(self)

    def run(self) -> Steps[Any, None]:
        """Send, until closed and empty, or told to give up."""
        backlog = self.backlog
        try:
            while self.wakeup is not None and not self._is_given_up:
                fresh = [flush for flush in list(self._flushes) if flush.marks is None]
                yield from self._send_ring()
                yield from self._send_queues()
                self._mark(fresh)
                if backlog.is_closed and not backlog.ring and not backlog.peers:
                    return
                yield from self._sleep(self.wakeup)
        finally:
            self.end()

    def flush(self, timeout: float) -> Steps[Any, None]:
        """Wait until all has ended that was posted before.  Raises NetlinkTimeout."""
        check_not_forked(self._forks)
        flush = _Flush()
        self._flushes.add(flush)
        try:
            if self.is_over:
                raise ClosedError("this outbox is closed; nothing is held any more")
            self._wake()
            if not (yield from flush.wait(Deadline(timeout))):
                raise self._not_flushed(timeout)
        finally:
            self._flushes.discard(flush)

    def close(self, timeout: float) -> Steps[Any, None]:
        """Refuse posts, wait until all has ended, and then give up what has not."""
        deadline = Deadline(timeout)
        self.backlog.is_closed = True
        self._wake()
        if not self.is_over and not (yield from self._ended.wait(deadline)):
            self.give_up()
            yield from self._ended.wait(Deadline(GRACE))

    def give_up(self) -> None:
        """Have the pump try once more what is held, and end; never waits."""
        self.backlog.is_closed = self._is_given_up = True
        self._wake()

    def end(self) -> None:
        """Try once more what is held, without waiting, and account for the rest; the pump's last.

        Where no pump runs, whoever closes calls it.  Harmless when done twice.
        """
        if self._is_accounted_for:
            return
        backlog = self.backlog
        backlog.is_closed = True
        backlog.room = NO_ROOM
        try:
            self._try_all_once_more()
            self._refuse_posters()
            while (message := backlog.take_any()) is not None:
                self._give_up(message, "closed", ClosedError("the outbox was closed"))
        finally:
            self._refuse_posters()
            while backlog.take_any() is not None:  # nobody can be told of these
                backlog.count_undelivered("closed")
            self.wakeup = None
            if self._is_own:
                self._end.end()
                self._end.release()
            for signal in [*self._flushes, self._ended]:
                signal.give()
            self._is_accounted_for = True

    def forked(self) -> None:
        """In a child there is no pump: every post is to ask, and to be told so."""
        self.backlog.room = NO_ROOM

    def _wake(self) -> None:
        wakeup = self.wakeup  # held while it is written to: it may go meanwhile
        if wakeup is not None and self._forks == forks():  # a child must not wake its parent
            wakeup.write()

    def _sleep(self, wakeup: Wakeup) -> Steps[Any, None]:
        wakeup.announce()
        if self.backlog.ring:  # posted behind the last look at it, and before the announcement
            wakeup.announced.clear()
            yield []
            return
        yield Wait(wakeup.fileno(), self._until_due())
        wakeup.clear()

    def _send_ring(self) -> Steps[Any, None]:
        """Send what the ring holds now, or put it into the queues of peers that are full."""
        backlog = self.backlog
        for number in range(len(backlog.ring)):
            message = backlog.take()
            if message is None:
                break
            if message[1] in backlog.peers:
                backlog.keep(message[1])
            elif not self._try(message):
                peer = backlog.keep(message[1])
                self._try_later(peer)
            if backlog.peers:
                backlog.measure()
            if number % PORTION == PORTION - 1:
                yield []

    def _send_queues(self) -> Steps[Any, None]:
        """Try again peers whose pause is over."""
        backlog = self.backlog
        if backlog.peers and time.monotonic() >= self._due:
            for peer in list(backlog.peers.values()):
                if peer.due > time.monotonic():
                    continue
                for number in range(len(peer.queue)):
                    if not self._try_first(peer):
                        break
                    if number % PORTION == PORTION - 1:
                        yield []
            backlog.tidy()
            self._due = min((peer.due for peer in backlog.peers.values()), default=math.inf)
        backlog.measure()

    def _try_first(self, peer: Peer) -> bool:
        """Whether it is worth to try the peer's next message, too."""
        message = self.backlog.take_of(peer)
        if message is None:  # a poster dropped it
            return False
        if self._try(message):
            peer.pauses = Pauses()
            return True
        self.backlog.put_back(peer)
        self._try_later(peer)
        return False

    def _try_later(self, peer: Peer) -> None:
        peer.due = time.monotonic() + peer.pauses.take()
        self._due = min(self._due, peer.due)

    def _try(self, message: Message) -> bool:
        """Whether a message in the pump's hands has ended, one way or another."""
        payload, port_id, posted_at = message
        if time.monotonic() - posted_at >= self._deadline:
            late = NetlinkTimeout(f"the sending of a message to port {port_id}", self._deadline)
            self._give_up(message, "deadline", late)
            return True
        self._may_be_sent = True
        try:
            self._end.send_nowait(payload, port_id)
        except PeerQueueFull:
            self._may_be_sent = False
            return False
        except NetlinkError as error:
            failure: NetlinkError | None = error
        else:
            failure = None
            self.backlog.count_sent()
        self._may_be_sent = False
        if failure is not None:
            self._give_up(message, reason_of(failure), failure)
        return True

    def _try_all_once_more(self) -> None:
        backlog = self.backlog
        if backlog.hand and self._may_be_sent:  # then it must not be sent again
            interrupted = ClosedError(
                "the outbox was interrupted as it sent; it may have been sent"
            )
            self._give_up(backlog.hand[0], "closed", interrupted)
        self._may_be_sent = False
        full: set[int] = set()
        while (message := backlog.take_any()) is not None:
            if message[1] in full or not self._try(message):
                full.add(message[1])
                self._give_up(message, "closed", ClosedError("the outbox was closed"))

    def _refuse_posters(self) -> None:
        """From now on a poster sees that there is no pump."""
        self.is_over = True
        self.backlog.sleepers = OVER

    def _give_up(self, message: Message, reason: Reason, error: NetlinkError) -> None:
        self.backlog.count_undelivered(reason)
        if self._on_undelivered is not None:
            tell(self._on_undelivered, message, reason, error)

    def _mark(self, fresh: list[_Flush]) -> None:
        """What flushes wait for, now that the ring held nothing older; and those that may go."""
        marks = [(peer, peer.added) for peer in self.backlog.peers.values()]
        for flush in fresh:
            flush.marks = marks
        for flush in list(self._flushes):
            if flush.is_due():
                flush.give()

    def _until_due(self) -> float:
        """How long the pump may sleep, in seconds."""
        least = len(self.backlog.peers) * SHARE
        return min(max(self._due - time.monotonic(), least), HEARTBEAT)

    def _not_flushed(self, timeout: float) -> NetlinkTimeout:
        now = self.backlog.statistics(time.monotonic())
        peers = ", ".join(map(str, now.full_peers)) or "none"
        return NetlinkTimeout(
            "the sending of what was posted",
            timeout,
            detail=f"messages still held: {now.held}; ports that are full: {peers}",
        )
