"""Outboxes: handed over under any lock, sent in order, and nothing lost without being counted."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import random
import resource
import signal
import socket
import sys
import threading
from typing import TYPE_CHECKING, Any

import anyio
import pytest

import kernel
import netlink_safe as nls
from netlink_safe import blocking
from netlink_safe.transport import pump as pump_room
from netlink_safe.transport.wakeup import Wakeup
from surfaces import ASYNC_SURFACES, Surface, on_every_surface, on_surfaces, taking_at_most

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

USERSOCK = 2
NOBODY = 4242
#: As large as a message can be: one or two of them fill a small queue.
LARGE = b"x" * 30_000


@pytest.fixture
def sleeper() -> Iterator[socket.socket]:
    """A peer that does not read, unless told to, and that is soon full."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, USERSOCK) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 * 1024)
        sock.bind((0, 0))
        yield sock


def port_of(sock: socket.socket) -> int:
    """What to send to."""
    return int(sock.getsockname()[0])


def read_all(sock: socket.socket) -> list[bytes]:
    """What is queued now."""
    heard = []
    with contextlib.suppress(BlockingIOError):
        while True:
            heard.append(sock.recv(65536, socket.MSG_DONTWAIT))
    return heard


def accounted(now: nls.OutboxStatistics) -> int:
    """How many messages are somewhere."""
    return now.sent + sum(now.dropped.values()) + now.undelivered + now.held


@on_every_surface
async def test_messages_arrive_in_order(surface: Surface) -> None:
    """Each peer hears its own, as they were posted; all is counted as sent."""
    async with (
        surface.open_user() as one,
        surface.open_user() as other,
        surface.outbox() as box,
    ):
        for number in range(300):
            box.post(b"%d" % number, port_id=(one if number % 3 else other).port_id)
        await box.flush()
        heard = [int((await one.receive()).payload) for _ in range(200)]
        heard_by_other = [int((await other.receive()).payload) for _ in range(100)]
        assert heard == [number for number in range(300) if number % 3]
        assert heard_by_other == list(range(0, 300, 3))
        now = box.statistics()
        assert (now.posted, now.sent, now.held, now.oldest_age) == (300, 300, 0, None)


async def settled(box: Any, condition: Any) -> None:
    """Let the pump run until something is so; it must be so in time."""
    with anyio.fail_after(20):
        while not condition(box.statistics()):  # noqa: ASYNC110  # counts have no event
            await anyio.sleep(0.001)


async def heard_to_the_end(box: Any, sock: socket.socket) -> list[bytes]:
    """All that a peer hears that reads until nothing is held any more."""
    heard: list[bytes] = []

    def nothing_is_held(now: nls.OutboxStatistics) -> bool:
        heard.extend(read_all(sock))
        return not now.held

    await settled(box, nothing_is_held)
    return heard + read_all(sock)


async def filled(box: Any, sock: socket.socket) -> int:
    """Post until a peer is full; how many it has in its queue, while one is held."""
    sent = box.statistics().sent
    while not box.statistics().full_peers:
        box.post(LARGE, port_id=port_of(sock))
        await settled(box, lambda now: now.full_peers or not now.held)
    return int(box.statistics().sent - sent)


@on_every_surface
async def test_a_full_peer_holds_up_nobody_else(surface: Surface, sleeper: socket.socket) -> None:
    """What waits for it is sent when it reads, in order."""
    async with surface.open_user() as peer, surface.outbox() as box:
        fitted = await filled(box, sleeper)
        for number in range(5):
            box.post(b"%d" % number, port_id=port_of(sleeper))
            box.post(b"%d" % number, port_id=peer.port_id)
        assert [(await peer.receive()).payload for _ in range(5)] == [b"0", b"1", b"2", b"3", b"4"]
        now = box.statistics()
        assert now.full_peers == (port_of(sleeper),)
        assert (now.held, now.sent) == (6, fitted + 5)
        assert 0 < now.oldest_age < 30
        heard = await heard_to_the_end(box, sleeper)
        assert heard[fitted:] == [LARGE, b"0", b"1", b"2", b"3", b"4"]
        await box.flush()
        assert box.statistics().full_peers == ()


@on_every_surface
async def test_where_all_is_full_the_oldest_makes_room(
    surface: Surface, sleeper: socket.socket
) -> None:
    """And so a peer that never reads cannot keep others from being served."""
    async with surface.open_user() as peer, surface.outbox(capacity=10) as box:
        fitted = await filled(box, sleeper)
        for number in range(9):
            box.post(b"%d" % number + LARGE, port_id=port_of(sleeper))
        await settled(box, lambda now: now.held == 10)
        for number in range(4):
            box.post(b"%d" % number, port_id=peer.port_id)
        assert [(await peer.receive()).payload for _ in range(4)] == [b"0", b"1", b"2", b"3"]
        await settled(box, lambda now: now.sent == fitted + 4)
        dropped = box.statistics().dropped
        assert 1 <= dropped["oldest"] <= 4
        assert dropped["newest"] == 0
        heard = await heard_to_the_end(box, sleeper)
        assert heard[fitted:] == [b"%d" % n + LARGE for n in range(dropped["oldest"] - 1, 9)]


@on_every_surface
async def test_the_newest_is_dropped_where_that_is_wanted(
    surface: Surface, sleeper: socket.socket
) -> None:
    """What is held stays."""
    async with surface.outbox(capacity=3, when_full="drop_newest") as box:
        fitted = await filled(box, sleeper)
        for number in range(9):
            box.post(b"%d" % number, port_id=port_of(sleeper))
            await settled(box, lambda _: box._backlog.sleepers)  # it has nothing in its hands
        now = box.statistics()
        assert (now.held, dict(now.dropped)) == (3, {"oldest": 0, "newest": 7})
        assert now.posted == fitted + 10
        heard = read_all(sleeper)
        await box.flush()
        assert (heard + read_all(sleeper))[-2:] == [b"0", b"1"]


@on_every_surface
async def test_a_full_outbox_raises_where_that_is_wanted(
    surface: Surface, sleeper: socket.socket
) -> None:
    """The message is not posted, and counted as refused."""
    async with surface.outbox(capacity=2, when_full="raise") as box:
        fitted = await filled(box, sleeper)
        box.post(b"fits", port_id=port_of(sleeper))
        await settled(box, lambda _: box._backlog.sleepers)
        for _ in range(3):
            with pytest.raises(nls.OutboxFull, match="2 messages already") as full:
                box.post(b"does not", port_id=port_of(sleeper))
        assert full.value.capacity == 2
        now = box.statistics()
        assert (now.posted, now.held, now.refused) == (fitted + 2, 2, 3)
        read_all(sleeper)
        await box.flush()
        box.post(b"fits again", port_id=port_of(sleeper))


@on_every_surface
async def test_a_message_past_its_deadline_is_given_up(
    surface: Surface, sleeper: socket.socket
) -> None:
    """It is counted and told with its age; what is posted later still has its time."""
    told: list[nls.Undelivered] = []
    async with surface.outbox(deadline=0.3, on_undelivered=told.append) as box:
        fitted = await filled(box, sleeper)
        box.post(b"late" + LARGE, port_id=port_of(sleeper))
        await settled(box, lambda now: now.undelivered == 2)
        assert [one.payload for one in told] == [LARGE, b"late" + LARGE]
        for one in told:
            assert (one.port_id, one.reason) == (port_of(sleeper), "deadline")
            assert 0.3 <= one.age < 20
            assert isinstance(one.error, nls.NetlinkTimeout)
        read_all(sleeper)
        box.post(b"in time", port_id=port_of(sleeper))
        await box.flush()
        assert read_all(sleeper) == [b"in time"]
        now = box.statistics()
        assert (now.sent, now.undelivered_because["deadline"]) == (fitted + 1, 2)


@on_every_surface
async def test_a_peer_that_is_gone_is_told_at_once(
    surface: Surface, sleeper: socket.socket
) -> None:
    """Of everything that waited for it, too."""
    told: list[nls.Undelivered] = []
    async with surface.outbox(on_undelivered=told.append) as box:
        box.post(b"to nobody", port_id=NOBODY)
        await box.flush()
        await filled(box, sleeper)
        port_id = port_of(sleeper)
        box.post(b"waiting", port_id=port_id)
        sleeper.close()
        await box.flush()
        assert [one.payload for one in told] == [b"to nobody", LARGE, b"waiting"]
        assert [one.port_id for one in told] == [NOBODY, port_id, port_id]
        assert {one.reason for one in told} == {"no_such_peer"}
        assert all(isinstance(one.error, nls.NoSuchPeer) for one in told)
        assert box.statistics().undelivered_because["no_such_peer"] == 3


@on_every_surface
async def test_what_a_callback_raises_holds_up_nobody(
    surface: Surface, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged; and a callback may post again."""
    async with surface.open_user() as peer:
        boxes: list[Any] = []

        def again(lost: nls.Undelivered) -> None:
            if lost.payload == b"bad":
                raise ValueError("a mistake in the callback")
            boxes[0].post(lost.payload, port_id=peer.port_id)

        async with surface.outbox(on_undelivered=again) as box:
            boxes.append(box)
            box.post(b"bad", port_id=NOBODY)
            box.post(b"good", port_id=NOBODY)
            assert (await peer.receive()).payload == b"good"
            await box.flush()
            assert box.statistics().undelivered == 2
        boxes.clear()
    records = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(records) == 1
    assert "a mistake in the callback" in str(records[0].exc_info)


@on_every_surface
async def test_flush_waits_for_what_was_posted_before(
    surface: Surface, sleeper: socket.socket
) -> None:
    """It says what is held where that takes too long, and holds it on."""
    async with surface.outbox() as box:
        await box.flush()
        await filled(box, sleeper)
        with taking_at_most(10), pytest.raises(nls.NetlinkTimeout) as late:
            await box.flush(timeout=0.05)
        assert f"messages still held: 1; ports that are full: {port_of(sleeper)}" in str(late.value)
        assert box.statistics().held == 1
        read_all(sleeper)
        await box.flush()
        assert box.statistics().held == 0


@on_every_surface
async def test_flush_does_not_wait_for_what_is_posted_later(
    surface: Surface, sleeper: socket.socket
) -> None:
    """However much that is, and however long it waits."""
    async with surface.open_user() as peer, surface.outbox(capacity=100_000) as box:
        box.post(b"before", port_id=peer.port_id)
        done = threading.Event()
        posted: list[bytes] = []

        def post_on() -> None:
            while not done.is_set():
                for payload in (b"later", LARGE):
                    box.post(payload, port_id=port_of(sleeper))
                    posted.append(payload)
                done.wait(0.0001)

        posting = threading.Thread(target=post_on)
        posting.start()
        try:
            await settled(box, lambda now: now.full_peers)
            box.post(b"before, too", port_id=peer.port_id)
            with pytest.raises(nls.NetlinkTimeout):
                await box.flush(timeout=0.05)
            heard = [(await peer.receive()).payload for _ in range(2)]
            assert heard == [b"before", b"before, too"]
        finally:
            done.set()
            posting.join()
        assert accounted(box.statistics()) == 2 + len(posted)
        sleeper.close()
        await box.flush()
        assert box.statistics().held == 0


@on_every_surface
async def test_closing_gives_up_what_cannot_be_sent(
    surface: Surface, sleeper: socket.socket
) -> None:
    """After its timeout, counted and told; later posts are refused."""
    told: list[nls.Undelivered] = []
    async with surface.outbox(on_undelivered=told.append) as box:
        fitted = await filled(box, sleeper)
        box.post(b"never", port_id=port_of(sleeper))
        with taking_at_most(10):
            await box.aclose(timeout=0.05)
        assert [(one.payload, one.reason) for one in told] == [
            (LARGE, "closed"),
            (b"never", "closed"),
        ]
        now = box.statistics()
        assert (now.sent, now.undelivered_because["closed"], now.held) == (fitted, 2, 0)
        with pytest.raises(nls.ClosedError):
            box.post(b"too late", port_id=port_of(sleeper))
        with pytest.raises(nls.ClosedError):
            await box.flush()
        await box.aclose()
        assert box.statistics() == now


@on_every_surface
async def test_closing_sends_what_can_be_sent(surface: Surface) -> None:
    """Leaving the block is enough."""
    async with surface.open_user() as peer:
        async with surface.outbox() as box:
            for number in range(100):
                box.post(b"%d" % number, port_id=peer.port_id)
        assert [int((await peer.receive()).payload) for _ in range(100)] == list(range(100))
        assert box.statistics().sent == 100


@on_every_surface
async def test_an_error_of_the_body_is_its_own(surface: Surface) -> None:
    """Not one of a group; and what was posted before it is sent."""
    async with surface.open_user() as peer:
        with pytest.raises(ValueError, match="the body's"):  # noqa: PT012  # the block is the test
            async with surface.outbox() as box:
                box.post(b"before the error", port_id=peer.port_id)
                raise ValueError("the body's")
        assert (await peer.receive()).payload == b"before the error"


@on_surfaces(ASYNC_SURFACES)
async def test_a_cancelled_body_does_not_wait(surface: Surface, sleeper: socket.socket) -> None:
    """What can be sent at once is; the rest is accounted for."""
    async with surface.open_user() as peer:
        with taking_at_most(4), anyio.CancelScope() as scope:
            async with surface.outbox() as box:
                fitted = await filled(box, sleeper)
                box.post(b"at once", port_id=peer.port_id)
                scope.cancel()
                await anyio.sleep_forever()
        assert scope.cancelled_caught
        now = box.statistics()
        assert (now.held, now.undelivered_because["closed"]) == (0, 1)
        assert now.sent == fitted + 1
        assert (await peer.receive()).payload == b"at once"


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


@on_surfaces(ASYNC_SURFACES)
async def test_an_outbox_that_is_never_entered_accounts_for_what_it_held(surface: Surface) -> None:
    """Closing tries it once, and tells of the rest."""
    told: list[nls.Undelivered] = []
    async with surface.open_user() as peer:
        box = surface.outbox(on_undelivered=told.append)
        box.post(b"there", port_id=peer.port_id)
        box.post(b"nobody", port_id=NOBODY)
        await box.aclose()
        assert (await peer.receive()).payload == b"there"
    assert [one.payload for one in told] == [b"nobody"]
    assert accounted(box.statistics()) == 2


@on_every_surface
async def test_a_user_sends_under_its_own_port(surface: Surface) -> None:
    """So that whoever hears it can answer; it stays open when the outbox is closed."""
    async with surface.open_user() as peer, surface.open_user() as user:
        async with surface.outbox(user=user) as box:
            box.post(b"answer me", port_id=peer.port_id)
            heard = await peer.receive()
            assert heard.port_id == user.port_id
            await peer.send(b"here", port_id=heard.port_id)
        assert (await user.receive()).payload == b"here"


@on_every_surface
async def test_a_user_that_is_closed_sends_nothing(surface: Surface) -> None:
    """What is posted then is undelivered, and says why."""
    told: list[nls.Undelivered] = []
    async with (
        surface.open_user() as user,
        surface.outbox(user=user, on_undelivered=told.append) as box,
    ):
        port_id = user.port_id
        await user.aclose()
        box.post(b"x", port_id=port_id)
        await box.flush()
        assert [one.reason for one in told] == ["closed"]


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


def test_leaving_the_block_under_a_lock_leaves_nothing_behind() -> None:
    """It is an error, and the pump ends all the same."""
    watched = nls.watch_lock(threading.Lock(), name="the table")
    threads = kernel.threads()
    with pytest.raises(nls.LockHeldError), blocking.Outbox() as box:  # noqa: PT012  # the block
        box.post(b"x", port_id=NOBODY)
        watched.acquire()
    watched.release()
    kernel.until(lambda: kernel.threads() == threads)
    assert accounted(box.statistics()) == 1


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


def test_a_forked_child_may_not_post_for_its_parent() -> None:
    """Its copy has no pump; closing it is harmless, and the parent goes on."""
    with blocking.open_user() as peer, blocking.Outbox() as box:

        def child() -> str:
            told = []
            verbs: tuple[Callable[[], None], ...] = (lambda: box.post(b"x", port_id=5), box.flush)
            for verb in verbs:
                try:
                    verb()
                except nls.LocalProtocolError as error:
                    told.append(str(error)[:45])
            box.close()
            return " ".join(told)

        assert kernel.in_child(child).count("opened before a fork") == 2
        box.post(b"from the parent", port_id=peer.port_id)
        assert peer.receive().payload == b"from the parent"


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


def test_a_pump_that_is_held_up_in_a_callback_is_left_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Closing ends in time; the pump accounts for the rest when it comes back."""
    monkeypatch.setattr(pump_room, "GRACE", 0.05)
    entered, release = threading.Event(), threading.Event()

    def wait(_: nls.Undelivered) -> None:
        entered.set()
        assert release.wait(30)

    box = blocking.Outbox(on_undelivered=wait)
    box.post(b"x", port_id=NOBODY)
    box.post(b"y", port_id=NOBODY)
    assert entered.wait(30)
    with taking_at_most(5):
        box.close(timeout=0.05)
    assert box.statistics().held == 1
    release.set()
    box._thread.join(30)
    assert box.statistics().undelivered == 2


def test_an_outbox_that_is_forgotten_is_told_of_and_ends() -> None:
    """A ResourceWarning, as for any file; its thread does not stay."""
    threads = kernel.threads()
    box = blocking.Outbox()
    with pytest.warns(ResourceWarning, match="never closed"):  # noqa: PT031  # only both do it
        del box
        gc.collect()
    kernel.until(lambda: kernel.threads() == threads)


def test_a_post_that_meets_the_end_was_none() -> None:
    """The poster had looked, the pump ended, and then the poster appended: it takes that back."""
    box = blocking.Outbox()
    assert box._backlog.room > 0
    box.close()
    box._backlog.room = 1  # as it was when the poster looked
    with pytest.raises(nls.ClosedError, match="meanwhile"):
        box.post(b"late", port_id=NOBODY)
    assert box.statistics().posted == 0


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


@on_every_surface
async def test_closed_it_holds_no_descriptor_and_names_no_peer(
    surface: Surface, sleeper: socket.socket
) -> None:
    """However long it is kept for its statistics."""
    before = kernel.descriptors()
    box = surface.outbox()
    async with box:
        await filled(box, sleeper)
        await box.aclose(timeout=0.05)
    assert kernel.descriptors() == before
    now = box.statistics()
    assert (now.full_peers, now.oldest_age, now.undelivered) == ((), None, 1)


def test_threads_that_post_while_it_closes_lose_nothing() -> None:
    """Each post is told, or counted; again and again."""
    for _ in range(30):
        with blocking.open_user() as peer:
            box = blocking.Outbox(capacity=64)
            accepted: list[int] = []
            barrier = threading.Barrier(5)

            def post(
                box: Any = box,
                barrier: Any = barrier,
                accepted: Any = accepted,
                port_id: int = peer.port_id,
            ) -> None:
                barrier.wait()
                with contextlib.suppress(nls.ClosedError):
                    while True:
                        box.post(b"x", port_id=port_id)
                        accepted.append(1)

            threads = [threading.Thread(target=post) for _ in range(4)]
            for thread in threads:
                thread.start()
            barrier.wait()
            box.close(timeout=0.05)
            for thread in threads:
                thread.join()
            now = box.statistics()
            assert now.held == 0
            assert accounted(now) == now.posted == len(accepted)


class Reader:
    """A peer that reads, or sleeps, or is closed and opened again under the same port."""

    def __init__(self, port_id: int) -> None:
        self.port_id = port_id
        self.heard: list[bytes] = []
        self.open()

    def open(self) -> None:
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, USERSOCK)
        self.socket.bind((self.port_id, 0))

    def read(self) -> None:
        self.heard += read_all(self.socket)

    def restart(self) -> None:
        """What is queued is read before it goes, so that it can be accounted for."""
        self.read()
        self.socket.close()
        self.open()


def test_eight_threads_and_a_million_messages() -> None:
    """Peers stuck, slow and restarted at random: the sums hold at every moment, in order, once."""
    each, posters, burst, capacity = 125_000, 8, 250, 1000
    readers = [Reader(NOBODY + number) for number in range(6)]
    told: list[nls.Undelivered] = []
    chance = random.Random(7)
    turns = threading.Semaphore(0)
    begun, done = [0] * posters, [0] * posters

    def post(who: int) -> None:
        ports = random.Random(who)
        for first in range(0, each, burst):
            assert turns.acquire(timeout=60)
            for number in range(first, first + burst):
                port_id = NOBODY + ports.randrange(len(readers))
                begun[who] += 1
                box.post(b"%d %d" % (who, number), port_id=port_id)
                done[who] += 1

    with blocking.Outbox(capacity, on_undelivered=told.append) as box:
        threads = [threading.Thread(target=post, args=(who,)) for who in range(posters)]
        for thread in threads:
            thread.start()
        posted, stuck = 0, set(readers)
        while any(thread.is_alive() for thread in threads):
            least = sum(done)
            now = box.statistics()
            assert least <= accounted(now) <= sum(begun)
            assert now.held <= capacity + posters
            assert now.posted >= posted
            posted = now.posted
            if now.held < capacity // 2:
                turns.release(chance.choice([1, 1, 6]))  # six at once pass the capacity
            if chance.random() < 0.02:
                stuck = set(chance.sample(readers, chance.randrange(len(readers) + 1)))
            for reader in set(readers) - stuck:
                (reader.restart if chance.random() < 0.001 else reader.read)()
        for thread in threads:
            thread.join()
        while box.statistics().held:
            for reader in readers:
                reader.read()
        for reader in readers:
            reader.read()
            reader.socket.close()
        now = box.statistics()
    assert now.posted == accounted(now) == each * posters
    assert now.undelivered == len(told) == now.undelivered_because["no_such_peer"]
    assert now.dropped["newest"] == now.refused == 0
    heard = [message for reader in readers for message in reader.heard]
    assert len(set(heard)) == len(heard)
    # What reached a peer between its last look and its end went with it, and little else.
    assert 0 <= now.sent - len(heard) < now.sent // 10
    assert now.sent > 10_000
    for reader in readers:
        last = dict.fromkeys(range(posters), -1)
        for message in reader.heard:
            who, number = map(int, message.split())
            assert number > last[who]
            last[who] = number


def test_every_peer_stuck_stays_inside_the_capacity() -> None:
    """However much is posted: the payloads that are held are so many, and no more."""
    import tracemalloc

    readers = [Reader(NOBODY + number) for number in range(8)]
    with blocking.Outbox(capacity=500) as box:
        tracemalloc.start()
        try:
            for number in range(40_000):
                box.post(b"%06d" % number + b"x" * 10_000, port_id=NOBODY + number % 8)
                assert number % 1000 or box.statistics().held <= 501
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 2 * 500 * 10_000
        for reader in readers:
            reader.socket.close()


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
