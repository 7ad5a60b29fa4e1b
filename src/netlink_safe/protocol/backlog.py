"""What an outbox holds, and what became of the rest; without a lock.

::

    post() --> ring --> the pump's hand --> its peer
                           |  ^
              peer is full v  |  after a pause
                         the peer's queue

Posters append to the ring; the pump, and it alone, takes from it into its hand, one message at a
time, and puts what finds its peer full into a queue of that peer.  Where everything is full, a
poster drops the oldest: the first of a peer's queue, or else of the ring.

Why no lock is needed, in a build with a GIL:

* A message is in one place at every moment, and moves from one to the next in a single call into C,
  so that of two who want the same message one gets it and the other one the next, and whatever
  interrupts the pump, an exception of a signal's handler, too, finds it in one of them.
* To append to the ring is all that a post does, so that whatever interrupts it, a thread or a
  signal's handler, finds the message posted, or not posted, but nothing half done.
* Counts are raised in the same call by which a message leaves the ring, or the hand for good; what
  is held is what was posted less what has ended (``protocol.counters``).
* ``room`` is written by the pump alone, and is never more than there is: only the pump takes from
  the ring, one message at a time, for which ``room`` leaves a place.  A ring that is shorter has
  room for sure; a poster who finds it longer counts what is held, and drops all that is too much.
  Between looking and appending another may do the same, so that ``capacity`` can be passed by one
  message for each thread that posts at that moment; the next post finds them, so they never add up.

May call ``protocol`` and ``errors``.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import attrs

from netlink_safe.errors import OutboxFull
from netlink_safe.protocol.counters import (
    Count,
    move,
    move_and_count,
    move_back,
    read,
    read_with,
    take_and_count,
)
from netlink_safe.protocol.figures import OutboxStatistics
from netlink_safe.protocol.pauses import Pauses

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

#: Payload, port ID, and when it was posted (monotonic, in seconds).
Message: TypeAlias = tuple[bytes, int, float]

WhenFull: TypeAlias = Literal["drop_oldest", "drop_newest", "raise"]

#: Why a message was given up, as statistics name it.
Reason: TypeAlias = Literal["deadline", "no_such_peer", "refused", "closed"]
REASONS: Final[tuple[Reason, ...]] = ("deadline", "no_such_peer", "refused", "closed")

#: Less than any ring's length: whoever wants to append has to ask.
NO_ROOM: Final = -1
#: How many messages the pump may have taken since it last measured.
IN_HAND: Final = 1


@attrs.define(slots=True, eq=False)
class Peer:
    """A peer that was full: what waits for it, in order, and when it is tried again.

    ``added`` counts what was ever put into ``queue``, so that what has left it is known, too.
    """

    port_id: int
    queue: deque[Message] = attrs.field(factory=deque)
    added: int = 0
    pauses: Pauses = attrs.field(factory=Pauses)
    due: float = 0.0

    @property
    def left(self) -> int:
        """How many have left the queue, whoever took them."""
        return self.added - len(self.queue)


class Backlog:
    """The ring, the queues of peers that are full, and the counts.

    Any thread may append to ``ring`` if ``len(ring) < room``, or else if ``make_room()`` says so;
    all other methods but ``statistics`` are the pump's.  Who has appended is to wake the pump if
    there is anything in ``sleepers``.  ``is_closed`` says that there is to be no room any more.
    ``hand`` has the message that the pump is at, or none.
    """

    def __init__(self, capacity: int, when_full: WhenFull) -> None:
        self.capacity = capacity
        self.room: int = capacity - IN_HAND
        self.sleepers: Collection[object] = ()
        self.is_closed = False
        self.ring: deque[Message] = deque()
        self.hand: deque[Message] = deque()
        self.peers: dict[int, Peer] = {}
        self._when_full = when_full
        self._taken = Count()
        self._sent = Count()
        self._undelivered: dict[Reason, Count] = {reason: Count() for reason in REASONS}
        self._dropped_newest = Count()
        self._dropped_from_ring = Count()
        self._dropped_from_queues = Count()
        self._refused = Count()
        self._taken_and_ended = [
            self._taken,
            self._sent,
            self._dropped_from_queues,
            *self._undelivered.values(),
        ]

    # What posters call.

    def make_room(self) -> bool:
        """Whether a message may be appended although the ring is long.

        Raises OutboxFull where everything is full and that is what was asked for.
        """
        if self._held() < self.capacity:
            return True
        if self._when_full == "drop_oldest":
            while self._drop_oldest() and self._held() >= self.capacity:
                pass
            return True
        if self._when_full == "drop_newest":
            self._dropped_newest.up()
            return False
        self._refused.up()
        raise OutboxFull(self.capacity)

    def _held(self) -> int:
        """How many messages are held, in the ring or elsewhere."""
        in_ring, (taken, *ended) = read_with(self.ring, self._taken_and_ended)
        return in_ring + taken - sum(ended)

    def _drop_oldest(self) -> bool:
        """Drop what was posted first; False where the pump has all there is in its hands."""
        peers = list(self.peers.values())  # in one call: the pump may change them meanwhile
        while peers:
            peer = min(peers, key=_age_of_first)
            if take_and_count(peer.queue, self._dropped_from_queues):
                return True
            peers.remove(peer)
        return take_and_count(self.ring, self._dropped_from_ring) is not None

    # What the pump calls.

    def take(self) -> Message | None:
        """The first message of the ring, now in the hand; None of an empty one."""
        move_and_count(self.ring, self.hand, self._taken)
        return self._in_hand()

    def take_of(self, peer: Peer) -> Message | None:
        """The first message that waits for a peer, now in the hand."""
        move(peer.queue, self.hand)
        return self._in_hand()

    def take_any(self) -> Message | None:
        """Whatever is held, one after the other and those of each peer in order, in the hand."""
        if self.hand:
            return self._in_hand()
        while self.peers:
            port_id, peer = next(iter(self.peers.items()))
            if (message := self.take_of(peer)) is not None:
                return message
            del self.peers[port_id]
        return self.take()

    def keep(self, port_id: int) -> Peer:
        """Put the message in the hand behind what waits for its peer."""
        peer = self.peers.get(port_id)
        if peer is None:
            peer = self.peers[port_id] = Peer(port_id)
        peer.added += 1
        move(self.hand, peer.queue)
        return peer

    def put_back(self, peer: Peer) -> None:
        """Put the message in the hand before what waits for its peer, where it came from."""
        move_back(self.hand, peer.queue)

    def count_sent(self) -> None:
        """The message in the hand has been sent, and is held no more."""
        take_and_count(self.hand, self._sent)

    def count_undelivered(self, reason: Reason) -> None:
        """The message in the hand has been given up, and is held no more."""
        take_and_count(self.hand, self._undelivered[reason])

    def tidy(self) -> None:
        """Forget peers for whom nothing waits."""
        for peer in [peer for peer in self.peers.values() if not peer.queue]:
            del self.peers[peer.port_id]

    def measure(self) -> None:
        """Say anew how long the ring may be, beside what has been taken and has not ended."""
        taken, *ended = read(self._taken_and_ended)
        room = self.capacity - (taken - sum(ended)) - IN_HAND
        self.room = NO_ROOM if self.is_closed else room

    def _in_hand(self) -> Message | None:
        return self.hand[0] if self.hand else None

    # What anybody may call.

    def take_back(self, message: Message) -> bool:
        """Whether a message could be taken out of the ring again, as if it had not been posted."""
        try:
            self.ring.remove(message)
        except (ValueError, IndexError):  # the pump took it, or another one meanwhile
            return False
        return True

    def statistics(self, now: float) -> OutboxStatistics:
        """What was counted, at one moment; the ages and peers of about the same."""
        in_ring, counted = read_with(
            self.ring,
            [
                self._taken,
                self._sent,
                self._dropped_newest,
                self._dropped_from_ring,
                self._dropped_from_queues,
                self._refused,
                *self._undelivered.values(),
            ],
        )
        taken, sent, newest, from_ring, from_queues, refused, *undelivered = counted
        peers = list(self.peers.values())
        queues = [self.hand, self.ring, *(peer.queue for peer in peers)]
        firsts = [message for queue in queues for message in _first(queue)]
        return OutboxStatistics(
            capacity=self.capacity,
            posted=in_ring + taken + newest + from_ring,
            sent=sent,
            dropped={"oldest": from_ring + from_queues, "newest": newest},
            undelivered=sum(undelivered),
            undelivered_because=dict(zip(self._undelivered, undelivered, strict=True)),
            held=in_ring + taken - sent - from_queues - sum(undelivered),
            refused=refused,
            oldest_age=max((max(now - message[2], 0.0) for message in firsts), default=None),
            full_peers=tuple(peer.port_id for peer in peers),
        )


def _first(queue: deque[Message]) -> Iterable[Message]:
    """The first of a queue that others may empty at any time; nothing from an empty one."""
    try:
        return (queue[0],)
    except IndexError:
        return ()


def _age_of_first(peer: Peer) -> float:
    for message in _first(peer.queue):
        return message[2]
    return math.inf
