"""A watched lock is the lock that it was, with conditions and exit stacks, and counts."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import trio

import netlink_safe as nls
from netlink_safe.collectors import tcpstat
from netlink_safe.transport import locks
from test_imports import loaded_by
from watching_locks import free

if TYPE_CHECKING:
    from collections.abc import Callable


pytestmark = pytest.mark.usefixtures("nothing_held_at_the_end")


def test_an_rlock_counts() -> None:
    """It is held until the outermost release."""
    watched = nls.watch_lock(threading.RLock(), name="counted")
    with watched:
        with watched:
            pass
        with pytest.raises(nls.LockHeldError):
            tcpstat.collect_blocking()
    tcpstat.collect_blocking()


def test_a_release_elsewhere_clears_it() -> None:
    """A lock of threading may be released by another thread than took it."""
    watched = nls.watch_lock(threading.Lock(), name="handed over")
    watched.acquire()
    thread = threading.Thread(target=watched.release)
    thread.start()
    thread.join()
    tcpstat.collect_blocking()
    assert not watched.locked()


def test_a_lock_that_was_not_taken_is_not_held() -> None:
    """Neither by an acquire that failed, nor by a release that was nobody's."""
    watched = nls.watch_lock(threading.Lock(), name="busy")
    with watched:
        assert not watched.acquire(blocking=False)
        assert not watched.acquire(timeout=0.01)
        assert len(locks.held) == 1
    with pytest.raises(RuntimeError):
        watched.release()
    tcpstat.collect_blocking()


@pytest.mark.parametrize("kind", [threading.Lock, threading.RLock])
def test_a_condition_of_threading_takes_the_wrapper(kind: Callable[[], Any]) -> None:
    """While it waits the lock is not held; once notified it is again."""
    condition = threading.Condition(nls.watch_lock(kind(), name="its lock"))
    woken: list[str] = []

    def wait() -> None:
        with condition:
            assert condition.wait(30)
            with pytest.raises(nls.LockHeldError, match="its lock"):
                tcpstat.collect_blocking()
            woken.append("once")

    thread = threading.Thread(target=wait)
    thread.start()
    while not condition._waiters:  # type: ignore[attr-defined]
        pass
    with condition:
        with pytest.raises(nls.LockHeldError):
            tcpstat.collect_blocking()
        condition.notify()
    thread.join(30)
    assert woken == ["once"]


@pytest.mark.parametrize(
    ("backend", "new"),
    [
        ("trio", lambda: nls.watch_lock(trio.Condition(), name="its lock")),
        ("trio", lambda: anyio.Condition(nls.watch_lock(anyio.Lock(), name="its lock"))),
        ("trio", lambda: nls.watch_lock(anyio.Condition(), name="its lock")),
        ("asyncio", lambda: anyio.Condition(nls.watch_lock(anyio.Lock(), name="its lock"))),
        ("asyncio", lambda: asyncio.Condition(nls.watch_lock(asyncio.Lock(), name="its lock"))),
    ],
)
def test_conditions_of_the_event_loops(backend: str, new: Callable[[], Any]) -> None:
    """They take the wrapper, or are wrapped themselves."""

    async def main() -> None:
        condition = new()
        waiting, woken = anyio.Event(), anyio.Event()

        async def wait() -> None:
            async with condition:
                waiting.set()
                await condition.wait()
                with pytest.raises(nls.LockHeldError, match="its lock"):
                    await tcpstat.collect()
                woken.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await waiting.wait()
            await tcpstat.collect()
            async with condition:
                with pytest.raises(nls.LockHeldError, match="its lock"):
                    await tcpstat.collect()
                condition.notify()
            await woken.wait()
        await tcpstat.collect()

    anyio.run(main, backend=backend)


@pytest.mark.parametrize(
    "thing",
    [
        None,
        5,
        threading.Event(),
        object(),
        trio.Event,
        threading.Semaphore(2),
        asyncio.Semaphore(2),
        trio.CapacityLimiter(2),
    ],
)
def test_what_is_no_lock_cannot_be_watched(thing: object) -> None:
    """It is said at once."""
    with pytest.raises(nls.LocalProtocolError, match="no lock that can be watched"):
        nls.watch_lock(thing)


@pytest.mark.parametrize("new", [lambda: anyio.Semaphore(1), lambda: anyio.CapacityLimiter(1)])
def test_what_counts_in_anyio_cannot_be_watched_wherever_it_was_made(
    new: Callable[[], object],
) -> None:
    """Within either event loop, and outside."""

    async def refuse() -> None:
        test_what_is_no_lock_cannot_be_watched(new())

    anyio.run(refuse, backend="trio")
    anyio.run(refuse, backend="asyncio")
    test_what_is_no_lock_cannot_be_watched(new())


@pytest.mark.parametrize(
    "lock",
    [
        nls.watch_lock(threading.Lock()),
        nls.watch_lock(threading.RLock()),
        nls.watch_lock(asyncio.Lock()),
        nls.watch_lock(trio.Condition()),
        anyio.Condition(nls.watch_lock(anyio.Lock())),
    ],
)
def test_a_lock_is_watched_once(lock: Any) -> None:
    """Twice would enter it twice; a condition made of a watched lock is watched by that."""
    with pytest.raises(nls.LocalProtocolError, match="is watched already"):
        nls.watch_lock(lock)


def test_a_watched_lock_is_used_as_before() -> None:
    """What it has beside acquire and release is there as well."""
    watched = nls.watch_lock(trio.Lock(), name="a lock")
    assert not watched.locked()
    assert watched.statistics().tasks_waiting == 0
    assert repr(watched).startswith("<watched a lock: ")

    async def main() -> None:
        watched.acquire_nowait()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(another)
        watched.release()

    async def another() -> None:
        with pytest.raises(trio.WouldBlock):
            watched.acquire_nowait()
        assert len(locks.held) == 1

    trio.run(main)


def test_watching_loads_no_event_loop() -> None:
    """A program of threads stays one."""
    program = """
import threading
from netlink_safe.blocking import LockHeldError, no_waiting, watch_lock
from netlink_safe.collectors.tcpstat import collect_blocking
with watch_lock(threading.Lock()):
    try:
        collect_blocking()
    except LockHeldError:
        print("told")
"""
    assert loaded_by(program) == set()


def test_a_condition_of_threading_is_made_of_a_watched_lock() -> None:
    """Its own lock would be taken and released behind the wrapper's back."""
    for condition in (threading.Condition(), asyncio.Condition()):
        with pytest.raises(nls.LocalProtocolError, match=r"Condition\(watch_lock\(lock\)\)"):
            nls.watch_lock(condition)


def test_a_lock_of_asyncio_belongs_to_who_asked_for_it() -> None:
    """Before Python 3.12 wait_for() takes it in a task of its own."""

    async def main() -> None:
        watched = nls.watch_lock(asyncio.Lock(), name="waited for")
        await asyncio.wait_for(watched.acquire(), 5)
        with pytest.raises(nls.LockHeldError, match="waited for"):
            await tcpstat.collect()
        watched.release()
        await tcpstat.collect()

    asyncio.run(main())


def test_a_wait_on_a_condition_that_is_not_held_leaves_nothing() -> None:
    """The mistake is raised, and nobody is taken for its holder."""

    async def main() -> None:
        condition = nls.watch_lock(trio.Condition(), name="not held")
        with pytest.raises(RuntimeError):
            await condition.wait()
        await tcpstat.collect()

    trio.run(main)


def test_a_lock_that_is_gone_is_held_by_nobody() -> None:
    """Its entry goes with it."""
    watched = nls.watch_lock(threading.Lock(), name="gone")
    watched.acquire()
    del watched
    gc.collect()
    tcpstat.collect_blocking()


def test_a_release_that_fails_changes_nothing() -> None:
    """Another thread may not release an RLock; its owner holds it as often as before."""
    watched = nls.watch_lock(threading.RLock(), name="mine")
    failed: list[BaseException] = []

    def release() -> None:
        try:
            watched.release()
        except RuntimeError as error:
            failed.append(error)

    with watched:
        with watched:
            thread = threading.Thread(target=release)
            thread.start()
            thread.join()
            assert len(failed) == 1
        with pytest.raises(nls.LockHeldError):
            tcpstat.collect_blocking()
    tcpstat.collect_blocking()


@pytest.mark.parametrize("new", [threading.Lock, threading.RLock])
def test_a_watched_lock_is_entered_by_an_exit_stack(new: Callable[[], Any]) -> None:
    """Which asks its class for what with calls; so does one of no_waiting()."""
    watched = nls.watch_lock(new(), name="the table")
    for guard, name in ((watched, "the table"), (nls.no_waiting(), "no_waiting()")):
        with contextlib.ExitStack() as stack:
            stack.enter_context(guard)
            with pytest.raises(nls.LockHeldError) as caught:
                tcpstat.collect_blocking()
            assert caught.value.lock == name
            assert "test_a_watched_lock_is_entered" in caught.value.where
        assert locks.held == {}
    assert free(watched)


def test_an_error_of_the_block_comes_out_of_it() -> None:
    """Leaving keeps nothing back."""
    for guard in (nls.watch_lock(threading.Lock()), nls.no_waiting()):
        with pytest.raises(ValueError, match="the block's"), guard:
            raise ValueError("the block's")


def test_a_lock_that_only_its_block_knows_is_held_in_it() -> None:
    """Its entry does not go with the last name of it."""
    with nls.watch_lock(threading.Lock(), name="nameless"):
        gc.collect()
        with pytest.raises(nls.LockHeldError, match="nameless"):
            tcpstat.collect_blocking()
