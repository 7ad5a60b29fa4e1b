"""Steps in worker threads: who makes them, who owns them, and what is left of them."""

from __future__ import annotations

import os
import select
import sys
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

import kernel
from netlink_safe.errors import NetlinkTimeout
from netlink_safe.families.tcp import FEATURE, tcp_sockets
from netlink_safe.protocol.deadline import Deadline
from netlink_safe.protocol.statistics import Tally
from netlink_safe.transport import workers
from netlink_safe.transport.namespace import Namespace
from netlink_safe.transport.pool import SocketPool, answered
from netlink_safe.transport.steps import call
from netlink_safe.transport.terms import Terms, Wait
from netlink_safe.transport.workers import Workers, needs_worker, offload

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netlink_safe.transport.terms import Steps


def terms(timeout: float = 10.0, *, may_stall: bool = False) -> Terms:
    return Terms(Deadline(timeout), Tally(), may_stall=may_stall)


def carried(steps: Steps[Any, Any]) -> tuple[list[Any], Any]:
    """Wait as a surface does; give what was handed out and what was returned."""
    handed_out = []
    try:
        while True:
            step = next(steps)
            if isinstance(step, Wait):
                poll = select.poll()
                assert step.descriptor is not None
                poll.register(step.descriptor, select.POLLIN)
                poll.poll(step.seconds * 1000)
            elif step:
                handed_out += step
    except StopIteration as stop:
        return handed_out, stop.value
    finally:
        steps.close()


def who(times: int, now: Terms, stalls_at: int = -1) -> Steps[str, str]:
    """Hand out, at each step, the name of the thread that makes it."""
    for number in range(times):
        now.may_stall = number == stalls_at
        yield [threading.current_thread().name]
    return "the end"


@pytest.fixture
def _every_step_is_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the machine is."""
    monkeypatch.setattr(workers, "QUICK_SECONDS", 1000.0)


HERE = "MainThread"
THERE = "netlink_safe worker"


@pytest.mark.usefixtures("_every_step_is_quick")
def test_the_first_step_is_made_in_a_worker_and_quick_ones_follow_in_the_caller() -> None:
    """What began quickly goes on as it began."""
    now = terms()
    handed_out, returned = carried(offload(who(4, now), now))
    assert handed_out == [THERE, HERE, HERE, HERE]
    assert returned == "the end"


@pytest.mark.usefixtures("_every_step_is_quick")
def test_after_a_step_that_says_so_the_next_ones_are_made_in_a_worker() -> None:
    """An operation that announces a stall is in a thread when it comes."""
    now = terms()
    handed_out, _ = carried(offload(who(5, now, stalls_at=2), now))
    assert handed_out == [THERE, HERE, HERE, THERE, HERE]


def test_slow_steps_stay_in_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not one of them is made in the caller."""
    monkeypatch.setattr(workers, "QUICK_SECONDS", -1.0)
    now = terms()
    handed_out, returned = carried(offload(who(5, now), now))
    assert handed_out == [THERE] * 5
    assert returned == "the end"


def test_an_error_of_a_step_is_raised_in_the_caller_behind_what_came_before() -> None:
    """Rows that were there are handed out first."""

    def failing() -> Steps[int, None]:
        yield [1]
        raise ZeroDivisionError

    now = terms(may_stall=True)
    rows = _rows(offload(failing(), now))
    assert next(rows) == [1]
    with pytest.raises(ZeroDivisionError):
        next(rows)


def test_a_caller_that_gives_up_leaves_the_closing_to_the_thread() -> None:
    """The generator is running in the thread and cannot be closed from outside it."""
    entered, release, closed = threading.Event(), threading.Event(), threading.Event()

    def stuck() -> Steps[int, None]:
        try:
            entered.set()
            release.wait(30)
            yield [1]
        finally:
            closed.set()

    operation = offload(stuck(), terms())
    assert isinstance(next(operation), Wait)
    assert entered.wait(30)
    operation.close()
    assert not closed.is_set()
    release.set()
    assert closed.wait(30)


def test_at_the_deadline_the_caller_is_told_that_the_kernel_holds_the_thread() -> None:
    """With a moment's grace, since the steps themselves know the deadline."""
    release = threading.Event()
    now = terms(0.05)
    now.doing = "a call that never ends"
    with pytest.raises(NetlinkTimeout, match=r"a call that never ends .* has not come back"):
        carried(offload(call(lambda: release.wait(30)), now))
    release.set()
    assert now.tally.timeouts == 1


def test_when_every_thread_is_held_up_the_caller_is_told_so_and_no_more_are_made() -> None:
    """A stuck kernel cannot make ever more threads; what is let go serves the next caller."""
    two = Workers(limit=2)
    release = threading.Event()
    entered = threading.Semaphore(0)

    def stuck() -> bool:
        entered.release()
        return release.wait(30)

    held = [offload(call(stuck), terms(), two) for _ in range(2)]
    for operation in held:
        next(operation)
        assert entered.acquire(timeout=30)
    before = kernel.threads()
    with pytest.raises(NetlinkTimeout, match="every worker thread is held up"):
        carried(offload(call(stuck), terms(0.05), two))
    assert kernel.threads() == before
    release.set()
    assert [carried(operation) for operation in held] == [([], True), ([], True)]
    assert carried(offload(call(lambda: 5), terms(), two)) == ([], 5)


def test_an_operation_that_was_never_begun_is_closed_by_its_caller() -> None:
    """Nothing was opened for it, and no thread ever saw it."""
    operation = offload(who(1, terms()), terms())
    operation.close()
    assert list(operation) == []


def test_a_caller_is_woken_after_the_wakeup_is_written_however_threads_are_switched() -> None:
    """Seen as done before its eventfd was written, a burst made the caller fail with EAGAIN."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for number in range(2000):
            assert carried(offload(call(partial(int, number)), terms())) == ([], number)
    finally:
        sys.setswitchinterval(interval)


def test_a_thread_that_could_not_be_started_does_not_keep_its_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """When threads can be had again, the next call works."""
    own = Workers(limit=2)

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        for _ in range(3):
            with pytest.raises(RuntimeError, match="can't start"):
                carried(offload(call(lambda: 1), terms(), own))
    assert not own._waiting
    assert carried(offload(call(lambda: 5), terms(), own)) == ([], 5)


def test_idle_threads_go_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """After ten seconds; here, after none."""
    monkeypatch.setattr(workers, "IDLE_SECONDS", 0.0)
    own = Workers()
    for _ in range(20):
        assert carried(offload(call(lambda: 1), terms(), own)) == ([], 1)
    kernel.until(lambda: own._threads == 0)


def test_the_first_request_of_its_kind_goes_through_a_worker() -> None:
    """The kernel may load a module for it; what has answered once is loaded."""
    pool = SocketPool(4, 65536, Namespace(None))
    before = set(answered)
    try:
        answered.clear()
        assert needs_worker(pool, ())
        pool.open()
        assert not needs_worker(pool, ())
        assert needs_worker(pool, tcp_sockets())
        answered.add((4, FEATURE))
        assert not needs_worker(pool, tcp_sockets())
        assert not needs_worker(pool, tcp_sockets(states=["listen"]))
        assert needs_worker(pool, tcp_sockets(states=["listen", "close_wait"]))
        assert needs_worker(SocketPool(4, 65536, Namespace("elsewhere")), tcp_sockets())
    finally:
        answered.update(before)
        pool.close()


def _rows(operation: Steps[Any, Any]) -> Iterator[list[Any]]:
    for step in operation:
        if isinstance(step, Wait):
            os.sched_yield()
        elif step:
            yield step
