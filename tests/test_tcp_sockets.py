"""Rows of real TCP sockets: what each says, against what the sockets themselves say."""

from __future__ import annotations

import contextlib
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
from netlink_safe.collectors.tcp_fold import RareFold
from netlink_safe.families.inet_diag import SOCK_DIAG_BY_FAMILY, Timer
from netlink_safe.families.inet_socket import ROW_MINIMUM, TcpSocket
from netlink_safe.families.tcp import _reader
from netlink_safe.families.tcp_info import KNOWN, TcpInfo
from netlink_safe.wire.attributes import build_attribute
from netlink_safe.wire.header import build_message
from surfaces import Surface, on_every_surface

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netlink_safe.protocol.request import Request, RowReader
    from netlink_safe.wire.header import Strides

FAMILIES = {"inet": socket.AF_INET, "inet6": socket.AF_INET6}


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    """Either address family."""
    return str(request.param)


@pytest.fixture
def listener(family: str) -> Iterator[socket.socket]:
    """A listener on loopback."""
    with socket.socket(FAMILIES[family]) as sock:
        sock.bind((tcp_states.LOOPBACK[FAMILIES[family]], 0))
        sock.listen(5)
        yield sock


@pytest.fixture
def pair(listener: socket.socket) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a connection."""
    with (
        socket.create_connection(listener.getsockname()[:2]) as client,
        listener.accept()[0] as server,
    ):
        yield client, server


async def rows_of(surface: Surface, **options: Any) -> list[TcpSocket]:
    async with surface.open_sock_diag() as diag:
        return [row async for row in diag.dump(nls.tcp_sockets(**options))]


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
async def test_extensions_that_are_asked_for_are_there(
    surface: Surface, pair: tuple[socket.socket, socket.socket]
) -> None:
    """By name or by enum; what was not asked for is None."""
    client, _ = pair
    client.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 0x10)
    names = ["info", nls.Extension.MEMORY, "CONGESTION", "tos", 6, "socket_memory"]
    options: dict[str, Any] = {"states": [1], "source_port": client.getsockname()[1]}
    [row] = await rows_of(surface, extensions=names, **options)
    assert row.info is not None
    assert row.info.snd_mss == client.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
    assert row.congestion is not None
    assert row.congestion.encode() == client.getsockopt(6, socket.TCP_CONGESTION, 16).rstrip(b"\0")
    assert row.memory is not None
    assert row.socket_memory is not None
    assert row.socket_memory.receive_buffer == client.getsockopt(1, socket.SO_RCVBUF)
    if client.family == socket.AF_INET:
        assert row.tos == 0x10
        assert row.traffic_class is None
    else:
        assert row.traffic_class == 0
    [bare] = await rows_of(surface, **options)
    assert (bare.info, bare.memory, bare.congestion, bare.tos, bare.socket_memory) == (None,) * 5


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
async def test_one_socket_is_found_by_its_addresses(
    surface: Surface, pair: tuple[socket.socket, socket.socket], listener: socket.socket
) -> None:
    """A connection by both ends, a listener by one, and only the very socket with its cookie."""
    client, _ = pair
    async with surface.open_sock_diag() as diag:
        ends = client.getsockname()[:2], client.getpeername()[:2]
        row = await diag.request(nls.tcp_socket(*ends, extensions=["info"]))
        assert row.inode == os.fstat(client.fileno()).st_ino
        assert row.info is not None
        same = await diag.request(nls.tcp_socket(*ends, cookie=row.cookie))
        assert same.cookie == row.cookie
        waiting = await diag.request(nls.tcp_socket(listener.getsockname()[:2]))
        assert waiting.state is nls.TcpState.LISTEN
        with pytest.raises(nls.KernelError, match="ENOENT") as caught:
            await diag.request(nls.tcp_socket(*ends, cookie=row.cookie + 1))
        assert caught.value.errno == 2
        assert (await diag.request(nls.tcp_socket(*ends))).cookie == row.cookie


@on_every_surface
async def test_ports_are_matched_in_the_kernel(
    surface: Surface, pair: tuple[socket.socket, socket.socket]
) -> None:
    """The header's own match: source, destination, or both."""
    client, server = pair
    here, there = client.getsockname()[1], server.getsockname()[1]
    [by_source] = await rows_of(surface, source_port=here)
    [by_destination] = await rows_of(surface, destination_port=there)
    [by_both] = await rows_of(surface, source_port=here, destination_port=there)
    assert by_source.cookie == by_destination.cookie == by_both.cookie


@on_every_surface
async def test_bound_inactive_sockets_come_only_by_name(surface: Surface) -> None:
    """A socket that is bound and does nothing is no CLOSE of the everyday dump (Linux 6.8)."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        assert await rows_of(surface) == []
        rows = await rows_of(surface, states=["bound_inactive"])
        expected = [bound.getsockname()] if _kernel() >= (6, 8) else []
        assert [(row.source.address, row.source.port) for row in rows] == expected
        assert all(row.state is nls.TcpState.BOUND_INACTIVE for row in rows)


@on_every_surface
async def test_new_syn_recv_is_asked_of_nobody(surface: Surface) -> None:
    """No row ever has it, so that a dump of it alone is empty and needs no kernel."""
    assert nls.tcp_sockets(states=["new_syn_recv"]) == ()
    assert await rows_of(surface, states=["new_syn_recv"]) == []


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


def test_a_row_keeps_attributes_that_nobody_knows() -> None:
    """Unknown attributes stay in ``attributes``, an unknown state and timer are numbers."""
    body = bytearray(72)
    body[:4] = bytes([2, 14, 9, 0])
    data = build_message(SOCK_DIAG_BY_FAMILY, 2, 1, 1, bytes(body) + build_attribute(999, b"newer"))
    row = TcpSocket(data)
    assert row.attributes == {999: b"newer"}
    assert row.state == 14
    assert row.state.name == "STATE_14"
    assert row.timer == 9


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


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"states": ["asleep"]}, "'asleep' is no state; there are established, "),
        ({"states": [99]}, "99 is no state"),
        ({"states": [True]}, "True is no state"),
        ({"families": "unix"}, "'unix' is no address family; there are inet, inet6"),
        ({"extensions": ["rtt"]}, "'rtt' is no extension"),
        ({"source_port": 65536}, "65536 is no port"),
        ({"destination_port": "http"}, "'http' is no port"),
    ],
)
def test_what_does_not_exist_cannot_be_asked_for(options: dict[str, Any], said: str) -> None:
    """The error names what there is."""
    with pytest.raises(nls.LocalProtocolError, match=said):
        nls.tcp_sockets(**options)


@pytest.mark.parametrize(
    ("arguments", "options", "said"),
    [
        ((("nowhere", 1),), {}, "does not appear to be an IPv4 or IPv6 address"),
        ((("127.0.0.1", 1), ("::1", 1)), {}, "different address families"),
        ((("127.0.0.1", -1),), {}, "-1 is no port"),
        ((("127.0.0.1", 1),), {"cookie": -1}, "-1 is no cookie"),
    ],
)
def test_what_is_no_address_cannot_be_looked_for(
    arguments: tuple[Any, ...], options: dict[str, Any], said: str
) -> None:
    """The error says which argument it was."""
    with pytest.raises(nls.LocalProtocolError, match=said):
        nls.tcp_socket(*arguments, **options)


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
async def test_both_families_come_of_one_walk_of_the_table(surface: Surface) -> None:
    """The old request asks for both at once, and gives the same rows as one request for each."""
    with contextlib.ExitStack() as held:
        for family in FAMILIES.values():
            held.enter_context(tcp_states.every_state(family))
        both = nls.tcp_sockets(extensions=["info"])
        async with surface.open_sock_diag() as diag:
            rows = [row async for row in diag.dump(both)]
            assert diag.statistics().attempts == len(both)
            instead = [other for request in both for other in request.instead]
            apart = [row async for row in diag.dump(instead)]
            assert diag.statistics().attempts == 3 * len(both)

    def told(row: TcpSocket) -> tuple[Any, ...]:
        return row.cookie, row.family, row.state, row.source, sorted(row.attributes)

    assert sorted(map(told, rows)) == sorted(map(told, apart))


@on_every_surface
async def test_a_kernel_that_forgot_the_old_request_is_asked_for_each_family(
    surface: Surface,
) -> None:
    """EINVAL to the one request: the two that mean the same are made instead."""
    forgotten = [attrs.evolve(both, type=17) for both in nls.tcp_sockets()]
    with tcp_states.every_state(socket.AF_INET6) as made:
        async with surface.open_sock_diag() as diag:
            rows = [row async for row in diag.dump(forgotten)]
            folds = await diag.fold(forgotten, RareFold)
    assert len(rows) == sum(made.values())
    assert len(folds) == 2 * len(forgotten)
    assert sum(fold.counts.total() for fold in folds) == len(rows)


@on_every_surface
async def test_a_dropped_dump_lets_its_rows_go(
    surface: Surface, pair: tuple[socket.socket, socket.socket]
) -> None:
    """Nothing in the library keeps a row that its user has let go."""

    class Tracked(TcpSocket):
        __slots__ = ("__weakref__",)

    tracked = [attrs.evolve(request, read=_reader(Tracked)) for request in nls.tcp_sockets()]
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


def _kernel() -> tuple[int, int]:
    major, minor = os.uname().release.split(".")[:2]
    return int(major), int(minor)


def test_listeners_are_asked_for_apart() -> None:
    """A dump whose first rows come at once does not go on to walk a table that may be large."""
    for wanted in ({}, {"families": "inet"}, {"states": ["listen", "close_wait"]}):
        masks = [_states_asked(request) for request in nls.tcp_sockets(**wanted)]
        assert [mask & 1 << nls.TcpState.LISTEN for mask in masks] == [0, 1 << nls.TcpState.LISTEN]
        assert masks[1] == 1 << nls.TcpState.LISTEN
    assert sum(_states_asked(request) for request in nls.tcp_sockets()) == 0xFFF & ~1


def _states_asked(request: Request[TcpSocket]) -> int:
    """The mask of struct inet_diag_req_v2 stands at 4, that of struct inet_diag_req behind it."""
    at = 4 if request.type == SOCK_DIAG_BY_FAMILY else 52
    return int.from_bytes(request.payload[at : at + 4], sys.byteorder)


@on_every_surface
async def test_what_is_no_request_to_sock_diag_is_refused(surface: Surface) -> None:
    """Before anything is sent; the error says what makes some."""
    one = nls.tcp_socket(("127.0.0.1", 80))
    async with surface.open_sock_diag() as diag:
        for requests, said in (
            (5, r"5 is no Request; tcp_sockets\(\) and tcp_socket\(\) make some"),
            (None, "None is no Request"),
            ("tcp", "'t' is no Request"),
            ([one, 5], "5 is no Request"),
            (nls.generic_request("ethtool", 2), "is no Request"),
            (nls.links(), r"links is for netlink protocol 0, and this socket speaks 4; tcp_sock"),
        ):
            for verb in (diag.dump, diag.request):
                with pytest.raises(nls.LocalProtocolError, match=said):
                    await verb(requests)
            with pytest.raises(nls.LocalProtocolError, match=said):
                await diag.fold(requests, RareFold)
        for table in (nls.tcp_sockets(), nls.tcp_sockets()[0]):
            with pytest.raises(nls.LocalProtocolError, match="is a table; give it to dump"):
                await diag.request(table)
        with pytest.raises(nls.LocalProtocolError, match="takes one Request, and not"):
            await diag.request([one, one])
        assert diag.statistics().attempts == 0
