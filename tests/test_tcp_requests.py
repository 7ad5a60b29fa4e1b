"""Which TCP sockets are asked for, how the kernel is asked, and what it refuses."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from typing import TYPE_CHECKING, Any

import attrs
import pytest

import netlink_safe as nls
import tcp_states
from netlink_safe.collectors.tcp_fold import RareFold
from netlink_safe.families.sock_diag import SOCK_DIAG_BY_FAMILY
from surfaces import Surface, on_every_surface
from tcp_rows import family, listener, pair, rows_of
from tcp_states import FAMILIES

if TYPE_CHECKING:
    from netlink_safe.families.inet_rows import TcpSocket
    from netlink_safe.protocol.request import Request

__all__ = ["family", "listener", "pair"]  # fixtures


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


@pytest.mark.anywhere
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


@pytest.mark.anywhere
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


def _kernel() -> tuple[int, int]:
    major, minor = os.uname().release.split(".")[:2]
    return int(major), int(minor)


@pytest.mark.anywhere
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
            (5, r"5 is no Request; tcp_sockets\(\), unix_sockets\(\) and their like make some"),
            (None, "None is no Request"),
            ("tcp", "'tcp' is no Request"),
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
