"""Cancelled anywhere, nothing is left behind and the next call works."""

from __future__ import annotations

import contextlib
import math
import os
import pickle
import threading
from typing import TYPE_CHECKING, Any

import anyio
import pytest

import faults
import kernel
import netlink_safe as nls
from awaits import Awaits
from many_sockets import connections, count, exhaust
from netlink_safe import blocking
from netlink_safe.aio import waiting
from netlink_safe.collectors.tcp_fold import RareFold
from netlink_safe.transport import workers
from netlink_safe.transport.pool import answered
from surfaces import ASYNC_SURFACES, Surface, on_every_surface, on_surfaces, taking_at_most

if TYPE_CHECKING:
    from collections.abc import Iterator

on_async_surfaces = on_surfaces(ASYNC_SURFACES)


@pytest.fixture
def many() -> Iterator[int]:
    """Enough sockets for several datagrams."""
    with connections(300):
        yield 601


@pytest.fixture(autouse=True)
def _one_datagram_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many awaits as there can be: each datagram is waited for, and each turn is given."""
    monkeypatch.setattr(workers, "GATHER_SECONDS", 0)
    monkeypatch.setattr(waiting, "TURN", 0)


async def _dump(diag: Any) -> None:
    await exhaust(diag.dump(nls.tcp_sockets()))


async def _request(diag: Any) -> None:
    with contextlib.suppress(nls.KernelError):
        await diag.request(nls.tcp_socket(("127.0.0.1", 1)))


async def _fold(diag: Any) -> None:
    await diag.fold(nls.tcp_sockets(), RareFold)


async def _read_proc_net(diag: Any) -> None:
    await diag.read_proc_net("snmp")


VERBS = {"dump": _dump, "request": _request, "fold": _fold, "read_proc_net": _read_proc_net}


@pytest.mark.parametrize("verb", VERBS)
@on_async_surfaces
async def test_cancelled_at_every_await_of_a_verb_nothing_is_left(
    surface: Surface, verb: str, many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One run for each await: cancelled there, it leaves no socket, and the next dump is whole."""
    awaits = Awaits(monkeypatch)
    async with surface.open_sock_diag() as diag:
        await VERBS[verb](diag)
        number_of_awaits = awaits.seen
        assert number_of_awaits >= 1
        for number in range(1, number_of_awaits + 1):
            with anyio.CancelScope() as scope:
                awaits.cancel_at(number, scope)
                await VERBS[verb](diag)
            assert scope.cancelled_caught or awaits.seen < number
            awaits.cancel_at(0, scope)
            kernel.until(lambda: len(diag._pool._busy) == 0)
            assert await count(diag) == many
        assert diag.statistics().rejected == {}


@pytest.mark.parametrize("method", ["dump", "counters"])
@on_async_surfaces
async def test_cancelled_at_every_await_of_collect_nothing_is_left(
    surface: Surface, method: str, many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The collector closes what it opened, and counts right the next time."""
    awaits = Awaits(monkeypatch)
    await surface.collect(method=method)
    for number in range(1, awaits.seen + 1):
        with anyio.CancelScope() as scope:
            awaits.cancel_at(number, scope)
            await surface.collect(method=method)
        assert scope.cancelled_caught or awaits.seen < number
        awaits.cancel_at(0, scope)
    stats = await surface.collect(method=method)
    assert sum(stats.states.values()) == many


@on_async_surfaces
async def test_a_dump_outlives_the_scope_that_took_its_first_rows(
    surface: Surface, many: int
) -> None:
    """No cancel scope is held between two rows, so that rows may be taken in several."""
    async with surface.open_sock_diag() as diag:
        dump = diag.dump(nls.tcp_sockets())
        with anyio.fail_after(5):
            await anext(dump)
        with anyio.move_on_after(5):
            await exhaust(dump)
        with pytest.raises(StopAsyncIteration):
            await anext(dump)


@on_async_surfaces
async def test_two_tasks_cannot_take_rows_of_one_dump_at_once(surface: Surface, many: int) -> None:
    """The second is told that it is busy, in anyio's words too; the first goes on."""
    errors: list[Exception] = []

    async def take(dump: Any) -> None:
        try:
            await exhaust(dump)
        except nls.BusyError as error:
            errors.append(error)

    async with surface.open_sock_diag() as diag:
        dump = diag.dump(nls.tcp_sockets())
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(take, dump)
            tasks.start_soon(take, dump)
    assert len(errors) == 1
    assert isinstance(errors[0], anyio.BusyResourceError)
    told = "another task is taking items from this already; one at a time may"
    assert str(errors[0]) == str(pickle.loads(pickle.dumps(errors[0]))) == told  # noqa: S301


@on_async_surfaces
async def test_fifty_tasks_dump_at_once(surface: Surface, many: int) -> None:
    """Each has its own kernel socket and all of the rows."""
    counted: list[int] = []

    async def dump(diag: Any) -> None:
        counted.append(await count(diag))

    async with surface.open_sock_diag() as diag, anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(dump, diag)
    assert counted == [many] * 50


@on_async_surfaces
async def test_closing_wakes_a_task_that_waits(surface: Surface) -> None:
    """A dump whose reply never comes ends in ClosedError when another task closes the object."""
    ended: list[BaseException] = []
    diag = surface.open_sock_diag(timeout=60)

    async def wait_for_ever() -> None:
        try:
            await count(diag)
        except nls.ClosedError as error:
            ended.append(error)

    with faults.filtered(faults.DEAF):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait_for_ever)
            while not diag._waiter._scopes or diag.statistics().attempts == 0:
                await anyio.lowlevel.checkpoint()
            await diag.aclose()
    assert isinstance(ended[0], anyio.ClosedResourceError)


def test_closing_wakes_a_thread_that_waits() -> None:
    """The same on the blocking surface, from another thread."""
    ended: list[BaseException] = []
    diag = blocking.open_sock_diag(timeout=60)
    diag._pool._idle.pop().close()

    def wait_for_ever() -> None:
        try:
            list(diag.dump(nls.tcp_sockets()))
        except nls.ClosedError as error:
            ended.append(error)

    with faults.filtered(faults.DEAF):
        thread = threading.Thread(target=wait_for_ever)
        thread.start()
        kernel.until(lambda: diag._waiter._waiting == 1 and diag.statistics().attempts == 1)
        diag.close()
        thread.join(10)
    assert len(ended) == 1


@on_every_surface
async def test_closing_while_the_kernel_holds_a_call_up_ends_it_at_once(surface: Surface) -> None:
    """The waiting call gets ClosedError, nobody spins, and the thread is left behind."""
    ended: list[BaseException] = []
    async with surface.open_sock_diag(timeout=math.inf) as diag:

        def ask() -> None:
            with pytest.raises(nls.ClosedError) as caught:
                anyio.run(count, diag, backend=surface.backend)
            ended.append(caught.value)

        async def ask_here() -> None:
            with pytest.raises(nls.ClosedError) as caught:
                await count(diag)
            ended.append(caught.value)

        rare_first = "blocking" in surface.name
        with faults.stalled_sends() as stall, taking_at_most(10):
            if rare_first:
                answered.clear()
                thread = threading.Thread(target=ask)
                thread.start()
                assert stall.entered.wait(10)
                await diag.aclose()
                thread.join(10)
            else:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(ask_here)
                    while not stall.entered.is_set():
                        await anyio.lowlevel.checkpoint()
                    await diag.aclose()
            assert len(ended) == 1
            assert diag.statistics().open_sockets == 1, "the kernel still has it"
        kernel.until(lambda: diag.statistics().open_sockets == 0)


@on_async_surfaces
async def test_giving_a_dump_up_wakes_the_task_that_takes_its_rows(surface: Surface) -> None:
    """It gets ClosedError, not a quiet end, and closes the descriptor that it waited on itself."""
    async with surface.open_sock_diag(timeout=math.inf) as diag:
        diag._pool._idle.pop().close()
        with faults.filtered(faults.DEAF):
            dump = diag.dump(nls.tcp_sockets())
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_expect_closed, dump)
                while dump._wait_scope is None or diag.statistics().attempts == 0:
                    await anyio.lowlevel.checkpoint()
                await dump.aclose()
        kernel.until(lambda: diag.statistics().open_sockets == 0)


async def _expect_closed(dump: Any) -> None:
    with pytest.raises(nls.ClosedError, match="given up") as caught:
        await exhaust(dump)
    assert isinstance(caught.value, anyio.ClosedResourceError)


@on_every_surface
async def test_a_dump_that_was_given_up_does_not_look_complete(surface: Surface, many: int) -> None:
    """Asked for more rows it says so, instead of ending as if those were all."""
    async with surface.open_sock_diag() as diag:
        dump = diag.dump(nls.tcp_sockets())
        await anext(aiter(dump))
        await dump.aclose()
        with pytest.raises(nls.ClosedError, match="given up; ask again"):
            await exhaust(dump)
        cancelled = diag.dump(nls.tcp_sockets(), timeout=1e-9)
        for error in (nls.NetlinkTimeout, nls.ClosedError):
            with pytest.raises(error):
                await exhaust(cancelled)


def test_two_threads_cannot_take_rows_of_one_dump_at_once() -> None:
    """The second is told that it is busy; closing it meanwhile is harmless."""
    with blocking.open_sock_diag(timeout=0.5) as diag:
        diag._pool._idle.pop().close()
        with faults.filtered(faults.DEAF):
            dump = diag.dump(nls.tcp_sockets())
            ended: list[BaseException] = []

            def take() -> None:
                try:
                    list(dump)
                except nls.NetlinkError as error:
                    ended.append(error)

            thread = threading.Thread(target=take)
            thread.start()
            kernel.until(lambda: diag._waiter._waiting == 1)
            with pytest.raises(nls.BusyError, match="another thread"):
                next(dump)
            dump.close()
            thread.join(10)
    assert isinstance(ended[0], nls.ClosedError)


@on_async_surfaces
async def test_other_tasks_run_during_a_dump(surface: Surface, many: int) -> None:
    """Between two datagrams, the turn is given."""
    turns = 0

    async def tick() -> None:
        nonlocal turns
        while True:
            await anyio.lowlevel.checkpoint()
            turns += 1

    async with surface.open_sock_diag() as diag, anyio.create_task_group() as tasks:
        tasks.start_soon(tick)
        assert await count(diag) == many
        tasks.cancel_scope.cancel()
    assert turns >= 3


def test_a_signal_handler_may_close_what_its_thread_waits_for() -> None:
    """Ctrl-C's cousin: the wait ends in ClosedError, and no lock is waited for."""
    program = """
import os, signal, socket, sys, threading
import netlink_safe.blocking as blocking
from netlink_safe.errors import ClosedError
from netlink_safe.transport.steps import Wait
diag = blocking.open_sock_diag(timeout=60)
signal.signal(signal.SIGALRM, lambda *_: diag.close())
signal.setitimer(signal.ITIMER_REAL, 0.05)
reading, _ = os.pipe()
try:
    diag._waiter.wait(Wait(reading, 30))
except ClosedError:
    sys.exit(7)
"""
    assert kernel.run_python(program, seconds=20) == 7


def test_sockets_of_the_library_are_not_inherited_by_programs() -> None:
    """They are close-on-exec from the start."""
    with blocking.open_sock_diag() as diag:
        [sock] = diag._pool._idle
        assert not os.get_inheritable(sock.fileno())
