"""What the library tells of its own open sockets and outboxes."""

from __future__ import annotations

import contextlib
import gc
from typing import TYPE_CHECKING

import attrs
import pytest

import faults
import netlink_safe as nls
from links import Links, names
from metrics_told import values
from netlink_safe.transport.socket import KernelSocket
from netlink_safe.wire.constants import NLMSG_DONE, NLMSG_ERROR
from outboxes import LARGE, NOBODY, filled
from surfaces import ASYNC_SURFACES, Surface, on_every_surface, on_surfaces

if TYPE_CHECKING:
    import socket


from self_metrics import (
    BUFFER,
    FLOOR,
    KINDS,
    PREFIX,
    QUEUE,
    Growth,
    count,
    forgetting,
    growth,
    samples,
)

__all__ = ["growth"]  # a fixture


@on_every_surface
async def test_every_open_socket_is_told_with_its_buffer(surface: Surface) -> None:
    """Of each kind, from its opening to its close."""
    growth = Growth()
    async with contextlib.AsyncExitStack() as opened:
        enter = opened.enter_async_context
        diag = await enter(surface.open_sock_diag())
        route = await enter(surface.open_route(receive_buffer=100_000))
        generic = await enter(surface.open_generic())
        one = await enter(surface.open_uevents(receive_buffer=FLOOR))
        other = await enter(surface.open_uevents(receive_buffer=2 * FLOOR))
        heard = await enter(generic.subscribe("nlctrl"))
        closing = await enter(diag.subscribe_destroyed(receive_buffer=3 * FLOOR))
        user = await enter(surface.open_user(port_id=77))
        await enter(surface.outbox())
        expected = {"sock_diag": 1, "route": 1, "uevents": 2, "notifications": 2, "user": 2}
        assert {kind: growth("open_sockets", kind) for kind in expected} == expected
        assert growth("open_sockets", "generic") == 2, "its own, and the subscription's questions"
        metrics = growth.collector.collect()
        for kind, objects in {
            "sock_diag": [diag],
            "route": [route],
            "uevents": [one, other],
            "notifications": [heard, closing],
        }.items():
            told = values(metrics, BUFFER, kind=kind).values()
            assert sorted(told) == sorted(each.statistics().receive_buffer for each in objects)
        assert values(metrics, BUFFER, kind="user")["77"] == user.statistics().receive_buffer
        assert set(values(metrics, QUEUE).values()) == {0}
    assert {kind: growth("open_sockets", kind) for kind in KINDS} == dict.fromkeys(KINDS, 0)
    assert values(growth.collector.collect(), BUFFER) == {}


@on_every_surface
async def test_a_dump_without_an_end_is_a_timeout_and_retries(surface: Surface) -> None:
    """As the object's own statistics have them; they stay when it is closed."""
    growth = Growth()
    async with surface.open_sock_diag(timeout=0.5) as diag:
        diag._pool.discard(diag._pool.acquire())  # it was opened without a filter
        with faults.filtered(faults.losing(NLMSG_DONE)), pytest.raises(nls.NetlinkTimeout):
            await count(diag)
        statistics = diag.statistics()
        assert statistics.timeouts == 1
        assert statistics.retries in {1, 2}, "two, unless the machine is very busy"
        for _ in ("open", "closed"):
            assert growth("socket_timeouts_total", "sock_diag") == 1
            assert growth("socket_retries_total", "sock_diag") == statistics.retries
            assert growth("socket_timeouts_total", "route") == 0
            await diag.aclose()


@on_every_surface
async def test_drops_that_nobody_has_looked_at_are_counted_at_the_close(
    surface: Surface, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind it they are not to be had any more."""
    memory = KernelSocket.memory
    monkeypatch.setattr(KernelSocket, "memory", lambda sock: attrs.evolve(memory(sock), drops=7))
    growth = Growth()
    for _ in range(2):
        async with surface.open_sock_diag(), surface.open_user():
            pass
    assert growth("socket_drops_total", "sock_diag") == 14
    assert growth("socket_drops_total", "user") == 14


@on_every_surface
async def test_a_listener_that_overruns_is_seen_before_it_knows_itself(surface: Surface) -> None:
    """Its drops and what is queued are the kernel's; overrun and resync come when it reads on."""
    growth = Growth()
    with Links() as links:
        async with surface.open_uevents(subsystem="net", receive_buffer=FLOOR) as events:
            for pair in names(range(100)):
                links.make(*pair)
            drops = growth("socket_drops_total", "uevents")
            (queued,) = values(growth.collector.collect(), QUEUE, kind="uevents").values()
            assert drops > 0
            assert 0 < queued <= 2 * FLOOR
            assert growth("socket_overruns_total", "uevents") == 0
            while not isinstance(await events.receive(), nls.Resynced):
                pass
            statistics = events.statistics()
            assert statistics.drops == drops
            assert set(values(growth.collector.collect(), QUEUE, kind="uevents").values()) == {0}
    assert growth("socket_drops_total", "uevents") == drops, "counted once, whoever looked"
    assert growth("socket_datagrams_total", "uevents") == statistics.datagrams
    assert growth("socket_overruns_total", "uevents") == 1
    assert growth("socket_resyncs_total", "uevents") == 1


@on_every_surface
async def test_what_is_not_believed_is_told_by_reason(surface: Surface) -> None:
    """A stranger's datagram, which was there before the reply."""
    growth = Growth()
    async with surface.open_sock_diag() as diag:
        (sock,) = diag._pool._idle
        faults.spoof(sock.port_id, b"believe me")
        assert growth("socket_rejected_total", "sock_diag", "foreign_sender") == 0
        await count(diag)
        rejected = diag.statistics().rejected
    assert rejected == {"foreign_sender": 1}
    assert growth("socket_rejected_total", "sock_diag", "foreign_sender") == 1


@on_every_surface
async def test_an_outbox_is_told_as_it_tells_itself(
    surface: Surface, sleeper: socket.socket
) -> None:
    """Its figures while it is open, and what became of its messages for ever."""
    growth = Growth()
    totals = ("posted", "sent", "refused")
    async with surface.outbox(capacity=3) as box:
        box.post(b"x", port_id=NOBODY)
        await box.flush()
        await filled(box, sleeper)
        for _ in range(4):
            box.post(LARGE, port_id=sleeper.getsockname()[0])
        now = box.statistics()
        assert (now.held, now.dropped["oldest"], now.undelivered) == (3, 2, 1)
        assert growth("open_outboxes") == 1
        assert growth("outbox_capacity") == 3
        assert growth("outbox_held") == 3
        age = growth("outbox_oldest_age_seconds")
        assert now.oldest_age <= age <= box.statistics().oldest_age
        for name in totals:
            assert growth(f"outbox_{name}_total") == getattr(now, name)
        assert growth("outbox_dropped_total", "oldest") == 2
        assert growth("outbox_undelivered_total", "no_such_peer") == 1
        await box.aclose(timeout=0.05)
        assert growth("open_outboxes") == growth("outbox_capacity") == growth("outbox_held") == 0
    end = box.statistics()
    del box
    gc.collect()
    assert {name: growth(f"outbox_{name}_total") for name in totals} == {
        name: getattr(end, name) for name in totals
    }
    assert growth("outbox_dropped_total", "oldest") == 2
    assert growth("outbox_undelivered_total", "closed") == 3
    assert (PREFIX + "outbox_oldest_age_seconds",) not in samples(growth.collector)


def test_posts_that_are_refused_or_dropped_at_once_are_told(
    growth: Growth, sleeper: socket.socket
) -> None:
    """By what is to happen when the outbox is full."""
    port_id = sleeper.getsockname()[0]
    for when_full in ("raise", "drop_newest"):
        box = nls.Outbox(capacity=2, when_full=when_full)
        with contextlib.suppress(nls.OutboxFull):
            for _ in range(3):
                box.post(b"x", port_id=port_id)
        box._pump.end()
    assert growth("outbox_refused_total") == 1
    assert growth("outbox_dropped_total", "newest") == 1
    assert growth("outbox_posted_total") == 5
    assert growth("outbox_sent_total") == 4


@on_surfaces(ASYNC_SURFACES)
async def test_messages_of_an_outbox_that_nobody_entered_are_not_lost_in_silence(
    surface: Surface,
) -> None:
    """Nobody will ever send them, once it is gone."""
    growth = Growth()
    with forgetting():
        box = surface.outbox()
        for _ in range(3):
            box.post(b"x", port_id=NOBODY)
        assert growth("outbox_held") == 3
        del box
    assert growth("outbox_held") == growth("open_outboxes") == 0
    assert growth("outbox_posted_total") == 3
    assert growth("outbox_undelivered_total", "closed") == 3


@on_every_surface
async def test_an_opening_that_fails_leaves_what_it_counted_and_no_socket(
    surface: Surface,
) -> None:
    """Whether it timed out or was refused."""
    growth = Growth()
    with pytest.raises(OSError, match="port ID 99 of netlink protocol 2 is taken"):
        async with surface.open_user(port_id=99), surface.open_user(port_id=99):
            pass
    with pytest.raises(FileNotFoundError):
        async with surface.open_uevents(netns="missing"):
            pass
    async with surface.open_generic() as generic:
        with faults.filtered(faults.losing(NLMSG_ERROR)), pytest.raises(nls.NetlinkTimeout):
            async with generic.subscribe("nlctrl", timeout=0.2):
                pass
    assert growth("socket_timeouts_total", "notifications") == 1
    assert {kind: growth("open_sockets", kind) for kind in KINDS} == dict.fromkeys(KINDS, 0)


@on_every_surface
async def test_what_a_deletion_asks_on_the_way_counts_as_route(surface: Surface) -> None:
    """Its sockets belong to no opened object."""
    growth = Growth()
    with pytest.raises(nls.KernelError):
        await surface.delete_link("missing")
    assert growth("socket_datagrams_total", "route") > 0
    assert growth("open_sockets", "route") == growth("open_sockets", "generic") == 0
