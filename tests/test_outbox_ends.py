"""How an outbox ends: flushed, closed, left, cancelled, forgotten, forked."""

from __future__ import annotations

import contextlib
import gc
import threading
from typing import TYPE_CHECKING, Any

import anyio
import pytest

import kernel
import netlink_safe as nls
from netlink_safe import blocking
from netlink_safe.transport import pump as pump_room
from outboxes import LARGE, NOBODY, accounted, filled, port_of, read_all, settled
from surfaces import ASYNC_SURFACES, Surface, on_every_surface, on_surfaces, taking_at_most

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable


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
