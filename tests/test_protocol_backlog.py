"""A backlog without its pump: where each message is, what room there is, what is counted."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from netlink_safe.errors import OutboxFull
from netlink_safe.protocol.backlog import REASONS, Backlog, Peer
from netlink_safe.protocol.figures import OutboxStatistics

if TYPE_CHECKING:
    from netlink_safe.protocol.backlog import Message, Reason, WhenFull


def message(number: int, port_id: int = 1) -> Message:
    return b"%d" % number, port_id, float(number)


def filled(*numbers: int, capacity: int = 4, when_full: WhenFull = "drop_oldest") -> Backlog:
    """One whose ring has these messages."""
    backlog = Backlog(capacity, when_full)
    backlog.ring.extend(map(message, numbers))
    return backlog


def numbers(queue: deque[Message]) -> list[int]:
    return [int(payload) for payload, _, _ in queue]


def kept(backlog: Backlog, port_id: int, times: int = 1) -> Peer:
    """Messages that found their peer full, in its queue."""
    for _ in range(times):
        assert backlog.take() is not None
        peer = backlog.keep(port_id)
    return peer


def test_a_backlog_begins_empty() -> None:
    """With room for all but one: that is the pump's hand."""
    backlog = Backlog(4, "raise")
    assert (backlog.capacity, backlog.room, backlog.sleepers) == (4, 3, ())
    assert backlog.is_closed is False
    assert backlog.take() is None
    assert backlog.take_any() is None
    assert backlog.statistics(5.0) == OutboxStatistics(
        capacity=4,
        posted=0,
        sent=0,
        dropped={"oldest": 0, "newest": 0},
        undelivered=0,
        undelivered_because=dict.fromkeys(REASONS, 0),
        held=0,
        refused=0,
        oldest_age=None,
        full_peers=(),
    )


def test_a_message_is_taken_sent_and_counted() -> None:
    """It is held until it is sent."""
    backlog = filled(1, 2)
    assert backlog.take() == message(1)
    assert (numbers(backlog.hand), numbers(backlog.ring)) == ([1], [2])
    assert (backlog.statistics(0.0).held, backlog.statistics(0.0).sent) == (2, 0)
    backlog.count_sent()
    now = backlog.statistics(0.0)
    assert (now.posted, now.held, now.sent) == (2, 1, 1)
    assert not backlog.hand
    assert backlog.take() == message(2)
    assert backlog.take_any() == message(2)
    assert numbers(backlog.hand) == [2]


@pytest.mark.parametrize("reason", REASONS)
def test_what_is_given_up_is_counted_by_its_reason(reason: Reason) -> None:
    """And is held no more."""
    backlog = filled(1, 2)
    backlog.take()
    backlog.count_undelivered(reason)
    now = backlog.statistics(0.0)
    assert (now.posted, now.held, now.sent, now.undelivered) == (2, 1, 0, 1)
    assert now.undelivered_because == {**dict.fromkeys(REASONS, 0), reason: 1}


def test_what_finds_its_peer_full_waits_in_order() -> None:
    """It is taken from the front, and what is put back stands at the front again."""
    backlog = filled(1, 2, 3, 4)
    peer = kept(backlog, 7, 3)
    assert backlog.peers == {7: peer}
    assert (peer.port_id, numbers(peer.queue), peer.added, peer.left) == (7, [1, 2, 3], 3, 0)
    assert backlog.take_of(peer) == message(1)
    assert (numbers(backlog.hand), numbers(peer.queue), peer.left) == ([1], [2, 3], 1)
    backlog.put_back(peer)
    assert (numbers(backlog.hand), numbers(peer.queue), peer.left) == ([], [1, 2, 3], 0)
    now = backlog.statistics(10.0)
    assert (now.held, now.full_peers, now.oldest_age) == (4, (7,), 9.0)


def test_the_oldest_age_is_of_what_waits_longest_anywhere() -> None:
    """In the hand, in the ring or with a peer; a clock that lags gives no negative age."""
    backlog = filled(3, 1, 2)
    kept(backlog, 7)
    assert backlog.statistics(10.0).oldest_age == 9.0
    backlog.take()
    backlog.count_sent()
    assert backlog.statistics(10.0).oldest_age == 8.0
    backlog.take()
    assert backlog.statistics(10.0).oldest_age == 8.0
    backlog.count_sent()
    assert backlog.statistics(10.0).oldest_age == 7.0
    assert backlog.statistics(2.0).oldest_age == 0.0
    assert backlog.statistics(3.5).oldest_age == 0.5


def test_a_peer_for_whom_nothing_waits_is_forgotten() -> None:
    """And no other."""
    backlog = filled(1, 2)
    one, other = kept(backlog, 7), kept(backlog, 8)
    backlog.take_of(one)
    backlog.count_sent()
    backlog.tidy()
    assert backlog.peers == {8: other}


def test_whatever_is_held_is_taken_one_after_the_other() -> None:
    """What is in the hand, then peer by peer, then the ring; peers that are empty are forgotten."""
    backlog = filled(1, 2, 3, 4, 5, capacity=9)
    kept(backlog, 7, 2)
    kept(backlog, 8)
    backlog.take()
    taken = []
    while (one := backlog.take_any()) is not None:
        taken.append(int(one[0]))
        backlog.count_undelivered("closed")
    assert taken == [4, 1, 2, 3, 5]
    assert backlog.peers == {}
    assert backlog.statistics(0.0).undelivered_because["closed"] == 5


def test_room_is_what_is_left_beside_what_was_taken_and_has_not_ended() -> None:
    """Measured when the pump says so; and none once there is to be no room any more."""
    backlog = filled(1, 2, 3, 4)
    kept(backlog, 7, 2)
    backlog.take()
    backlog.count_sent()
    assert backlog.room == 3
    backlog.measure()
    assert backlog.room == 1
    backlog.take()
    backlog.count_undelivered("refused")
    backlog.measure()
    assert backlog.room == 1
    backlog.take_any()
    backlog.count_sent()
    backlog.measure()
    assert backlog.room == 2
    backlog.is_closed = True
    backlog.measure()
    assert backlog.room == -1


def test_a_message_can_be_taken_back_while_it_is_in_the_ring() -> None:
    """As if it had not been posted; what the pump has taken is too late."""
    backlog = filled(1, 2)
    assert backlog.take_back(message(2)) is True
    assert backlog.take_back(message(2)) is False
    backlog.take()
    assert backlog.take_back(message(1)) is False
    assert backlog.statistics(0.0).posted == 1

    class Emptied(deque[Any]):
        """A ring that another one empties while it is searched."""

        def remove(self, _value: object) -> None:
            raise IndexError("deque mutated during remove().")

    backlog.ring = Emptied()
    assert backlog.take_back(message(1)) is False


@pytest.mark.parametrize("when_full", ["drop_oldest", "drop_newest", "raise"])
def test_there_is_room_while_less_is_held_than_the_capacity(when_full: WhenFull) -> None:
    """Wherever it is held; and nothing is dropped or refused for it."""
    backlog = filled(1, 2, 3, when_full=when_full)
    kept(backlog, 7)
    assert backlog.make_room() is True
    now = backlog.statistics(0.0)
    assert (now.held, now.dropped, now.refused) == (3, {"oldest": 0, "newest": 0}, 0)


def test_where_everything_is_full_the_newest_is_dropped_or_refused() -> None:
    """As was asked for; what is held stays."""
    backlog = filled(1, 2, 3, 4, when_full="drop_newest")
    kept(backlog, 7)
    assert backlog.make_room() is False
    now = backlog.statistics(0.0)
    assert (now.held, now.dropped, now.posted) == (4, {"oldest": 0, "newest": 1}, 5)
    backlog = filled(1, 2, 3, 4, when_full="raise")
    kept(backlog, 7)
    with pytest.raises(OutboxFull) as error:
        backlog.make_room()
    assert error.value.capacity == 4
    now = backlog.statistics(0.0)
    assert (now.held, now.refused, now.posted) == (4, 1, 4)


def test_where_everything_is_full_the_oldest_is_dropped() -> None:
    """The first of the peer whose first waits longest; of the ring where no peer has any."""
    backlog = filled(2, 1, 3, 4)
    one, other = kept(backlog, 7), kept(backlog, 8)
    assert backlog.make_room() is True
    assert (numbers(one.queue), numbers(other.queue), numbers(backlog.ring)) == ([2], [], [3, 4])
    now = backlog.statistics(0.0)
    assert (now.held, now.dropped) == (3, {"oldest": 1, "newest": 0})
    backlog.ring.append(message(5))
    assert backlog.make_room() is True
    backlog.ring.append(message(6))
    assert backlog.make_room() is True
    assert (numbers(one.queue), numbers(backlog.ring)) == ([], [4, 5, 6])
    assert backlog.statistics(0.0).dropped == {"oldest": 3, "newest": 0}
    assert backlog.statistics(0.0).posted == 6


def test_all_that_is_too_much_is_dropped() -> None:
    """Others may have posted between looking and appending."""
    backlog = filled(1, 2, 3, 4, 5, 6)
    assert backlog.make_room() is True
    assert numbers(backlog.ring) == [4, 5, 6]


def test_what_the_pump_has_in_its_hand_is_not_dropped() -> None:
    """Where it holds everything, there is room all the same: one message more for a moment."""
    backlog = filled(1, capacity=1)
    backlog.take()
    assert backlog.make_room() is True
    assert numbers(backlog.hand) == [1]
    assert backlog.statistics(0.0).dropped["oldest"] == 0


def test_a_peer_is_itself_and_has_not_waited() -> None:
    """Two of the same port ID are two."""
    peer = Peer(7)
    assert (peer.queue, peer.added, peer.due) == (deque(), 0, 0.0)
    assert peer != Peer(7)
    assert [field.name for field in attrs.fields(Peer)] == [
        "port_id", "queue", "added", "pauses", "due",
    ]  # fmt: skip
