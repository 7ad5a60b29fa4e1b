"""Outboxes on the real kernel: what is posted arrives, in order, or is accounted for."""

from __future__ import annotations

import logging
import random
import socket
import threading
from typing import Any

import pytest

import netlink_safe as nls
from netlink_safe import blocking
from outboxes import LARGE, NOBODY, USERSOCK, accounted, filled, port_of, read_all, settled
from surfaces import Surface, on_every_surface


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


async def heard_to_the_end(box: Any, sock: socket.socket) -> list[bytes]:
    """All that a peer hears that reads until nothing is held any more."""
    heard: list[bytes] = []

    def nothing_is_held(now: nls.OutboxStatistics) -> bool:
        heard.extend(read_all(sock))
        return not now.held

    await settled(box, nothing_is_held)
    return heard + read_all(sock)


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
            for number in range(8000):
                box.post(b"%06d" % number + b"x" * 10_000, port_id=NOBODY + number % 8)
                assert number % 1000 or box.statistics().held <= 501
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 2 * 500 * 10_000
        for reader in readers:
            reader.socket.close()
