"""Rows of real UDP, UDP-Lite, raw, MPTCP and SCTP sockets, against what the sockets say."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

import kernel
import netlink_safe as nls
import oracles
import tcp_states
from inet_told import MPTCP, SCTP, UDPLITE
from surfaces import Surface, on_every_surface

if TYPE_CHECKING:
    from collections.abc import Iterator


SOL_MPTCP, MPTCP_INFO = 284, 1


OSPF = 89


async def rows_of(surface: Surface, requests: Any, **options: Any) -> list[Any]:
    async with surface.open_sock_diag() as diag:
        return [row async for row in diag.dump(requests, **options)]


def opened(family: socket.AddressFamily, kind: int, protocol: int, what: str) -> socket.socket:
    """A socket of a kind that a kernel may be built without."""
    try:
        return socket.socket(family, kind, protocol)
    except OSError:
        kernel.skip_without(what)
        raise


async def asked(surface: Surface, requests: Any) -> list[Any]:
    """Rows of a kind that a kernel may tell nothing of; that is then the error."""
    try:
        return await rows_of(surface, requests)
    except nls.NotSupported as error:
        kernel.skip_without(error.feature)
        raise


def cookie_of(sock: socket.socket) -> int:
    """SO_COOKIE."""
    return int(struct.unpack("=Q", sock.getsockopt(socket.SOL_SOCKET, 57, 8))[0])


def check_row(row: Any, sock: socket.socket) -> None:
    """A row says what its socket says of itself."""
    assert row.cookie == cookie_of(sock)
    assert (row.source.address, row.source.port) == sock.getsockname()[:2]
    with contextlib.suppress(OSError):  # not connected
        assert (row.destination.address, row.destination.port) == sock.getpeername()[:2]
    assert int(row.family) == int(sock.family)
    assert (row.uid, row.inode) == (os.getuid(), os.fstat(sock.fileno()).st_ino)
    assert row.interface == 0


def shown_by_ss(row: Any) -> tuple[str, str, str]:
    """What oracles.ss_rows has of it."""
    return row.state.name.lower(), str(row.source), str(row.destination)


@pytest.fixture
def datagrams(family: socket.AddressFamily) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two UDP sockets, of which the second is connected to the first."""
    with (
        socket.socket(family, socket.SOCK_DGRAM) as bound,
        socket.socket(family, socket.SOCK_DGRAM) as connected,
    ):
        bound.bind((tcp_states.LOOPBACK[family], 0))
        connected.connect(bound.getsockname())
        yield bound, connected


@on_every_surface
async def test_udp_rows_say_what_their_sockets_say(
    surface: Surface, datagrams: tuple[socket.socket, socket.socket]
) -> None:
    """Both are there, as ss and /proc have them; what is queued is memory."""
    bound, connected = datagrams
    connected.send(b"x" * 100)
    rows = await rows_of(surface, nls.udp_sockets(extensions=["memory", "socket_memory", "tos"]))
    by_cookie = {row.cookie: row for row in rows}
    for sock, state in ((bound, nls.TcpState.CLOSE), (connected, nls.TcpState.ESTABLISHED)):
        row = by_cookie[cookie_of(sock)]
        check_row(row, sock)
        assert isinstance(row, nls.UdpSocket)
        assert row.state is state
        assert row.tos == 0
        assert row.socket_memory is not None
        assert row.socket_memory.receive_buffer == sock.getsockopt(
            socket.SOL_SOCKET, socket.SO_RCVBUF
        )
    here, there = by_cookie[cookie_of(bound)], by_cookie[cookie_of(connected)]
    assert here.receive_queue == here.memory.receive > 100
    assert there.receive_queue == 0
    assert (here.v6_only is None) is (bound.family == socket.AF_INET)
    assert oracles.ss_rows("-u") in (Counter(map(shown_by_ss, rows)), None)
    shown = oracles.proc_rows("udp") + oracles.proc_rows("udp6")
    assert shown == Counter((row.source.port, row.inode) for row in rows)


@on_every_surface
async def test_udp_sockets_are_asked_for_by_state_family_and_port(
    surface: Surface, datagrams: tuple[socket.socket, socket.socket]
) -> None:
    """The kernel gives no others."""
    bound, connected = datagrams
    port = bound.getsockname()[1]
    other = "inet6" if bound.family == socket.AF_INET else "inet"
    for sock, options in (
        (bound, {"states": "close"}),
        (connected, {"states": ["ESTABLISHED"]}),
        (bound, {"source_port": port}),
        (connected, {"destination_port": port}),
    ):
        wanted: dict[str, Any] = options
        [row] = await rows_of(surface, nls.udp_sockets(**wanted))
        assert row.cookie == cookie_of(sock)
        assert await rows_of(surface, nls.udp_sockets(**wanted, families=other)) == []
    assert await rows_of(surface, nls.udp_sockets(states="listen")) == []


@on_every_surface
async def test_one_udp_socket_is_found_as_a_datagram_finds_it(
    surface: Surface, datagrams: tuple[socket.socket, socket.socket]
) -> None:
    """By where it hears and whom it hears; one that is bound to all addresses by each of them."""
    bound, connected = datagrams
    async with surface.open_sock_diag() as diag:
        row = await diag.request(nls.udp_socket(bound.getsockname()[:2], extensions="memory"))
        assert row.memory is not None
        check_row(row, bound)
        ends = connected.getsockname()[:2], connected.getpeername()[:2]
        check_row(await diag.request(nls.udp_socket(*ends)), connected)
        check_row(await diag.request(nls.udp_socket(*ends, cookie=cookie_of(connected))), connected)
        for request, errors in (
            (nls.udp_socket(ends[0]), {2}),  # it is connected, and hears nobody else
            (nls.udp_socket(*ends, cookie=1), {2, 116}),
        ):
            with pytest.raises(nls.KernelError) as caught:
                await diag.request(request)
            assert caught.value.errno in errors
        with socket.socket(bound.family, socket.SOCK_DGRAM) as everywhere:
            everywhere.bind(("", 0))
            port = everywhere.getsockname()[1]
            row = await diag.request(nls.udp_socket((bound.getsockname()[0], port)))
            assert row.cookie == cookie_of(everywhere)
    with pytest.raises(nls.LocalProtocolError, match="different address families"):
        nls.udp_socket(("127.0.0.1", 1), ("::1", 1))


@on_every_surface
async def test_udplite_rows_say_what_their_sockets_say(
    surface: Surface, family: socket.AddressFamily
) -> None:
    """Where the kernel still has UDP-Lite; UDP's rows are others."""
    with opened(family, socket.SOCK_DGRAM, UDPLITE, "UDP-Lite") as sock:
        sock.bind((tcp_states.LOOPBACK[family], 0))
        [row] = await asked(surface, nls.udplite_sockets())
        check_row(row, sock)
        assert isinstance(row, nls.UdpliteSocket)
        assert row.state is nls.TcpState.CLOSE
        assert await rows_of(surface, nls.udp_sockets()) == []


@on_every_surface
async def test_raw_rows_say_what_their_sockets_say(
    surface: Surface, family: socket.AddressFamily
) -> None:
    """Where the kernel tells of raw sockets; a port is the number of the IP protocol."""
    address = tcp_states.LOOPBACK[family]
    with (
        socket.socket(family, socket.SOCK_RAW, OSPF) as one,
        socket.socket(family, socket.SOCK_RAW, OSPF + 1) as other,
    ):
        one.bind((address, 0))
        other.connect((address, 0))
        rows = {row.ip_protocol: row for row in await asked(surface, nls.raw_sockets())}
        assert rows.keys() == {OSPF, OSPF + 1}
        for sock, row in ((one, rows[OSPF]), (other, rows[OSPF + 1])):
            assert isinstance(row, nls.RawSocket)
            assert row.cookie == cookie_of(sock)
            assert row.source.address == sock.getsockname()[0]
            assert row.inode == os.fstat(sock.fileno()).st_ino
        assert rows[OSPF].state is nls.TcpState.CLOSE
        assert rows[OSPF + 1].state is nls.TcpState.ESTABLISHED
        assert rows[OSPF + 1].destination.address == address
        for options in ({"ip_protocol": OSPF}, {"states": "close"}):
            wanted: dict[str, Any] = options
            [row] = await rows_of(surface, nls.raw_sockets(**wanted))
            assert row.cookie == cookie_of(one)
        shown = oracles.ss_rows("-w")
        assert shown is None or shown.total() == len(rows)


@pytest.fixture
def multipath(family: socket.AddressFamily) -> Iterator[tuple[socket.socket, ...]]:
    """An MPTCP listener, and both ends of a connection, over which something was said."""
    with (
        opened(family, socket.SOCK_STREAM, MPTCP, "MPTCP") as listener,
        socket.socket(family, socket.SOCK_STREAM, MPTCP) as client,
    ):
        listener.bind((tcp_states.LOOPBACK[family], 0))
        listener.listen(7)
        client.connect(listener.getsockname())
        with listener.accept()[0] as server:
            client.sendall(b"there")
            assert server.recv(9) == b"there"
            server.sendall(b"back")
            assert client.recv(9) == b"back"
            yield listener, client, server


@on_every_surface
async def test_mptcp_rows_say_what_their_sockets_say(
    surface: Surface, multipath: tuple[socket.socket, ...]
) -> None:
    """A listener and two ends, as ss has them; struct mptcp_info is the socket's own."""
    listener, client, server = multipath
    rows = await asked(surface, nls.mptcp_sockets(extensions=["info", "congestion"]))
    by_cookie = {row.cookie: row for row in rows}
    assert len(by_cookie) == len(rows) == 3
    for sock in multipath:
        row = by_cookie[cookie_of(sock)]
        check_row(row, sock)
        assert isinstance(row, nls.MptcpSocket)
    assert by_cookie[cookie_of(listener)].accept_queue == nls.AcceptQueue(length=0, limit=7)
    for sock in (client, server):
        row = by_cookie[cookie_of(sock)]
        assert row.state is nls.TcpState.ESTABLISHED
        own = nls.MptcpInfo(sock.getsockopt(SOL_MPTCP, MPTCP_INFO, 256)).as_dict()
        info = row.info.as_dict()
        moving = {"last_data_sent", "last_data_recv", "last_ack_recv"}
        assert info.keys() >= own.keys()
        assert {name: info[name] for name in own.keys() - moving} == {
            name: own[name] for name in own.keys() - moving
        }
        assert nls.MptcpFlags(row.info.flags) == nls.MptcpFlags.REMOTE_KEY_RECEIVED
        assert row.info.subflows == 0
    assert oracles.ss_rows("-M") in (Counter(map(shown_by_ss, rows)), None)
    of_states = await rows_of(surface, nls.mptcp_sockets(states="established"))
    assert {row.cookie for row in of_states} == {cookie_of(client), cookie_of(server)}


@on_every_surface
async def test_a_tcp_row_says_what_it_is_to_mptcp(
    surface: Surface, multipath: tuple[socket.socket, ...]
) -> None:
    """Its local token is the connection's; plain TCP is nothing to it."""
    tokens = {
        row.source: row.info.token
        for row in await asked(surface, nls.mptcp_sockets("established", extensions="info"))
    }
    rows = await rows_of(surface, nls.tcp_sockets(extensions="info"))
    assert {row.ulp for row in rows} == {"mptcp"}
    subflows = {row.source: row.subflow for row in rows if row.state is not nls.TcpState.LISTEN}
    assert {source: subflow.token_local for source, subflow in subflows.items()} == tokens
    client, server = (subflows[nls.Endpoint(*one.getsockname()[:2])] for one in multipath[1:])
    both = nls.SubflowFlags.FULLY_ESTABLISHED | nls.SubflowFlags.CAPABLE_REMOTE
    assert client.flags & both == server.flags & both == both
    assert client.flags & nls.SubflowFlags.CAPABLE_LOCAL
    assert (client.id_local, client.id_remote) == (0, 0)
    [listening] = [row for row in rows if row.state is nls.TcpState.LISTEN]
    assert listening.subflow is None
    with socket.create_server(("127.0.0.1", 0)) as plain:
        port = plain.getsockname()[1]
        [row] = await rows_of(surface, nls.tcp_sockets(extensions="info", source_port=port))
        assert (row.ulp, row.subflow) == (None, None)
    [bare, *_] = await rows_of(surface, nls.tcp_sockets("established"))
    assert (bare.ulp, bare.subflow) == (None, None)


@on_every_surface
async def test_sctp_rows_are_endpoints_and_associations(
    surface: Surface, family: socket.AddressFamily
) -> None:
    """Where the kernel has SCTP; an association has its endpoint's cookie, and peers."""
    with (
        opened(family, socket.SOCK_STREAM, SCTP, "SCTP") as listener,
        socket.socket(family, socket.SOCK_STREAM, SCTP) as client,
    ):
        address = tcp_states.LOOPBACK[family]
        listener.bind((address, 0))
        listener.listen(5)
        client.connect(listener.getsockname())
        with listener.accept()[0] as server:
            rows = await asked(surface, nls.sctp_sockets(extensions=["info"]))
            assert all(isinstance(row, nls.SctpSocket) for row in rows)
            [listening] = [row for row in rows if row.state is nls.TcpState.LISTEN]
            assert listening.cookie == cookie_of(listener)
            assert not listening.is_association
            assert (listening.receive_queue, listening.transmit_queue) == (0, 5)
            assert listening.local_addresses == (address,)
            assert listening.peer_addresses == ()
            ends = {row.cookie: row for row in rows if row.is_association}
            assert ends.keys() == {cookie_of(client), cookie_of(server)}
            for one, other in ((client, server), (server, client)):
                row = ends[cookie_of(one)]
                assert row.state is nls.SctpState.ESTABLISHED
                assert address in row.local_addresses
                assert address in row.peer_addresses
                assert row.source.port == one.getsockname()[1]
                assert row.destination.port == other.getsockname()[1]
                assert row.info is not None
            distinct = await rows_of(surface, nls.sctp_sockets(), distinct=True)
            assert sum(row.is_association for row in distinct) == 2
            port = listener.getsockname()[1]
            of_port = await rows_of(surface, nls.sctp_sockets(source_port=port))
            assert {row.source.port for row in of_port} == {port}
            shown = oracles.ss_rows("-S")
            assert shown is None or nls.TcpState.LISTEN.name.lower() in {one[0] for one in shown}


@on_every_surface
async def test_the_kernel_runs_a_filter_on_udp_and_mptcp(
    surface: Surface, multipath: tuple[socket.socket, ...]
) -> None:
    """What it gives is what the filter says of the rows of all."""
    listener, client, _ = multipath
    with contextlib.ExitStack() as held:
        datagrams = [
            held.enter_context(socket.socket(listener.family, socket.SOCK_DGRAM)) for _ in range(3)
        ]
        for sock in datagrams:
            sock.bind((tcp_states.LOOPBACK[socket.AddressFamily(listener.family)], 0))
        for build, sock in ((nls.mptcp_sockets, client), (nls.udp_sockets, datagrams[1])):
            make: Any = build
            for where in (
                nls.Port("src", sock.getsockname()[1]),
                nls.Not(nls.Port("src", sock.getsockname()[1])),
                nls.Address("10.0.0.0/8"),
                nls.Address(sock.getsockname()[0], side="src"),
            ):
                every = await asked(surface, make())
                some = await asked(surface, make(where=where))
                assert {row.cookie for row in some} == {
                    row.cookie for row in every if where.matches(row)
                }
                assert len(every) == 3
