"""Rows of real TCP sockets: what each says, against what the sockets themselves say."""

from __future__ import annotations

import gc
import os
import socket
import struct
import sys
import weakref
from collections import Counter
from typing import TYPE_CHECKING, Any

import attrs
import pytest

import netlink_safe as nls
import oracles
import tcp_states
from netlink_safe.families.inet_diag import Given, Timer
from netlink_safe.families.inet_reader import reader
from netlink_safe.families.inet_rows import TcpSocket
from netlink_safe.families.inet_socket import ROW_MINIMUM
from netlink_safe.families.sock_diag import SOCK_DIAG_BY_FAMILY
from netlink_safe.families.tcp_info import KNOWN, TcpInfo
from netlink_safe.wire.attributes import build_attribute
from netlink_safe.wire.header import build_message
from surfaces import Surface, on_every_surface
from tcp_rows import family, listener, pair, rows_of
from tcp_states import FAMILIES

if TYPE_CHECKING:
    from netlink_safe.protocol.request import Request, RowReader
    from netlink_safe.wire.header import Strides

__all__ = ["family", "listener", "pair"]  # fixtures


@on_every_surface
async def test_every_state_is_reported_as_the_kernel_has_it(surface: Surface, family: str) -> None:
    """Rows by state are those that were made, those of /proc/net/tcp, and those of ss."""
    with tcp_states.every_state(FAMILIES[family]) as made:
        rows = await rows_of(surface, families=family)
        counted = Counter(row.state.name.lower() for row in rows)
        assert counted == made == oracles.proc_states(family)
        assert oracles.ss_states(family) in (counted, None)


@on_every_surface
async def test_a_row_says_what_its_socket_says(
    surface: Surface, pair: tuple[socket.socket, socket.socket]
) -> None:
    """Addresses, ports, owner, inode, queues, timer and shutdown are the socket's own."""
    client, server = pair
    client.sendall(b"x" * 1000)
    client.shutdown(socket.SHUT_WR)
    rows = {row.source.port: row for row in await rows_of(surface, states={"close_wait"})}
    row = rows[server.getsockname()[1]]
    assert (row.source.address, row.source.port) == server.getsockname()[:2]
    assert (row.destination.address, row.destination.port) == client.getsockname()[:2]
    assert int(row.family) == int(server.family)
    assert row.uid == os.getuid()
    assert row.inode == os.fstat(server.fileno()).st_ino
    assert row.receive_queue == 1001  # the FIN counts as one
    assert row.transmit_queue == 0
    assert row.timer is Timer.NONE
    assert row.timer_milliseconds == 0
    assert row.retransmits == 0
    assert row.interface == 0
    assert row.shutdown is nls.Shutdown.RECEIVE
    assert row.accept_queue is None
    assert row.cookie == struct.unpack("=Q", server.getsockopt(socket.SOL_SOCKET, 57, 8))[0]


@on_every_surface
async def test_a_listener_reports_connections_and_not_bytes(
    surface: Surface, listener: socket.socket
) -> None:
    """Its queues are the accept queue's length and limit; v6_only is told for IPv6."""
    with socket.create_connection(listener.getsockname()[:2]):
        [row] = await rows_of(surface, states=["LISTEN"])
        assert row.accept_queue == nls.AcceptQueue(length=1, limit=5)
        if listener.family == socket.AF_INET6:
            told = listener.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
            assert row.v6_only is bool(told)
        else:
            assert row.v6_only is None
        assert str(row.state) == "LISTEN"


@on_every_surface
async def test_tcp_info_is_the_sockets_own_to_the_last_byte(
    surface: Surface, pair: tuple[socket.socket, socket.socket]
) -> None:
    """The kernel gives the structure through getsockopt and through sock_diag alike."""
    client, _ = pair
    own = TcpInfo(client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 512))
    [row] = await rows_of(surface, extensions=["info"], source_port=client.getsockname()[1])
    info = row.info
    assert info is not None
    moving = {"last_data_sent", "last_data_recv", "last_ack_recv"}
    assert {k: v for k, v in info.as_dict().items() if k not in moving} == {
        k: v for k, v in own.as_dict().items() if k not in moving
    }
    assert (info.state, info.advmss is not None, info.rtt is not None) == (1, True, True)


@pytest.mark.anywhere
def test_tcp_info_has_the_fields_that_its_length_says_and_keeps_the_rest() -> None:
    """An older kernel gives fewer fields, a newer one more: neither breaks, nothing is lost."""
    raw = bytes(range(256)) + bytes(KNOWN + 12 - 256)
    newer = TcpInfo(raw)
    assert len(newer.tail) == 12
    assert newer.rto == struct.unpack_from("=I", raw, 8)[0]
    older = TcpInfo(raw[:104])
    assert older.total_retrans is not None
    assert older.pacing_rate is None
    assert older.tail == b""
    assert list(older.as_dict())[-1] == "total_retrans"
    assert older == TcpInfo(raw[:104])
    assert older != newer


def test_the_bit_fields_of_tcp_info_are_taken_apart() -> None:
    """Both window scales share a byte, and so do two more fields."""
    little = sys.byteorder == "little"  # the compiler puts the first bit field there
    info = TcpInfo(bytes(6) + bytes([0xA7, 0b101] if little else [0x7A, 0b11000000]))
    assert (info.snd_wscale, info.rcv_wscale) == (7, 10)
    assert (info.delivery_rate_app_limited, info.fastopen_client_fail) == (1, 2)


@on_every_surface
async def test_a_detached_row_lets_its_datagram_go(
    surface: Surface, pair: tuple[socket.socket, socket.socket]
) -> None:
    """It says the same as before, from its own bytes."""
    first, second = await rows_of(surface, states=[1])
    said = repr(first), first.cookie, first.attributes, first.raw
    assert first._data is second._data
    assert first.detach() is first
    assert len(first._data) == len(first.raw) < len(second._data)
    assert (repr(first), first.cookie, first.attributes, first.raw) == said


@pytest.mark.anywhere
def test_a_row_keeps_attributes_that_nobody_knows() -> None:
    """Unknown attributes stay in ``attributes``; an unknown family, state and timer are numbers."""
    body = bytearray(72)
    body[:4] = bytes([0, 14, 9, 0])
    data = build_message(SOCK_DIAG_BY_FAMILY, 2, 1, 1, bytes(body) + build_attribute(999, b"newer"))
    row = TcpSocket(data)
    assert row.attributes == {999: b"newer"}
    assert row.state == 14
    assert row.state.name == "STATE_14"
    assert row.timer == 9
    assert (row.family, row.as_dict()["family"]) == (0, "family_0")


@pytest.mark.anywhere
def test_a_number_wider_than_any_is_an_error_when_it_is_asked_for() -> None:
    """8 bytes are a number, and 9 are none; of 2,000 there is one that json cannot write."""
    for size, is_number in ((0, True), (8, True), (9, False), (2000, False)):
        mark = build_attribute(Given.MARK, b"\xff" * size)
        row = TcpSocket(build_message(SOCK_DIAG_BY_FAMILY, 2, 1, 1, bytes(72) + mark))
        if is_number:
            assert row.mark == (1 << 8 * size) - 1
            continue
        for said in (lambda row=row: row.mark, row.as_dict):
            with pytest.raises(nls.DecodeError, match=f"a number of {size} bytes") as caught:
                said()
            assert caught.value.path == (Given.MARK,)


@pytest.mark.anywhere
def test_an_attribute_past_its_row_is_an_error_when_it_is_asked_for() -> None:
    """The row's own numbers are good, its attributes are not: DecodeError says where."""
    data = build_message(
        SOCK_DIAG_BY_FAMILY, 2, 1, 1, bytes([2, 1]) + bytes(70) + struct.pack("=HH", 400, 2)
    )
    row = TcpSocket(data)
    assert row.state is nls.TcpState.ESTABLISHED
    with pytest.raises(nls.DecodeError, match="400 bytes where 4 are left") as caught:
        _ = row.info
    assert caught.value.offset == ROW_MINIMUM
    assert caught.value.path == (2,)


@on_every_surface
async def test_distinct_rows_are_those_of_distinct_sockets(surface: Surface, family: str) -> None:
    """A row whose cookie was seen before in the same dump is left out; nothing else is."""
    with tcp_states.every_state(FAMILIES[family]):
        requests = nls.tcp_sockets(families=family)
        async with surface.open_sock_diag() as diag:
            rows = [row async for row in diag.dump(requests, distinct=True)]
            assert len({row.cookie for row in rows}) == len(rows)
            assert len(rows) == oracles.proc_states(family).total()
            doubling = [attrs.evolve(each, read=_reading_twice(each)) for each in requests]
            assert len([row async for row in diag.dump(doubling)]) == 2 * len(rows)
            once = [row async for row in diag.dump(doubling, distinct=True)]
            assert [row.cookie for row in once] == [row.cookie for row in rows]


@on_every_surface
async def test_a_dropped_dump_lets_its_rows_go(
    surface: Surface, pair: tuple[socket.socket, socket.socket]
) -> None:
    """Nothing in the library keeps a row that its user has let go."""

    class Tracked(TcpSocket):
        __slots__ = ("__weakref__",)

    tracked = [attrs.evolve(request, read=reader(Tracked)) for request in nls.tcp_sockets()]
    seen = weakref.WeakSet[Any]()
    async with surface.open_sock_diag() as diag:
        rows = [row async for row in diag.dump(tracked)]
        seen.update(rows)
        assert len(seen) == len(rows) == 3
        del rows
        gc.collect()
        assert len(seen) == 0


@on_every_surface
async def test_rows_agree_with_pyroute2(surface: Surface, family: str) -> None:
    """pyroute2's own codec reads the same from the same bytes."""
    from pyroute2.netlink.diag import inet_diag_msg

    with tcp_states.every_state(FAMILIES[family]):
        for row in await rows_of(surface, families=family, extensions=["info", "memory"]):
            theirs = inet_diag_msg(row.raw)
            theirs.decode()
            assert theirs["idiag_state"] == row.state
            assert theirs["idiag_src"] == row.source.address
            assert theirs["idiag_dst"] == row.destination.address
            assert theirs["idiag_sport"] == row.source.port
            assert theirs["idiag_dport"] == row.destination.port
            assert theirs["idiag_inode"] == row.inode
            info = theirs.get_attr("INET_DIAG_INFO")
            if info is not None:
                assert row.info is not None
                known = {
                    name: value
                    for name, value in row.info.as_dict().items()
                    if f"tcpi_{name}" in info and not name.endswith("_wscale")
                }
                assert len(known) > 40
                assert known == {name: info[f"tcpi_{name}"] for name in known}


def _reading_twice(request: Request[TcpSocket]) -> RowReader[TcpSocket]:
    """A reader that sees every row double, as a walk of a busy table may."""

    def read(data: bytes, offset: int, strides: Strides, rows: list[TcpSocket]) -> int:
        request.read(data, offset, strides, rows)
        return request.read(data, offset, strides, rows)

    return read
