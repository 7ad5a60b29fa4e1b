"""Who holds a watched lock: which task, thread, child and loop a wait asks about."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Any

import anyio
import pytest

import kernel
import netlink_safe as nls
from netlink_safe.collectors import tcpstat
from netlink_safe.transport import locks
from surfaces import ASYNC_SURFACES, Surface, on_every_surface, on_surfaces
from verbs import LISTENERS, opened
from watching_locks import WORKING, lock_of, refused

pytestmark = pytest.mark.usefixtures("nothing_held_at_the_end")


@on_surfaces(ASYNC_SURFACES)
async def test_a_lock_that_another_task_holds_is_its_own_affair(surface: Surface) -> None:
    """Of threading or of the loop: a task is asked for what it took itself."""
    for lock in (threading.Lock(), lock_of(surface), anyio.Lock()):
        watched = nls.watch_lock(lock, name="another's")
        taken, done = anyio.Event(), anyio.Event()

        async def hold(
            watched: Any = watched, taken: anyio.Event = taken, done: anyio.Event = done
        ) -> None:
            if hasattr(watched, "__aenter__"):
                await watched.acquire()
            else:
                watched.acquire()
            taken.set()
            await done.wait()
            watched.release()

        async with opened(surface) as it, anyio.create_task_group() as tasks:
            tasks.start_soon(hold)
            await taken.wait()
            for name in WORKING:
                await it.verbs[name]()
            done.set()


@on_every_surface
async def test_a_lock_that_another_thread_holds_is_its_own_affair(surface: Surface) -> None:
    """The third story needs one thread that waits under the lock; this is not it."""
    watched = nls.watch_lock(threading.Lock(), name="another's")
    taken, done = threading.Event(), threading.Event()

    def hold() -> None:
        with watched:
            taken.set()
            assert done.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    assert taken.wait(30)
    try:
        async with opened(surface) as it:
            for name in WORKING:
                await it.verbs[name]()
    finally:
        done.set()
        thread.join()


@on_surfaces(ASYNC_SURFACES)
async def test_child_tasks_do_not_inherit(surface: Surface) -> None:
    """The parent waits for them under its lock, which is the parent's affair."""
    watched = nls.watch_lock(threading.Lock(), name="the parent's")
    async with opened(surface) as it:
        with watched:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(it.verbs["collect"])
            await refused(it.verbs["collect"], "the parent's")


@on_surfaces(ASYNC_SURFACES)
async def test_a_blocking_wait_asks_for_the_whole_thread(surface: Surface) -> None:
    """Whichever task took the lock: none of them runs while their thread waits."""
    watched = nls.watch_lock(lock_of(surface), name="a task's")
    taken, done = anyio.Event(), anyio.Event()

    async def hold() -> None:
        async with watched:
            taken.set()
            await done.wait()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hold)
        await taken.wait()
        with pytest.raises(nls.LockHeldError, match="a task's is held"):
            tcpstat.collect_blocking()
        done.set()


def test_a_lock_taken_outside_any_task_is_held_by_all_of_its_thread() -> None:
    """What was taken before the loop began is released after it has ended."""
    watched = nls.watch_lock(threading.Lock(), name="the program's")
    for backend in ("trio", "asyncio"):
        with watched, pytest.raises(nls.LockHeldError, match="the program's"):
            anyio.run(tcpstat.collect, backend=backend)
        anyio.run(tcpstat.collect, backend=backend)


@on_every_surface
async def test_no_waiting_says_the_same_of_any_stretch(surface: Surface) -> None:
    """Of this thread, and within a task of this task."""
    async with opened(surface) as it:
        with nls.no_waiting():
            error = await refused(it.verbs["collect"], "no_waiting()")
            with nls.no_waiting():
                pass
            await refused(it.verbs["collect"], "no_waiting()")
        assert "test_no_waiting_says_the_same" in error.where
        await it.verbs["collect"]()


def test_the_environment_says_whether_to_raise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Raise unless it says warn, or off; anything else is a mistake."""
    with nls.no_waiting():
        monkeypatch.setenv("NETLINK_SAFE_LOCKS", "warn")
        with pytest.warns(nls.LockHeldWarning, match="no_waiting"):
            tcpstat.collect_blocking()
        monkeypatch.setenv("NETLINK_SAFE_LOCKS", "off")
        tcpstat.collect_blocking()
        monkeypatch.setenv("NETLINK_SAFE_LOCKS", "maybe")
        with pytest.raises(nls.LocalProtocolError, match="none of raise, warn, off"):
            tcpstat.collect_blocking()


def test_a_child_holds_what_its_own_thread_held() -> None:
    """The other threads are not there any more."""
    watched = nls.watch_lock(threading.Lock(), name="another thread's")
    taken, done = threading.Event(), threading.Event()

    def hold() -> None:
        with watched:
            taken.set()
            assert done.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    assert taken.wait(30)
    assert kernel.in_child(lambda: len(locks.held)) == "0"
    with nls.no_waiting():
        assert kernel.in_child(lambda: len(locks.held)) == "1"
    done.set()
    thread.join()


@on_every_surface
async def test_a_refused_wait_does_not_end_an_iteration(surface: Surface) -> None:
    """The rows come when the lock is released, all of them."""
    with contextlib.ExitStack() as made:
        for _ in range(5):
            made.enter_context(socket.create_server(("127.0.0.1", 0)))
        async with surface.open_sock_diag() as diag:
            rows = diag.dump(LISTENERS).__aiter__()
            with nls.no_waiting(), pytest.raises(nls.LockHeldError):
                await rows.__anext__()
            assert len([row async for row in rows]) == 5


def test_no_waiting_is_entered_once_at_a_time() -> None:
    """The inner block would end the outer one's stretch."""
    stretch = nls.no_waiting()
    for _ in range(2):
        with stretch, pytest.raises(nls.LocalProtocolError, match="entered already"), stretch:
            pass


@on_surfaces(ASYNC_SURFACES)
async def test_an_rlock_is_held_by_every_task_that_took_it(surface: Surface) -> None:
    """Those of one thread do not exclude each other; it is free when the last has released it."""
    watched = nls.watch_lock(threading.RLock(), name="shared")
    taken, done = anyio.Event(), anyio.Event()

    async def hold() -> None:
        with watched:
            taken.set()
            await done.wait()
            await refused(surface.collect, "shared")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hold)
        await taken.wait()
        await surface.collect()
        with watched:
            await refused(surface.collect, "shared")
        done.set()
    await surface.collect()
