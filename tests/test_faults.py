"""Faults of the real kernel: what is lost, late, spoofed or cut ends in time, and as promised."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from functools import partial

import pytest

import faults
import kernel
import netlink_safe as nls
from many_sockets import TABLES, connections, count, exhaust, fresh
from netlink_safe.transport.socket import NetlinkSocket
from netlink_safe.wire.constants import NLMSG_DONE, NLMSG_ERROR, SOL_NETLINK
from netlink_safe.wire.header import build_message, parse_message
from surfaces import Surface, on_every_surface, taking_at_most

pytestmark = pytest.mark.usefixtures("one_datagram_at_a_time")


NETLINK_ADD_MEMBERSHIP = 1


SKNLGRP_INET_TCP_DESTROY = 1


LISTENERS = 1


def join_destroy_group(sock: socket.socket) -> None:
    """Have the kernel tell this socket of every TCP socket that ends."""
    sock.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, SKNLGRP_INET_TCP_DESTROY)


@on_every_surface
async def test_a_done_that_never_comes_ends_at_the_deadline(surface: Surface, many: int) -> None:
    """The first story: without a deadline this dump would still be waiting."""
    async with fresh(surface.open_sock_diag(timeout=0.3)) as diag:
        with (
            faults.filtered(faults.losing(NLMSG_DONE)),
            taking_at_most(5),
            pytest.raises(nls.NetlinkTimeout) as caught,
        ):
            await count(diag)
        error = caught.value
        assert error.rows == many - LISTENERS
        assert error.datagrams > 1
        assert error.attempts == 1, "rows were handed out, so that there is no other attempt"
        assert error.timeout == 0.3
        assert "the dump of inet TCP sockets" in str(error)
        assert await count(diag) == many
        assert diag.statistics().timeouts == 1


@on_every_surface
async def test_a_reply_that_never_comes_is_asked_for_again_and_then_given_up(
    surface: Surface,
) -> None:
    """No row was handed out: three sockets are tried, each within half of the time left."""
    async with fresh(surface.open_sock_diag(timeout=0.3)) as diag:
        with (
            faults.filtered(faults.DEAF),
            taking_at_most(5),
            pytest.raises(nls.NetlinkTimeout) as caught,
        ):
            await count(diag)
        assert (caught.value.attempts, caught.value.datagrams, caught.value.rows) == (3, 0, 0)
        assert diag.statistics().retries == 2
        assert await count(diag) == 0


@on_every_surface
async def test_a_second_attempt_on_a_fresh_socket_saves_the_call(
    surface: Surface, many: int
) -> None:
    """An attempt is given up while there is time for another."""
    async with fresh(surface.open_sock_diag(timeout=1)) as diag:
        with faults.filtered(faults.DEAF, sockets=1):
            assert await count(diag) == many
        assert diag.statistics().retries == 1


@on_every_surface
async def test_a_dump_that_dies_half_way_is_a_timeout_with_what_was_seen(
    surface: Surface, many: int
) -> None:
    """The first chunk came, the rest and its end did not: the rows that came are counted."""
    async with fresh(surface.open_sock_diag(timeout=0.3)) as diag:
        with faults.filtered(faults.DYING), pytest.raises(nls.NetlinkTimeout) as caught:
            await count(diag)
        assert 0 < caught.value.rows < many
        assert await count(diag) == many


@on_every_surface
async def test_a_fold_of_a_dying_dump_starts_again_from_zero(surface: Surface, many: int) -> None:
    """What the dead attempt had counted is not counted twice."""
    with faults.filtered(faults.DYING), pytest.raises(nls.NetlinkTimeout) as caught:
        await surface.collect(timeout=0.2)
    assert 0 < caught.value.rows < 3 * many
    with faults.filtered(faults.DYING, sockets=1):
        stats = await surface.collect(timeout=2)
    assert stats.states[nls.TcpState.ESTABLISHED] == many - 1
    assert stats.socket.attempts == TABLES + 1
    assert stats.socket.retries == 1


@on_every_surface
@pytest.mark.parametrize("method", ["dump", "counters"])
async def test_collect_fails_in_time_and_the_next_call_works(surface: Surface, method: str) -> None:
    """With DONE filtered away a second is a second, and nothing is left to trip over."""
    with (
        faults.filtered(faults.losing(NLMSG_DONE)),
        taking_at_most(2),
        pytest.raises(nls.NetlinkTimeout) as caught,
    ):
        await surface.collect(timeout=1, method=method)
    assert caught.value.attempts == 3
    stats = await surface.collect(method=method)
    assert sum(stats.states.values()) == 0


@on_every_surface
async def test_an_error_that_never_comes_ends_at_the_deadline(surface: Surface) -> None:
    """A request whose refusal is lost ends like one whose reply is lost."""
    async with fresh(surface.open_sock_diag(timeout=0.3)) as diag:
        with faults.filtered(faults.losing(NLMSG_ERROR)), pytest.raises(nls.NetlinkTimeout):
            await diag.request(nls.tcp_socket(("127.0.0.1", 1)))


@on_every_surface
async def test_a_spoofed_reply_is_counted_and_not_believed(
    surface: Surface, many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A privileged process has port ID, sequence and type right: it is still not port 0."""
    send = NetlinkSocket.send

    def spoof_and_send(sock: NetlinkSocket, data: bytes) -> None:
        asked = parse_message(data, 0)
        done = build_message(NLMSG_DONE, 2, asked.sequence, sock.port_id, bytes(4))
        row = build_message(asked.type, 2, asked.sequence, sock.port_id, bytes([2, 1]) + bytes(70))
        for datagram in (row, done):
            in_its_namespace(partial(faults.spoof, sock.port_id, datagram))
        send(sock, data)

    monkeypatch.setattr(NetlinkSocket, "send", spoof_and_send)
    async with surface.open_sock_diag() as diag:
        in_its_namespace = diag._pool.namespace.run
        assert await count(diag) == many
        assert diag.statistics().rejected == {"foreign_sender": 2 * TABLES}


@on_every_surface
async def test_a_flood_of_spoofed_replies_does_not_hold_an_attempt_up(surface: Surface) -> None:
    """What is rejected is no arrival: the silence of the kernel goes on counting under it."""
    targets: list[int] = []
    over = threading.Event()

    def flood() -> None:
        while not over.is_set():
            for port_id in targets:
                faults.spoof_or_miss(port_id, bytes(4000))

    def aim(sock: socket.socket) -> None:
        faults.attach(sock, faults.passing_only(4000))
        targets[:] = [sock.getsockname()[0]]

    flooder = threading.Thread(target=flood)
    flooder.start()
    try:
        with faults.on_open(aim), taking_at_most(10), pytest.raises(nls.NetlinkTimeout) as caught:
            await surface.collect(timeout=1)
    finally:
        over.set()
        flooder.join()
    assert caught.value.attempts > 1
    assert caught.value.rows == 0
    assert caught.value.datagrams > 0


@on_every_surface
async def test_queues_that_strangers_filled_are_left_for_a_fresh_socket(surface: Surface) -> None:
    """The kernel answers ENOBUFS, or not at all; every idle socket is passed over, and no error."""
    with connections(1):
        async with surface.open_sock_diag(timeout=4, receive_buffer=32 * 1024) as diag:
            async for _ in diag.dump(nls.tcp_sockets(families="inet")):
                assert await count(diag) == 3
            idle = list(diag._pool._idle)
            assert len(idle) == 2
            for sock in idle:
                with contextlib.suppress(BlockingIOError):
                    while True:
                        faults.spoof(sock.port_id, bytes(4000))
            assert await count(diag) == 3
            assert diag.statistics().retries > 0
            assert diag.statistics().rejected.keys() == {"foreign_sender"}


@on_every_surface
async def test_a_truncated_datagram_is_an_error_and_never_a_short_reply(
    surface: Surface, many: int
) -> None:
    """A receive of 4 KiB on a socket that once received more would lose rows without a word."""
    async with surface.open_sock_diag() as diag:
        assert await count(diag) == many
        [sock] = diag._pool._idle
        sock._receive_size = 4096
        with pytest.raises(nls.TruncatedError, match="4096 bytes"):
            await count(diag)
        assert await count(diag) == many


@on_every_surface
async def test_enobufs_during_a_dump_is_an_overrun_with_its_drops(surface: Surface) -> None:
    """Multicasts that do not fit set ENOBUFS on the dumping socket: rows handed out, no retry."""
    with connections(200) as held:
        async with fresh(surface.open_sock_diag(receive_buffer=32 * 1024)) as diag:
            with faults.on_open(join_destroy_group):
                dump = diag.dump(nls.tcp_sockets(families="inet"))
                await anext(aiter(dump))
            held.close()
            kernel.until(lambda: diag.statistics().drops > 0)  # it is told from a work queue
            with pytest.raises(nls.OverrunError) as caught:
                await exhaust(dump)
            assert caught.value.drops > 0
            assert diag.statistics().overruns == 1
            assert diag.statistics().drops >= caught.value.drops


@on_every_surface
async def test_enobufs_before_any_row_is_asked_again(surface: Surface) -> None:
    """Nothing was handed out: a fresh socket answers, and the overrun is counted."""
    held = connections(200)

    def overrun(sock: socket.socket) -> None:
        if not hooked:
            hooked.append(sock)
            join_destroy_group(sock)
            held.close()
            kernel.until(lambda: _drops(sock) > 0)

    hooked: list[socket.socket] = []
    async with fresh(surface.open_sock_diag(timeout=30, receive_buffer=32 * 1024)) as diag:
        with faults.on_open(overrun):
            await count(diag)
        statistics = diag.statistics()
    assert (statistics.overruns, statistics.retries) == (1, 1)
    assert statistics.drops > 0


def _drops(sock: socket.socket) -> int:
    return int(struct.unpack("=9I", sock.getsockopt(socket.SOL_SOCKET, 55, 36))[8])
