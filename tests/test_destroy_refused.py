"""Who may not destroy, what cannot be destroyed, and what is told of a destruction half way."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Any

import anyio
import pytest

import faults
import kernel
import netlink_safe as nls
import tcp_states
from destroying import ends, listener, pairs, port_of, works
from netlink_safe import blocking
from netlink_safe.families.destruction import destruction
from netlink_safe.families.inet_rows import RawSocket
from netlink_safe.families.sock_diag import SOCK_DIAG_BY_FAMILY
from netlink_safe.transport import destroying
from netlink_safe.wire.header import build_message
from surfaces import SURFACES, Surface, on_every_surface, taking_at_most

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["listener", "pairs"]  # fixtures


@pytest.mark.parametrize("surface", SURFACES, ids=lambda surface: surface.name)
def test_who_may_not_is_told_what_it_takes(surface: Surface, listener: socket.socket) -> None:
    """CAP_NET_ADMIN; the socket lives."""

    async def destroy() -> None:
        async with surface.open_sock_diag() as diag:
            await diag.destroy(nls.tcp_sockets(source_port=port_of(listener)))

    def without_rights() -> None:
        kernel.drop_all_rights()
        anyio.run(destroy, backend=surface.backend)

    said = kernel.in_child(without_rights)
    assert said.startswith("KernelError: the kernel refused the destruction of the TCP socket ")
    assert said.endswith(": Operation not permitted (EPERM): it takes CAP_NET_ADMIN")
    with tcp_states.connection(listener) as pair:
        assert works(*pair)


@on_every_surface
async def test_an_error_half_way_says_which_are_destroyed(
    surface: Surface, pairs: list[tuple[socket.socket, socket.socket]]
) -> None:
    """What the kernel refuses ends it; what stands behind it is not tried."""
    with mptcp_listener() as mptcp:
        async with surface.open_sock_diag() as diag:
            first, last = [
                await diag.request(nls.tcp_socket(*ends(pairs[number][0]))) for number in (0, 1)
            ]
            [refused] = [row async for row in diag.dump(nls.tcp_sockets(source_port=mptcp))]
            with pytest.raises(nls.KernelError, match="a listener of MPTCP") as caught:
                await diag.destroy([first, refused, last], all=True)
            [note] = caught.value.__notes__
            assert note == f"done before that: destroyed {first.source} -> {first.destination}"
            with pytest.raises(ConnectionAbortedError):
                pairs[0][0].recv(1)
            assert works(*pairs[1])


@contextlib.contextmanager
def mptcp_listener() -> Iterator[int]:
    """The port of one, whose TCP socket the kernel destroys for nobody (Linux 6.1.5)."""
    try:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)
    except OSError:
        kernel.skip_without("MPTCP")
    with sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        yield port_of(sock)


@on_every_surface
async def test_the_deadline_is_for_all_of_it(
    surface: Surface, pairs: list[tuple[socket.socket, socket.socket]]
) -> None:
    """What the kernel is at may still be destroyed, and the error says so."""
    async with surface.open_sock_diag() as diag:
        row = await diag.request(nls.tcp_socket(*ends(pairs[0][0])))
        with taking_at_most(10), faults.stalled_sends() as stall:
            with pytest.raises(nls.NetlinkTimeout, match="may still be applied") as caught:
                await diag.destroy(row, timeout=0.1)
            assert stall.entered.is_set()
        assert caught.value.outcome == "unknown"
        assert "the destruction of the TCP socket" in str(caught.value)
        assert works(*pairs[1])


@on_every_surface
async def test_a_thousand_are_not_all_named(
    surface: Surface,
    pairs: list[tuple[socket.socket, socket.socket]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first are, and the rest are counted."""
    monkeypatch.setattr(destroying, "MANY", 1)
    with mptcp_listener() as mptcp:
        async with surface.open_sock_diag() as diag:
            rows = [await diag.request(nls.tcp_socket(*ends(client))) for client, _ in pairs]
            rows += [row async for row in diag.dump(nls.tcp_sockets(source_port=mptcp))]
            with pytest.raises(nls.KernelError) as caught:
                await diag.destroy(rows, all=True)
    [note] = caught.value.__notes__
    assert note.endswith(f"{rows[0].destination}, and 3 more")


@on_every_surface
async def test_nothing_to_destroy_is_no_error(surface: Surface) -> None:
    """No rows, no such socket, an empty list."""
    async with surface.open_sock_diag() as diag:
        nothings: list[Any] = [
            [],
            (),
            nls.tcp_sockets(source_port=9),
            nls.tcp_socket(("127.0.0.1", 9)),
            nls.udp_socket(("127.0.0.1", 9)),
        ]
        for nothing in nothings:
            assert await diag.destroy(nothing) == []
            assert await diag.destroy(nothing, all=True) == []


@on_every_surface
async def test_what_cannot_be_destroyed_is_refused_before_anything_is(
    surface: Surface, pairs: list[tuple[socket.socket, socket.socket]]
) -> None:
    """No row; and kinds that the kernel does not destroy, or not by their cookie."""
    raw = RawSocket(build_message(SOCK_DIAG_BY_FAMILY, 0, 1, 1, bytes([2, 7]) + bytes(70)))
    nameless = nls.TcpSocket(
        build_message(SOCK_DIAG_BY_FAMILY, 0, 1, 1, bytes([2, 1]) + b"\xff" * 70)
    )
    async with surface.open_sock_diag() as diag:
        row = await diag.request(nls.tcp_socket(*ends(pairs[0][0])))
        for nonsense, said in (
            (5, "5 is no row of a TCP or UDP socket; nothing was destroyed"),
            ("tcp", "is no row of a TCP or UDP socket"),
            (None, "None is no row"),
            (raw, "of raw sockets the kernel would destroy the first"),
            (nameless, "has no cookie"),
            (nls.links(), "is for netlink protocol 0"),
        ):
            with pytest.raises(nls.LocalProtocolError, match=said):
                await diag.destroy([row, nonsense], all=True)
            with pytest.raises(nls.LocalProtocolError, match=said):
                await diag.destroy(nonsense)
        if kernel.release() >= (6, 8):
            with socket.socket() as bound:
                bound.bind(("127.0.0.1", 0))
                with pytest.raises(nls.LocalProtocolError, match="bound and no more"):
                    await diag.destroy(nls.tcp_sockets(states="bound_inactive"))
        assert all(works(*pair) for pair in pairs)


def test_the_order_names_the_socket_by_all_that_it_has(listener: socket.socket) -> None:
    """Addresses, ports, interface and cookie of the row; a kernel without it lacks a feature."""
    with blocking.open_sock_diag() as diag:
        [row] = diag.dump(nls.tcp_sockets(source_port=port_of(listener)))
        order = destruction(row)
        assert order.payload[8:] == row.id == row.raw[20:68]
        assert order.payload[:2] == bytes([row.family, 6])
        assert (order.is_order, order.idempotent) == (True, False)
        assert order.missing == frozenset({95})
        assert order.feature == "destroying a TCP socket (CONFIG_INET_DIAG_DESTROY)"
