"""An outbox, driven a step at a time: what is posted is sent once and in order, or counted."""

from __future__ import annotations

import contextlib
import sys
import time
from collections import Counter, defaultdict
from itertools import count as counting
from typing import TYPE_CHECKING, Any, cast

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

import kernel
from netlink_safe.errors import KernelError, NoSuchPeer, OutboxFull, PeerQueueFull
from netlink_safe.protocol import backlog as backlog_room
from netlink_safe.protocol import counters as counters_room
from netlink_safe.protocol.backlog import Backlog
from netlink_safe.protocol.counters import Count, read, read_with, take_and_count
from netlink_safe.transport import pump as pump_room
from netlink_safe.transport.pump import Pump
from netlink_safe.transport.terms import Wait

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Iterator
    from types import FrameType

    from netlink_safe.protocol.backlog import WhenFull
    from netlink_safe.protocol.message import Undelivered

PEERS = (1, 2, 3)


class Peers:
    """Stands for the kernel: each peer has so much room, or is gone, or refuses."""

    def __init__(self) -> None:
        self.room = dict.fromkeys(PEERS, 0)
        self.heard: dict[int, list[int]] = defaultdict(list)
        self.gone: set[int] = set()
        self.refusing: set[int] = set()

    def send_nowait(self, payload: bytes, port_id: int) -> None:
        if port_id in self.gone:
            raise NoSuchPeer(port_id)
        if port_id in self.refusing:
            raise KernelError(1, "a message")
        if not self.room[port_id]:
            raise PeerQueueFull(port_id)
        self.room[port_id] -= 1
        self.heard[port_id].append(int(payload))


class Bench:
    """A backlog, its pump, and what was posted by whom."""

    def __init__(self, capacity: int, when_full: WhenFull) -> None:
        self.peers = Peers()
        self.backlog = Backlog(capacity, when_full)
        self.undelivered: list[Undelivered] = []
        self.pump = Pump(cast("Any", self.peers), False, self.backlog, 1e9, self.undelivered.append)
        self.steps: Iterator[Any] = self.pump.run()
        self.posted: list[tuple[int, int]] = []
        self.appended: list[tuple[int, int]] = []
        self.number = 0
        self.refused = 0

    def post(self, port_id: int) -> None:
        """As ``Outbox.post`` does."""
        backlog = self.backlog
        self.number += 1
        one = (self.number, port_id)
        if len(backlog.ring) >= backlog.room:
            try:
                if not backlog.make_room():
                    self.posted.append(one)
                    return
            except OutboxFull:
                self.refused += 1
                return
        self.posted.append(one)
        self.appended.append(one)
        backlog.ring.append((b"%d" % self.number, port_id, float(self.number)))

    def pass_(self) -> None:
        """Everything that the pump can do now, the pauses being over."""
        for peer in self.backlog.peers.values():
            peer.due = 0.0
        self.pump._due = 0.0
        for step in self.steps:
            if isinstance(step, Wait):
                return

    def held(self) -> list[int]:
        """The numbers of what is held, wherever it is."""
        queues: list[deque[Any]] = [peer.queue for peer in self.backlog.peers.values()]
        return [int(m[0]) for queue in (*queues, self.backlog.ring) for m in queue]

    def check(self) -> None:
        now = self.backlog.statistics(time.monotonic())
        assert now.posted == len(self.posted)
        assert now.refused == self.refused
        assert now.posted == now.sent + sum(now.dropped.values()) + now.undelivered + now.held
        assert now.undelivered == sum(now.undelivered_because.values()) == len(self.undelivered)
        assert now.held == len(self.held()) <= now.capacity
        heard = [number for numbers in self.peers.heard.values() for number in numbers]
        assert now.sent == len(heard) == len(set(heard))
        for numbers in self.peers.heard.values():
            assert numbers == sorted(numbers)


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("post"), st.sampled_from(PEERS)),
        st.tuples(st.just("read"), st.sampled_from(PEERS)),
        st.tuples(st.sampled_from(["go", "come", "refuse", "relent"]), st.sampled_from(PEERS)),
        st.tuples(st.just("pass"), st.just(0)),
    ),
    max_size=80,
)


def perform(bench: Bench, operation: str, port_id: int) -> None:
    """One operation of the lists above."""
    peers = bench.peers
    if operation == "post":
        bench.post(port_id)
    elif operation == "read":
        peers.room[port_id] += 1
    elif operation == "pass":
        bench.pass_()
    elif operation in {"go", "come"}:
        (peers.gone.add if operation == "go" else peers.gone.discard)(port_id)
    else:
        (peers.refusing.add if operation == "refuse" else peers.refusing.discard)(port_id)


@given(OPERATIONS, st.integers(1, 6), st.sampled_from(["drop_oldest", "drop_newest", "raise"]))
@settings(max_examples=400)
def test_whatever_happens_the_sums_hold_and_order_is_kept(
    operations: list[tuple[str, int]], capacity: int, when_full: WhenFull
) -> None:
    """Nothing is lost without being counted, sent twice, or sent before what was posted earlier."""
    bench = Bench(capacity, when_full)
    for operation, port_id in operations:
        perform(bench, operation, port_id)
        bench.check()
    bench.pump.give_up()
    bench.pass_()
    bench.check()
    assert bench.backlog.statistics(0.0).held == 0


@pytest.mark.anywhere
@given(OPERATIONS, st.integers(1, 6))
def test_what_is_dropped_is_the_oldest(operations: list[tuple[str, int]], capacity: int) -> None:
    """Wherever it waits: in the ring, or in the queue of a peer that is full."""
    bench = Bench(capacity, "drop_oldest")
    for operation, port_id in operations:
        before = bench.held()
        perform(bench, operation, port_id)
        if operation == "post" and len(before) == capacity:
            assert set(before) - set(bench.held()) == {min(before)}


@pytest.mark.anywhere
@given(OPERATIONS, st.integers(1, 6))
def test_a_full_peer_holds_up_nobody_else(operations: list[tuple[str, int]], capacity: int) -> None:
    """After each pass nothing waits for a peer that has room."""
    bench = Bench(capacity, "drop_oldest")
    for operation, port_id in operations:
        perform(bench, operation, port_id)
        if operation == "pass":
            waiting = {port for number, port in bench.posted if number in bench.held()}
            assert not any(bench.peers.room[port] for port in waiting)


@pytest.mark.anywhere
@given(st.integers(1, 6), st.lists(st.sampled_from(PEERS), min_size=20, max_size=60))
def test_posts_between_the_steps_of_the_pump_do_not_add_up(capacity: int, ports: list[int]) -> None:
    """However often one slips in as the pump takes a message, at most one is held too many."""
    bench = Bench(capacity, "drop_oldest")
    take, most = bench.backlog.take, 0

    def take_as_another_posts() -> Any:
        nonlocal most
        taken = take()
        if ports:
            bench.post(ports.pop())
        most = max(most, bench.backlog.statistics(0.0).held)
        return taken

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench.backlog, "take", take_as_another_posts)
        while ports:
            bench.post(ports.pop())
            bench.pass_()
    assert most <= capacity + 1
    bench.post(PEERS[0])
    bench.check()


class Interruption:
    """Raises KeyboardInterrupt at the n-th line of the pump's rooms, once."""

    ROOMS = (pump_room.__file__, backlog_room.__file__, counters_room.__file__)

    def __init__(self, number: int) -> None:
        self.left = number

    def __enter__(self) -> None:
        self.tracing = sys.gettrace()
        sys.settrace(self.trace)

    def __exit__(self, *_: object) -> None:
        sys.settrace(self.tracing)

    def trace(self, frame: FrameType, event: str, _argument: object) -> Any:
        if frame.f_code.co_filename in self.ROOMS and event == "line":
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt
        return self.trace


def interrupted_at(number: int) -> bool:
    """Whether there is such a line, in which a pump was interrupted, and all is accounted for."""
    interruption = Interruption(number)
    bench = Bench(20, "drop_oldest")
    bench.peers.room[1], bench.peers.room[2] = 3, 1
    bench.peers.gone.add(3)
    for port_id in PEERS * 3:
        bench.post(port_id)
    with contextlib.suppress(KeyboardInterrupt), interruption:
        bench.pass_()
        bench.peers.room[2] = 1
        bench.pass_()
        bench.pump.end()
    bench.pump.end()  # as who ran the pump does behind it
    now = bench.backlog.statistics(0.0)
    heard = [one for numbers in bench.peers.heard.values() for one in numbers]
    assert bench.pump.is_over
    assert (now.posted, now.held, now.sent + now.undelivered) == (9, 0, 9)
    assert len(heard) == len(set(heard))
    assert len(bench.undelivered) <= now.undelivered
    assert len(heard) - now.sent in {0, 1}  # it was interrupted before it could be counted as sent
    return interruption.left <= 0


@pytest.mark.anywhere
def test_whatever_line_is_interrupted_nothing_is_lost() -> None:
    """Of the pump, as it sends and as it ends: all is accounted for, and nothing is sent twice."""

    def lines() -> int:
        return next(number for number in counting(1) if not interrupted_at(number))

    # In a thread, since an exception of a trace function can stay the one that is being handled.
    assert kernel.in_thread(lines) > 300


@pytest.mark.anywhere
def test_counts_are_read_at_one_moment() -> None:
    """A queue and its count never contradict each other, whatever another thread does meanwhile."""
    from collections import deque
    from threading import Thread

    queue = deque(range(50_000))
    count = Count()

    def take() -> None:
        while take_and_count(queue, count) is not None:
            pass

    takers = [Thread(target=take) for _ in range(3)]
    for taker in takers:
        taker.start()
    while queue:
        length, (taken,) = read_with(queue, [count])
        assert length + taken == 50_000
    for taker in takers:
        taker.join()
    assert read([count]) == [50_000]
    assert take_and_count(queue, count) is None
    assert read([count]) == [50_000]


@pytest.mark.anywhere
def test_no_raise_of_a_count_is_lost() -> None:
    """Eight threads raise it a hundred thousand times each."""
    from threading import Thread

    count = Count()

    def raise_it() -> None:
        for _ in range(100_000):
            count.up()

    threads = [Thread(target=raise_it) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read([count]) == [800_000]


@pytest.mark.anywhere
@pytest.mark.parametrize("when_full", ["drop_newest", "raise"])
def test_what_is_not_taken_in_changes_nothing_that_is_held(when_full: WhenFull) -> None:
    """The first to come stay."""
    bench = Bench(3, when_full)
    for _ in range(5):
        bench.post(1)
    assert bench.held() == [1, 2, 3]
    now = bench.backlog.statistics(0.0)
    assert Counter(now.dropped) == Counter(newest=2 * (when_full == "drop_newest"), oldest=0)
    assert now.refused == 2 * (when_full == "raise")
    bench.check()
