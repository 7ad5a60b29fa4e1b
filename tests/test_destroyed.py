"""What the kernel tells of sockets that close: each once, and what was lost."""

from __future__ import annotations

import contextlib
import socket
import struct
from functools import partial
from typing import Any

import anyio
import pytest

import kernel
import netlink_safe as nls
import tcp_states
from faults import spoof_multicast
from netlink_safe.families.destroyed import destroyed_sockets
from netlink_safe.families.sock_diag import SOCK_DIAG_BY_FAMILY
from netlink_safe.wire.attributes import build_attribute
from netlink_safe.wire.header import build_message, parse_message
from surfaces import SURFACES, Surface, on_every_surface, taking_at_most
from tcp_states import FAMILIES

FLOOR = 32 * 1024
#: INET_DIAG_PROTOCOL.
PROTOCOL = 10


def cookie_of(sock: socket.socket) -> int:
    """SO_COOKIE."""
    return int(struct.unpack("=Q", sock.getsockopt(socket.SOL_SOCKET, 57, 8))[0])


def closed_udp(family: socket.AddressFamily, count: int) -> None:
    """Open and close so many sockets."""
    for _ in range(count):
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.bind((tcp_states.LOOPBACK[family], 0))


@on_every_surface
async def test_each_socket_that_closes_is_told_once(
    surface: Surface, family: socket.AddressFamily
) -> None:
    """With its cookie, its addresses, and all that it has sent and received."""
    told: dict[int, Any] = {}
    expected: dict[int, tuple[str, int]] = {}
    sent: dict[int, int] = {}
    received: dict[int, int] = {}
    async with surface.open_sock_diag() as diag, diag.subscribe_destroyed() as closing:
        with contextlib.ExitStack() as held:
            listener = held.enter_context(socket.socket(family))
            listener.bind((tcp_states.LOOPBACK[family], 0))
            listener.listen(16)
            for number in range(10):
                client = held.enter_context(socket.create_connection(listener.getsockname()[:2]))
                server = held.enter_context(listener.accept()[0])
                client.sendall(b"x" * (number + 1))
                assert len(server.recv(100)) == number + 1
                sent[cookie_of(client)] = received[cookie_of(server)] = number + 1
                for sock in (client, server):
                    expected[cookie_of(sock)] = sock.getsockname()[:2]
            udp = held.enter_context(socket.socket(family, socket.SOCK_DGRAM))
            udp.bind((tcp_states.LOOPBACK[family], 0))
            for sock in (listener, udp):
                expected[cookie_of(sock)] = sock.getsockname()[:2]
            of_udp = cookie_of(udp)
        with taking_at_most(30):
            for _ in expected:
                row = await closing.receive(timeout=10)
                assert row.cookie not in told
                told[row.cookie] = row
        with pytest.raises(nls.NetlinkTimeout, match="silence of sockets that close"):
            await closing.receive(timeout=0.05)
        now = closing.statistics()
        assert (now.items, now.overruns, now.drops, now.rejected) == (len(expected), 0, 0, {})
    assert {cookie: (row.source.address, row.source.port) for cookie, row in told.items()} == (
        expected
    )
    assert {type(row) for row in told.values()} == {nls.TcpSocket, nls.UdpSocket}
    assert isinstance(told.pop(of_udp), nls.UdpSocket)
    assert {int(row.family) for row in told.values()} == {int(family)}
    assert {row.state for row in told.values()} == {nls.TcpState.CLOSE}
    # The SYN of who connects counts as a byte, and so does a FIN, unless it was on its way yet.
    for cookie, count in sent.items():
        assert told[cookie].info.bytes_acked - count in {1, 2}
    for cookie, count in received.items():
        assert told[cookie].info.bytes_received - count in {0, 1}


@on_every_surface
async def test_who_does_not_read_is_told_how_much_was_lost(surface: Surface) -> None:
    """All are told or counted as lost, nothing can be looked up, and the stream goes on."""
    wave = 1500
    async with (
        surface.open_sock_diag() as diag,
        diag.subscribe_destroyed(tcp=False, receive_buffer=FLOOR) as closing,
    ):
        for number in (1, 2):
            before = closing.statistics().drops
            closed_udp(socket.AF_INET, wave)
            # The kernel tells of them behind their owner's back, in its own time.
            kernel.until(partial(_has_lost_more, closing, before), 30)
            rows = lost = overruns = 0
            with taking_at_most(60):
                while rows + lost < wave:
                    item = await closing.receive(timeout=30)
                    if isinstance(item, nls.Overrun):
                        assert item.unresynced == "what has closed cannot be looked up again"
                        overruns += 1
                        lost += item.drops
                    else:
                        rows += 1
            assert rows + lost == wave
            assert min(rows, lost, overruns) > 0
            now = closing.statistics()
            assert now.overruns >= number
            assert now.resyncs == 0
        assert closing.statistics().drops > lost


def _has_lost_more(closing: Any, before: int) -> bool:
    return bool(closing.statistics().drops > before)


@on_every_surface
async def test_only_the_kernel_is_believed(surface: Surface) -> None:
    """A privileged stranger may multicast to the group; it is counted and not told."""
    fake = bytes([2, 7]) + bytes(70) + build_attribute(PROTOCOL, bytes([17]))
    data = build_message(SOCK_DIAG_BY_FAMILY, 0, 0, 0, fake)
    async with surface.open_sock_diag() as diag, diag.subscribe_destroyed() as closing:
        for _ in range(3):
            spoof_multicast(4, 2, data)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            cookie = cookie_of(sock)
        assert (await closing.receive(timeout=10)).cookie == cookie
        assert closing.statistics().rejected == {"foreign_sender": 3}


@on_every_surface
async def test_only_what_was_asked_for_is_told(surface: Surface) -> None:
    """TCP or UDP, and one address family or both."""
    async with (
        surface.open_sock_diag() as diag,
        diag.subscribe_destroyed(tcp=False, families="inet6") as closing,
    ):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            for family in FAMILIES.values():
                with socket.socket(family, kind):
                    pass
        row = await closing.receive(timeout=10)
        assert (type(row), row.family) == (nls.UdpSocket, nls.AddressFamily.INET6)
        with pytest.raises(nls.NetlinkTimeout):
            await closing.receive(timeout=0.05)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"tcp": False, "udp": False}, "nothing to hear of"),
        ({"tcp": "inet"}, "tcp='inet' is neither True nor False"),
        ({"families": "unix"}, "'unix' is no address family"),
        ({"heartbeat": 0}, "heartbeat"),
        ({"receive_buffer": 1}, "receive_buffer"),
    ],
)
def test_nonsense_is_refused(arguments: dict[str, Any], said: str) -> None:
    """Before anything is opened."""
    from netlink_safe import blocking

    with (
        blocking.open_sock_diag() as diag,
        pytest.raises(nls.LocalProtocolError, match=said),
    ):
        diag.subscribe_destroyed(**arguments)


@on_every_surface
async def test_an_idle_one_ends_when_it_was_told_to(surface: Surface) -> None:
    """And is closed then; the object that it came from goes on."""
    async with surface.open_sock_diag() as diag:
        async with diag.subscribe_destroyed(idle_timeout=0.05) as closing:
            with pytest.raises(nls.NetlinkTimeout):
                await closing.__aiter__().__anext__()
            with pytest.raises(nls.ClosedError):
                await closing.receive(timeout=1)
        assert [row async for row in diag.dump(nls.tcp_sockets())] == []
    with pytest.raises(nls.ClosedError):
        await contextlib.AsyncExitStack().enter_async_context(diag.subscribe_destroyed())


@pytest.mark.parametrize("surface", SURFACES, ids=lambda surface: surface.name)
def test_it_takes_no_rights(surface: Surface) -> None:
    """Whoever may open a socket may hear what has closed."""

    async def hear() -> str:
        async with (
            surface.open_sock_diag() as diag,
            diag.subscribe_destroyed(receive_buffer=FLOOR) as closing,
        ):
            closed_udp(socket.AF_INET, 1)
            return type(await closing.receive(timeout=10)).__name__

    def without_rights() -> str:
        kernel.drop_all_rights()
        return str(anyio.run(hear, backend=surface.backend))

    assert kernel.in_child(without_rights) == "UdpSocket"


@on_every_surface
async def test_it_hears_in_the_namespace_of_its_object(surface: Surface) -> None:
    """Of another one's sockets, and not of those here."""
    with kernel.named_namespace("other") as path:
        async with (
            surface.open_sock_diag(netns="other") as diag,
            diag.subscribe_destroyed(tcp=False) as closing,
        ):
            closed_udp(socket.AF_INET, 3)
            kernel.in_namespace(path, partial(closed_udp, socket.AF_INET6, 1))
            row = await closing.receive(timeout=10)
            assert row.family is nls.AddressFamily.INET6
            with pytest.raises(nls.NetlinkTimeout):
                await closing.receive(timeout=0.05)


@pytest.mark.anywhere
def test_what_is_no_row_of_a_known_kind_is_none() -> None:
    """Another type, a short one, another protocol, none at all."""
    read = destroyed_sockets(True, True, None).read
    tcp = build_attribute(PROTOCOL, bytes([6]))
    for type_, body, kind in (
        (SOCK_DIAG_BY_FAMILY, bytes(72) + tcp, nls.TcpSocket),
        (SOCK_DIAG_BY_FAMILY, bytes(72) + build_attribute(PROTOCOL, bytes([17])), nls.UdpSocket),
        (SOCK_DIAG_BY_FAMILY, bytes(72) + build_attribute(PROTOCOL, bytes([132])), type(None)),
        (SOCK_DIAG_BY_FAMILY, bytes(72), type(None)),
        (SOCK_DIAG_BY_FAMILY, bytes(71), type(None)),
        (21, bytes(72) + tcp, type(None)),
    ):
        data = build_message(type_, 0, 0, 0, body)
        assert type(read(data, parse_message(data, 0))) is kind
