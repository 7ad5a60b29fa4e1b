"""What a post takes, refuses and never does, under locks, in signals, of callbacks."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import sys
import threading
from typing import Any

import anyio
import pytest

import kernel
import netlink_safe as nls
from netlink_safe import blocking
from netlink_safe.transport.wakeup import Wakeup
from outboxes import NOBODY, port_of, read_all, settled
from surfaces import ASYNC_SURFACES, Surface, on_every_surface, on_surfaces


@on_surfaces(ASYNC_SURFACES)
async def test_posting_needs_no_loop_and_no_pump(surface: Surface) -> None:
    """What was posted before the outbox was entered is sent once it is."""
    box = kernel.in_thread(surface.outbox)
    async with surface.open_user() as peer:
        kernel.in_thread(lambda: box.post(b"early", port_id=peer.port_id))
        assert box.statistics().held == 1
        with pytest.raises(nls.LocalProtocolError, match="entered"):
            await box.flush()
        async with box:
            assert (await peer.receive()).payload == b"early"
            with pytest.raises(nls.LocalProtocolError, match="entered already"):
                await box.__aenter__()
        with pytest.raises(nls.ClosedError):
            await box.__aenter__()


@on_every_surface
async def test_posting_is_allowed_under_any_lock(surface: Surface) -> None:
    """What waits is not: flushing, closing, opening another."""
    watched = nls.watch_lock(threading.Lock(), name="the table")
    async with surface.open_user() as peer, surface.outbox() as box:
        with watched:
            box.post(b"x", port_id=peer.port_id)
            box.statistics()
            for wait in (box.flush, box.aclose):
                with pytest.raises(nls.LockHeldError, match="the table is held"):
                    await wait()
            with pytest.raises(nls.LockHeldError):
                async with surface.outbox():
                    pass
        await box.flush()
        assert (await peer.receive()).payload == b"x"


def test_the_eventfd_is_written_once_for_a_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    """A burst of posts is one wakeup; while the pump is awake there is none."""
    written: list[int] = []
    write = os.eventfd_write

    def counted(descriptor: int, value: int) -> None:
        written.append(descriptor)
        write(descriptor, value)

    async def main() -> None:
        async with nls.open_user() as peer, nls.Outbox() as box:
            await settled(box, lambda _: box._backlog.sleepers)
            monkeypatch.setattr(os, "eventfd_write", counted)
            for _ in range(500):
                box.post(b"x", port_id=peer.port_id)
            assert len(written) == 1
            await settled(box, lambda now: now.sent == 500 and box._backlog.sleepers)
            assert len(written) == 1
            box.post(b"x", port_id=peer.port_id)
            assert len(written) == 2
            monkeypatch.setattr(os, "eventfd_write", write)

    for backend in ("trio", "asyncio"):
        anyio.run(main, backend=backend)
        written.clear()


def test_a_signal_handler_may_post_while_its_thread_posts() -> None:
    """There is no lock that the interrupted post could hold; every message arrives once."""
    with blocking.open_user(receive_buffer=64 << 20) as peer, blocking.Outbox(1 << 20) as box:
        handled = []

        def handler(*_: object) -> None:
            box.post(b"from the handler", port_id=peer.port_id)
            handled.append(1)

        before = signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        posted = 0
        try:
            while len(handled) < 100:
                box.post(b"from the thread", port_id=peer.port_id)
                posted += 1
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        box.flush(60)
        now = box.statistics()
        assert (now.posted, now.held) == (posted + len(handled), 0)
        heard = [peer.receive().payload for _ in range(now.sent)]
        assert now.sent == now.posted - sum(now.dropped.values()) - now.undelivered
        assert heard.count(b"from the handler") == len(handled) or now.undelivered


def test_a_message_is_as_it_was_when_it_was_posted(sleeper: socket.socket) -> None:
    """What may change before it is sent is copied."""
    payload = bytearray(b"as it was")
    with blocking.Outbox() as box:
        box.post(payload, port_id=port_of(sleeper))  # type: ignore[arg-type]
        payload[:] = b"different"
        box.flush()
        box.post(memoryview(b"abc"), port_id=port_of(sleeper))  # type: ignore[arg-type]
        box.flush()
    assert read_all(sleeper) == [b"as it was", b"abc"]


@on_every_surface
async def test_what_can_be_no_message_is_refused_by_the_post(surface: Surface) -> None:
    """Not by the pump, later."""
    async with surface.outbox() as box:
        largest = kernel.send_buffer() - 32
        for payload, message in (
            (b"x" * (largest + 1), "send them in parts"),
            (b"", "empty"),
            ("text", "no bytes"),
            (None, "no bytes"),
        ):
            with pytest.raises(nls.LocalProtocolError, match=message):
                box.post(payload, port_id=NOBODY)
        for port_id in (0, -1, 1 << 32, None, "1", True, 1.0):
            with pytest.raises(nls.LocalProtocolError, match="port_id="):
                box.post(b"x", port_id=port_id)
        assert box.statistics().posted == 0


@pytest.mark.parametrize(
    "options",
    [
        {"capacity": 0},
        {"capacity": 1.5},
        {"capacity": None},
        {"when_full": "panic"},
        {"deadline": 0},
        {"deadline": None},
        {"on_undelivered": 5},
        {"on_undelivered": anyio.sleep},
        {"user": socket},
    ],
)
def test_nonsense_is_refused_at_once(options: dict[str, Any]) -> None:
    """On both surfaces, and nothing is left behind."""
    for kind in (nls.Outbox, blocking.Outbox):
        with pytest.raises(nls.LocalProtocolError, match=next(iter(options))):
            kind(**options)


@on_every_surface
async def test_nonsense_timeouts_are_refused(surface: Surface) -> None:
    """By flush and close; the outbox goes on."""
    async with surface.outbox() as box:
        for timeout in (0, -1, None, "1"):
            with pytest.raises(nls.LocalProtocolError, match="timeout="):
                await box.flush(timeout=timeout)
            with pytest.raises(nls.LocalProtocolError, match="timeout="):
                await box.aclose(timeout=timeout)
        await box.flush()


def test_a_free_threaded_build_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """What does without a lock there is not this."""
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    for kind in (nls.Outbox, blocking.Outbox):
        with pytest.raises(nls.LocalProtocolError, match="PYTHON_GIL=1"):
            kind()


def test_a_callback_cannot_wait_for_its_own_pump() -> None:
    """It would wait for ever for itself."""
    told: list[str] = []
    boxes: list[blocking.Outbox] = []

    def wait(_: nls.Undelivered) -> None:
        for verb in (boxes[0].flush, boxes[0].close):
            try:
                verb()
            except nls.LocalProtocolError as error:
                told.append(str(error))

    with blocking.Outbox(on_undelivered=wait) as box:
        boxes.append(box)
        box.post(b"x", port_id=NOBODY)
        box.flush()
        boxes.clear()
    assert told == ["on_undelivered, called by the pump, cannot wait for it"] * 2


def test_a_post_that_is_interrupted_wakes_the_pump_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A signal's handler raises between the appending and the waking; the message is posted."""
    wake = Wakeup.wake
    raised: list[BaseException] = []

    def interrupted(wakeup: Wakeup) -> None:
        if not raised:
            raised.append(KeyboardInterrupt())
            raise raised[0]
        wake(wakeup)

    with blocking.open_user() as peer, blocking.Outbox() as box:
        kernel.until(lambda: bool(box._backlog.sleepers))
        monkeypatch.setattr(Wakeup, "wake", interrupted)
        with pytest.raises(KeyboardInterrupt):
            box.post(b"x", port_id=peer.port_id)
        assert peer.receive().payload == b"x"
        kernel.until(lambda: bool(box._backlog.sleepers))
        box.post(b"y", port_id=peer.port_id)
        assert peer.receive().payload == b"y"


@on_every_surface
async def test_who_posts_never_runs_the_callback(surface: Surface) -> None:
    """It may take locks that the poster holds: it runs where the pump runs, or who closes."""
    told: list[object] = []
    box = surface.outbox(on_undelivered=lambda _: told.append(threading.current_thread()))
    posters: list[threading.Thread] = []

    def post() -> None:
        with contextlib.suppress(nls.ClosedError):
            while True:
                box.post(b"x", port_id=NOBODY)

    async with box:
        posters += [threading.Thread(target=post) for _ in range(4)]
        for poster in posters:
            poster.start()
        await settled(box, lambda now: now.undelivered > 100)
    for poster in posters:
        poster.join()
    assert not set(posters) & set(told)
    assert len(told) == box.statistics().undelivered
    assert box.statistics().held == 0


@on_surfaces(ASYNC_SURFACES)
async def test_entering_under_a_lock_tells_nobody(surface: Surface) -> None:
    """What it holds stays held, and is sent when it is entered without the lock."""
    lock = nls.watch_lock(threading.Lock(), name="the table's lock")
    told: list[nls.Undelivered] = []
    async with surface.open_user() as peer:
        box = surface.outbox(on_undelivered=told.append)
        box.post(b"early", port_id=peer.port_id)
        with lock, pytest.raises(nls.LockHeldError):
            await box.__aenter__()
        async with box:
            assert (await peer.receive()).payload == b"early"
    assert told == []


#: A socket and its namespace, and an eventfd each for waking and for the end.
LEAST = 4


@pytest.mark.parametrize("spare", range(7))
def test_without_descriptors_it_works_or_is_none(spare: int) -> None:
    """What could be opened closes and accounts for all, however few descriptors are to be had."""
    kind = resource.RLIMIT_NOFILE
    soft, hard = resource.getrlimit(kind)
    with blocking.open_user() as peer, contextlib.ExitStack() as stack:
        stack.callback(resource.setrlimit, kind, (soft, hard))
        limit = 1 + max(int(name) for name in os.listdir("/proc/self/fd"))
        resource.setrlimit(kind, (limit, hard))
        with contextlib.suppress(OSError):
            while True:  # so that no number below is left
                stack.callback(os.close, os.dup(0))
        resource.setrlimit(kind, (limit + spare, hard))
        if spare < LEAST:
            with pytest.raises(OSError, match="open files"):
                blocking.Outbox()
            return
        box = blocking.Outbox()
        box.post(b"x", port_id=peer.port_id)
        box.close()
        assert (box.statistics().sent, box.statistics().held) == (1, 0)


def test_it_takes_no_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a post nor a send_nowait calls anything that could wait for another thread."""
    called: list[str] = []

    def profile(_frame: object, event: str, argument: Any) -> None:
        if event == "c_call":
            called.append(getattr(argument, "__qualname__", ""))

    with blocking.open_user() as peer, blocking.Outbox() as box:
        box.flush()
        sys.setprofile(profile)
        try:
            box.post(b"x", port_id=peer.port_id)
            peer.send_nowait(b"y", port_id=peer.port_id)
        finally:
            sys.setprofile(None)
        box.flush()
    assert not [name for name in called if "lock" in name.lower() or "acquire" in name]
    assert {"Struct.pack", "deque.append"} <= set(called)
