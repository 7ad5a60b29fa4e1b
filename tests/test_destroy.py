"""Destroying real sockets: those that are meant, and no neighbour."""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import Any

import pytest

import netlink_safe as nls
import tcp_states
from destroying import ends, listener, pairs, port_of, works
from surfaces import Surface, on_every_surface

__all__ = ["listener", "pairs"]  # fixtures


ENDS_AT_ONCE = struct.pack("=ii", 1, 0)


SO_REUSEPORT = 15


IPV6_V6ONLY = 26


@on_every_surface
async def test_exactly_the_socket_that_is_named_closes(
    surface: Surface, pairs: list[tuple[socket.socket, socket.socket]]
) -> None:
    """Its owner is told of an abort and its peer gets a reset; every neighbour lives."""
    client, server = pairs[1]
    async with surface.open_sock_diag() as diag:
        row = await diag.request(nls.tcp_socket(*ends(client)))
        assert [each.cookie for each in await diag.destroy(row)] == [row.cookie]
        with pytest.raises(ConnectionAbortedError):
            client.recv(1)
        with pytest.raises(ConnectionResetError):
            server.recv(1)
        assert all(works(*pair) for pair in (pairs[0], pairs[2], pairs[3]))
        assert await diag.destroy(row) == []  # it is gone: nothing to do, and nothing wrong


@on_every_surface
async def test_another_socket_with_the_same_addresses_is_left_alone(
    surface: Surface, listener: socket.socket
) -> None:
    """The row's cookie is another one's: nothing is destroyed, and the newcomer works."""
    async with surface.open_sock_diag() as diag:
        with tcp_states.connection(listener) as (client, _):
            source = client.getsockname()
            row = await diag.request(nls.tcp_socket(*ends(client)))
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ENDS_AT_ONCE)
        with socket.socket(listener.family) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            client.bind(source)
            client.connect(listener.getsockname())
            with listener.accept()[0] as server:
                now = await diag.request(nls.tcp_socket(*ends(client)))
                assert (now.source, now.destination) == (row.source, row.destination)
                assert now.cookie != row.cookie
                assert await diag.destroy(row) == []
                assert works(client, server)
                assert [each.cookie for each in await diag.destroy(now)] == [now.cookie]


@on_every_surface
async def test_of_several_none_is_destroyed_unless_all_are_meant(
    surface: Surface, pairs: list[tuple[socket.socket, socket.socket]], listener: socket.socket
) -> None:
    """The error says how many, and names a few; with all=True those that match go, and no other."""
    servers = nls.tcp_sockets(states="established", source_port=port_of(listener))
    async with surface.open_sock_diag() as diag:
        with pytest.raises(nls.LocalProtocolError, match="4 sockets are meant, ") as caught:
            await diag.destroy(servers)
        assert "and 1 more, and nothing was destroyed: give a narrower" in str(caught.value)
        rows = [row async for row in diag.dump(servers)]
        with pytest.raises(nls.LocalProtocolError, match="4 sockets are meant"):
            await diag.destroy(rows)
        assert sum(str(row.destination) in str(caught.value) for row in rows) == 3
        assert all(works(*pair) for pair in pairs)
        gone = await diag.destroy(servers, all=True)
        assert {row.cookie for row in gone} == {row.cookie for row in rows}
        for client, server in pairs:
            with pytest.raises(ConnectionAbortedError):
                server.recv(1)
            with pytest.raises(ConnectionResetError):
                client.recv(1)
        assert await diag.destroy(servers, all=True) == []
        with tcp_states.connection(listener) as pair:  # which did not match
            assert works(*pair)


@on_every_surface
async def test_what_a_filter_matches_is_destroyed(
    surface: Surface, pairs: list[tuple[socket.socket, socket.socket]]
) -> None:
    """By a program that the kernel runs; two of four, and no listener."""
    ports = [nls.Port("src", port_of(pairs[number][0])) for number in (0, 2)]
    either = nls.tcp_sockets(where=nls.AnyOf(ports))
    async with surface.open_sock_diag() as diag:
        with pytest.raises(nls.LocalProtocolError, match="2 sockets are meant"):
            await diag.destroy(either)
        gone = await diag.destroy(either, all=True)
    assert {row.source.port for row in gone} == {port.first for port in ports}
    assert works(*pairs[1])
    assert works(*pairs[3])


@on_every_surface
async def test_a_listener_stops_to_listen(surface: Surface, listener: socket.socket) -> None:
    """What waits to be accepted is reset, what was accepted works on."""
    with (
        tcp_states.connection(listener) as pair,
        socket.create_connection(ends_of(listener)) as waiting,
    ):
        async with surface.open_sock_diag() as diag:
            one = nls.tcp_sockets(states="listen", source_port=port_of(listener))
            [row] = await diag.destroy(one)
            assert row.state is nls.TcpState.LISTEN
        with pytest.raises(ConnectionResetError):
            waiting.recv(1)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(ends_of(listener))
        assert works(*pair)


def ends_of(listener: socket.socket) -> Any:
    """Where to connect to."""
    return listener.getsockname()[:2]


@on_every_surface
async def test_a_socket_in_any_state_goes(surface: Surface, family: socket.AddressFamily) -> None:
    """Half-open requests and the remains in TIME_WAIT among them."""
    with tcp_states.every_state(family):
        async with surface.open_sock_diag() as diag:
            remains = {"syn_recv", "time_wait"}
            gone = await diag.destroy(nls.tcp_sockets(states=remains), all=True)
            assert {str(row.state).lower() for row in gone} == remains
            rows = [row async for row in diag.dump(nls.tcp_sockets())]
            gone = await diag.destroy(rows, all=True)
            # The end of a connection takes its other end with it.
            assert len({row.state for row in gone}) >= len({row.state for row in rows}) // 2
            assert [row async for row in diag.dump(nls.tcp_sockets())] == []


@on_every_surface
async def test_listeners_that_share_a_port_go_together(
    surface: Surface, family: socket.AddressFamily
) -> None:
    """The kernel finds one of its own choice: a single one may be missed, all of them not."""
    with contextlib.ExitStack() as held:
        port = 0
        for _ in range(8):
            sock = held.enter_context(socket.socket(family))
            sock.setsockopt(socket.SOL_SOCKET, SO_REUSEPORT, 1)
            sock.bind((tcp_states.LOOPBACK[family], port))
            sock.listen()
            port = port_of(sock)
        async with surface.open_sock_diag() as diag:
            rows = [row async for row in diag.dump(nls.tcp_sockets(source_port=port))]
            found = [row for row in rows if await diag.destroy(row)]
            left = {row.cookie async for row in diag.dump(nls.tcp_sockets(source_port=port))}
            assert left == {row.cookie for row in rows} - {row.cookie for row in found}
            gone = await diag.destroy(nls.tcp_sockets(source_port=port), all=True)
            assert {row.cookie for row in gone} == left
            assert [row async for row in diag.dump(nls.tcp_sockets(source_port=port))] == []


@on_every_surface
async def test_a_dual_stack_socket_is_found_by_its_mapped_addresses(surface: Surface) -> None:
    """TCP and UDP over IPv4 from sockets of AF_INET6."""
    with (
        socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as listener,
        socket.create_connection(("127.0.0.1", port_of(listener))) as client,
        listener.accept()[0],
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as udp,
    ):
        udp.setsockopt(socket.IPPROTO_IPV6, IPV6_V6ONLY, 0)
        udp.connect(("::ffff:127.0.0.1", 9))
        async with surface.open_sock_diag() as diag:
            ours: dict[str, Any] = {"families": "inet6", "source_port": port_of(listener)}
            [row] = await diag.destroy(nls.tcp_sockets(states="established", **ours))
            assert row.source.address == "::ffff:127.0.0.1"
            with pytest.raises(ConnectionResetError):
                client.recv(1)
            assert len(await diag.destroy(nls.tcp_sockets(states="listen", **ours))) == 1
            assert len(await diag.destroy(nls.udp_sockets(source_port=port_of(udp)))) == 1
            with pytest.raises(ConnectionAbortedError):
                udp.recv(1)


@on_every_surface
async def test_a_socket_that_is_bound_to_an_interface_is_found_there(surface: Surface) -> None:
    """Beside one on the same port of another address, which lives; all together, sharing it too."""
    with contextlib.ExitStack() as held:
        bound, free, *sharing = (held.enter_context(socket.socket()) for _ in range(4))
        free.bind(("127.0.0.2", 0))
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
        bound.bind(("127.0.0.1", port_of(free)))
        sharing[0].setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
        for sock in sharing:
            sock.setsockopt(socket.SOL_SOCKET, SO_REUSEPORT, 1)
            sock.bind(("127.0.0.1", 0 if sock is sharing[0] else port_of(sharing[0])))
        for sock in (bound, free, *sharing):
            sock.listen()
        async with surface.open_sock_diag() as diag:
            both = [row async for row in diag.dump(nls.tcp_sockets(source_port=port_of(bound)))]
            [row] = [row for row in both if row.interface]
            assert len(await diag.destroy(row)) == 1
            assert len(both) == 2
            with tcp_states.connection(free) as pair:
                assert works(*pair)
            shared = nls.tcp_sockets(source_port=port_of(sharing[0]))
            assert {row.interface for row in await diag.destroy(shared, all=True)} == {0, 1}


@on_every_surface
async def test_a_udp_socket_is_disconnected_and_told(
    surface: Surface, family: socket.AddressFamily
) -> None:
    """One with a port of the kernel's choice is gone; one bound by number keeps it."""
    address = tcp_states.LOOPBACK[family]
    with contextlib.ExitStack() as held:
        chosen, by_number, other = (
            held.enter_context(socket.socket(family, socket.SOCK_DGRAM)) for _ in range(3)
        )
        chosen.bind((address, 0))
        other.bind((address, 0))
        with socket.socket(family, socket.SOCK_DGRAM) as before:
            before.bind((address, 0))
            port = port_of(before)
        by_number.bind((address, port))
        by_number.connect(other.getsockname())
        async with surface.open_sock_diag() as diag:
            for sock in (chosen, by_number):
                of_it = nls.udp_sockets(source_port=port_of(sock))
                [row] = await diag.destroy(of_it)
                assert isinstance(row, nls.UdpSocket)
                with pytest.raises(ConnectionAbortedError):
                    sock.recv(1)
                left = [row async for row in diag.dump(of_it)]
                assert [(row.cookie, row.destination.port) for row in left] == (
                    [(row.cookie, 0)] if sock is by_number else []
                )
            by_number.sendto(b"x", other.getsockname())
            assert other.recv(1) == b"x"
