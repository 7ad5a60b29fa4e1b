"""Whatever is raised wherever in a watched lock leaves it free, and no stretch behind."""

from __future__ import annotations

import gc
import signal
import sys
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

import kernel
import netlink_safe as nls
from netlink_safe.transport import locks
from watching_locks import HERE, free

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType


pytestmark = pytest.mark.usefixtures("nothing_held_at_the_end")


class Interrupted(BaseException):
    """What a signal's handler raises."""


def raising_at(event: int, used: Callable[[], None]) -> bool:
    """Raise where the library's so-many-th function or line begins; False where there is none."""
    left = event

    def trace(frame: FrameType, kind: str, _: object) -> Any:
        nonlocal left
        if not frame.f_globals.get("__name__", "").startswith(HERE):
            return None
        if kind in {"call", "line"}:
            left -= 1
            if left < 0:
                sys.settrace(before)
                raise Interrupted
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        used()
    except Interrupted:
        return True
    finally:
        sys.settrace(before)
    return False


def by_block(lock: Any) -> None:
    with lock:
        assert not free(lock)


def by_name(lock: Any) -> None:
    lock.acquire()
    try:
        assert not free(lock)
    finally:
        lock.release()


def twice(lock: Any) -> None:
    with lock:
        by_block(lock) if hasattr(lock, "_is_owned") else None
        assert not free(lock)


def by_condition(lock: Any) -> None:
    condition = threading.Condition(lock)
    with condition:
        condition.wait(0)
        assert not free(lock)


@pytest.fixture
def _no_collector() -> Iterator[None]:
    """What is raised in a callback of it reaches nobody."""
    with kernel.without_collector():
        yield


@pytest.mark.usefixtures("_no_collector")
@pytest.mark.parametrize("used", [by_block, by_name, twice, by_condition])
@pytest.mark.parametrize("new", [threading.Lock, threading.RLock])
def test_whatever_is_raised_in_the_wrapper_the_lock_is_free(
    new: Callable[[], Any], used: Callable[[Any], None]
) -> None:
    """Wherever it is raised; nothing is left in the table, and no block runs without the lock."""
    watched = nls.watch_lock(new())
    event = 0
    while raising_at(event, partial(used, watched)):
        assert free(watched)
        assert locks.held == {}
        event += 1
    assert event > 10


@pytest.mark.usefixtures("_no_collector")
def test_whatever_is_raised_in_no_waiting_its_stretch_has_ended() -> None:
    """An entry that stays would forbid every wait from then on."""

    def stretch() -> None:
        with nls.no_waiting():
            assert locks.held

    event = 0
    while raising_at(event, stretch):
        assert locks.held == {}
        event += 1
    assert event > 10


@pytest.mark.parametrize("watch", [lambda lock: lock, nls.watch_lock], ids=["plain", "watched"])
@pytest.mark.parametrize("new", [threading.Lock, threading.RLock])
def test_an_alarm_whose_handler_raises_leaves_no_lock_taken(
    new: Callable[[], Any], watch: Callable[[Any], Any]
) -> None:
    """Whenever it comes: a lock that is watched is as safe from it as the lock itself."""

    def handler(*_: object) -> None:
        raise Interrupted

    lock = watch(new())
    alarms = left = stale = 0
    gc.disable()  # what is raised in a callback of the collector reaches nobody
    before = signal.signal(signal.SIGALRM, handler)
    try:
        for number in range(1000):
            try:
                try:
                    signal.setitimer(signal.ITIMER_REAL, (2 + number % 97) * 1e-6)
                    for _ in range(100_000):
                        with lock:
                            pass
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
            except Interrupted:
                alarms += 1
            if not free(lock):
                left += 1
                lock.release()
            stale += bool(locks.held)
    finally:
        signal.signal(signal.SIGALRM, before)
        gc.enable()
    assert (left, stale) == (0, 0)
    assert alarms > 900
