"""How waits for uevents end: in time, by cancellation, by a close, and who gets what then."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

import kernel
import netlink_safe as nls
from links import Links, names
from netlink_safe import blocking
from netlink_safe.transport.buffers import FLOOR
from surfaces import ASYNC_SURFACES, Surface, on_every_surface, on_surfaces, taking_at_most
from uevents import inject, text

if TYPE_CHECKING:
    from pathlib import Path

from uevents import FAKE


@on_every_surface
async def test_a_receive_ends_in_time_and_the_next_goes_on(surface: Surface) -> None:
    """The error says what was waited for; nothing is closed by it."""
    async with surface.open_uevents() as events:
        for _ in range(2):
            with taking_at_most(2), pytest.raises(nls.NetlinkTimeout, match="silence of kernel"):
                await events.receive(timeout=0.05)
        inject(text("add", FAKE, "usb"))
        assert (await events.receive()).devpath == FAKE
        assert events.statistics().timeouts == 2
        for nonsense in (0, -1, True, "1"):
            with pytest.raises(nls.LocalProtocolError):
                await events.receive(timeout=nonsense)


@on_every_surface
async def test_an_idle_stream_ends_if_that_is_wanted(surface: Surface) -> None:
    """``idle_timeout`` counts from item to item, and closes the stream."""
    async with surface.open_uevents(idle_timeout=0.1) as events:
        inject(text("add", FAKE, "usb"))
        with taking_at_most(5), pytest.raises(nls.NetlinkTimeout):
            _ = [event.devpath async for event in events]
        with pytest.raises(nls.ClosedError):
            await events.receive()


@on_every_surface
async def test_a_closed_stream_says_so(surface: Surface) -> None:
    """Closing twice is harmless; statistics stay."""
    async with surface.open_uevents() as events:
        inject(text("add", FAKE, "usb"))
        await events.receive()
        await events.aclose()
        await events.aclose()
        with pytest.raises(nls.ClosedError):
            await events.receive()
        assert events.statistics().datagrams == 1


def test_a_fork_may_not_read_what_its_parent_opened() -> None:
    """It would steal the parent's events."""
    with blocking.open_uevents() as events:
        told = kernel.in_child(lambda: next(events))
        assert told.startswith("LocalProtocolError: this netlink socket was opened before a fork")
        inject(text("add", FAKE, "usb"))
        assert getattr(events.receive(), "devpath", None) == FAKE


def test_closing_from_another_thread_ends_the_wait() -> None:
    """With ClosedError, and nothing left behind."""
    events = blocking.open_uevents()
    ended: list[BaseException] = []

    def listen() -> None:
        try:
            for _ in events:
                pass
        except nls.ClosedError as error:
            ended.append(error)

    thread = threading.Thread(target=listen)
    thread.start()
    kernel.until(lambda: events._waiter._waiting == 1)
    with pytest.raises(nls.BusyError):
        next(events)
    events.close()
    thread.join(10)
    assert len(ended) == 1


@on_surfaces(ASYNC_SURFACES)
async def test_a_cancelled_wait_loses_nothing(surface: Surface) -> None:
    """What arrives between two cancelled receives is there for the third."""
    import anyio

    async with surface.open_uevents() as events:
        with anyio.move_on_after(0.05):
            await events.receive(timeout=10)
        told: list[Any] = []
        cancelled = 0
        for number in range(200):
            inject(text("add", f"{FAKE}/{number}", "usb"))
            with anyio.CancelScope() as scope:
                if number % 3 == 0:
                    scope.cancel()
                if number % 2:
                    events._turn._since = 0.0  # its turn is over, so that it waits before it gives
                told.append(await events.receive())
            cancelled += scope.cancelled_caught
        while len(told) < 200:
            told.append(await events.receive())
        assert cancelled > 10
        assert [event.devpath for event in told] == [f"{FAKE}/{number}" for number in range(200)]


@on_surfaces(ASYNC_SURFACES)
async def test_two_tasks_do_not_take_each_others_items(surface: Surface) -> None:
    """The second is told that the first is waiting."""
    import anyio

    async with surface.open_uevents() as events, anyio.create_task_group() as tasks:

        async def wait() -> None:
            with pytest.raises(anyio.ClosedResourceError):
                await events.receive()

        tasks.start_soon(wait)
        while not events._waiter._scopes:
            await anyio.lowlevel.checkpoint()
        with pytest.raises(anyio.BusyResourceError):
            await events.receive()
        await events.aclose()


@on_every_surface
async def test_whoever_sleeps_with_an_item_in_hand_gets_what_was_queued_before_the_overrun(
    surface: Surface, sysfs: Path
) -> None:
    """The queue is found empty anew after each item, however long its consumer took."""
    file = sysfs / "class/net/lo/uevent"
    async with surface.open_uevents(subsystem="net", receive_buffer=FLOOR) as events:
        file.write_text("change")
        assert (await events.receive()).action == "change"
        for _ in range(500):
            file.write_text("change")
        items: list[Any] = []
        while not items or not isinstance(items[-1], nls.Resynced):
            items.append(await events.receive())
        assert [type(item) for item in items[-2:]] == [nls.Overrun, nls.Resynced]
        assert len(items) > 10
        assert items[-2].drops + len(items) - 2 == 500


@on_every_surface
async def test_items_in_hand_are_let_go_at_the_close(surface: Surface) -> None:
    """Whoever closes wants no more, however many had been received."""
    async with surface.open_uevents() as events:
        for _ in range(5):
            inject(text("add", FAKE, "usb"))
        await events.receive()
        await events.aclose()
        with pytest.raises(nls.ClosedError):
            await events.receive()


@on_every_surface
async def test_a_receive_within_an_iteration_does_not_end_it(surface: Surface) -> None:
    """Debouncing: take what comes at once, and go on when it falls silent."""
    seen = []
    async with surface.open_uevents(idle_timeout=0.5) as events:
        inject(text("add", FAKE, "usb"))

        async def debounce() -> None:
            async for event in events:
                seen.append(event.action)
                with contextlib.suppress(nls.NetlinkTimeout):
                    while True:
                        seen.append((await events.receive(timeout=0.05)).action)
                if len(seen) < 4:
                    inject(text("change", FAKE, "usb"))
                    inject(text("remove", FAKE, "usb"))

        with pytest.raises(nls.NetlinkTimeout):
            await debounce()
    assert seen == ["add", "change", "remove", "change", "remove"]


@on_every_surface
async def test_an_iteration_that_was_left_can_be_begun_again(surface: Surface) -> None:
    """``break`` loses nothing of what had been received with the last item."""
    async with surface.open_uevents() as events:
        for number in range(10):
            inject(text("add", f"{FAKE}/{number}", "usb"))
        seen: list[str] = []
        while len(seen) < 10:
            async for event in events:
                seen.append(event.devpath)
                if len(seen) % 3 == 0 or len(seen) == 10:
                    break
    assert seen == [f"{FAKE}/{number}" for number in range(10)]


@on_every_surface
async def test_an_idle_timeout_does_not_hide_an_overrun(
    surface: Surface, links: Links, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a look is under way, there is something to be told."""
    from netlink_safe.transport import sightings
    from netlink_safe.transport.sysfs import look

    looks = []

    def slow_look(*arguments: Any) -> Any:
        looks.append(1)
        if len(looks) > 1:
            threading.Event().wait(0.5)
        return look(*arguments)

    monkeypatch.setattr(sightings, "look", slow_look)
    async with surface.open_uevents(
        subsystem="net", receive_buffer=FLOOR, idle_timeout=0.2
    ) as events:
        for left, right in names(range(60)):
            links.make(left, right)
        items: list[Any] = []

        async def take() -> None:
            async for item in events:
                items.append(item)  # noqa: PERF401  # they are to stay when it raises

        with pytest.raises(nls.NetlinkTimeout):
            await take()
        assert [type(item) for item in items if not isinstance(item, nls.Uevent)] == [
            nls.Overrun,
            nls.Resynced,
        ]


def test_closing_under_load_takes_nobody_elses_datagrams() -> None:
    """The number of a closed descriptor is another file's at once."""
    for _ in range(30):
        events = blocking.open_uevents()
        for number in range(300):
            inject(text("add", f"{FAKE}/{number}", "usb"))

        def listen(events: blocking.Uevents = events) -> None:
            with contextlib.suppress(nls.ClosedError):
                for _ in events:
                    pass

        thread = threading.Thread(target=listen)
        thread.start()
        events.close()
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(3)]
        for one, other in pairs:
            one.send(b"mine")
            other.send(b"mine")
        thread.join(10)
        for pair in pairs:
            for sock in pair:
                sock.setblocking(False)
                assert sock.recv(10) == b"mine"
                sock.close()


def test_a_busy_error_leaves_the_other_thread_in_its_iteration() -> None:
    """It goes on with the next event, and the one after."""
    seen: list[str] = []

    def listen() -> None:
        with contextlib.suppress(nls.ClosedError):
            for event in events:
                seen.append(getattr(event, "devpath", ""))  # noqa: PERF401  # as it comes

    with blocking.open_uevents() as events:
        thread = threading.Thread(target=listen)
        thread.start()
        for number in range(3):
            kernel.until(lambda: events._waiter._waiting == 1)
            with pytest.raises(nls.BusyError):
                next(events)
            inject(text("add", f"{FAKE}/{number}", "usb"))
            while len(seen) <= number:
                os.sched_yield()
    thread.join(10)
    assert seen == [f"{FAKE}/{number}" for number in range(3)]


def test_a_socket_that_reuses_the_number_is_left_alone_on_asyncio() -> None:
    """A wait that is cancelled takes its number off the loop later than the close returns."""
    import asyncio

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with nls.open_uevents() as events:
            number = events._follower._socket.fileno() if events._follower._socket else -1
            waiting = asyncio.create_task(events.receive())
            while not events._waiter._scopes:  # noqa: ASYNC110  # nothing tells of it
                await asyncio.sleep(0)
            await events.aclose()
            sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(64)]
            for sock in sockets:
                sock.setblocking(False)
                sock.bind(("127.0.0.1", 0))
                if sock.fileno() != number:
                    continue
                sock.sendto(b"mine", sock.getsockname())
                assert await asyncio.wait_for(loop.sock_recv(sock, 10), 5) == b"mine"
            with pytest.raises(nls.ClosedError):
                await waiting
            for sock in sockets:
                sock.close()

    asyncio.run(main())
