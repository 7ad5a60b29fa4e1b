"""Rows of real netlink sockets: what each says, against the sockets themselves and against ss."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import socket
import struct
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

import diag_rows
import kernel
import netlink_safe as nls
import oracles
from netlink_safe.wire.attributes import build_attribute
from netlink_safe.wire.header import build_message
from surfaces import Surface, on_every_surface

if TYPE_CHECKING:
    from collections.abc import Iterator

SO_COOKIE = 57
SOL_NETLINK = 270
ADD_MEMBERSHIP = 1
#: Options of a netlink socket, and the flag that each shows as.
OPTIONS = {
    3: nls.NetlinkFlags.PACKET_INFO,
    4: nls.NetlinkFlags.BROADCAST_ERROR,
    5: nls.NetlinkFlags.NO_ENOBUFS,
    8: nls.NetlinkFlags.LISTEN_ALL_NSID,
    10: nls.NetlinkFlags.CAP_ACK,
}
#: struct netlink_diag_msg; the cookie is two words, of which the low one is first.
HEAD = struct.Struct("=BBBBIIIIII")


@pytest.fixture
def sock() -> Iterator[socket.socket]:
    """A netlink socket without an address."""
    with new(socket.NETLINK_ROUTE) as sock:
        yield sock


def new(protocol: int) -> socket.socket:
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)


async def rows_of(surface: Surface, *arguments: Any) -> list[nls.NetlinkSocket]:
    async with surface.open_sock_diag() as diag:
        return [row async for row in diag.dump(nls.netlink_sockets(*arguments))]


async def row_of(surface: Surface, sock: socket.socket) -> nls.NetlinkSocket:
    """The one row that a socket has."""
    inode = os.fstat(sock.fileno()).st_ino
    [row] = [row for row in await rows_of(surface) if row.inode == inode]
    return row


@on_every_surface
async def test_a_row_says_what_its_socket_says(surface: Surface, sock: socket.socket) -> None:
    """Port ID, protocol, type, inode, cookie and memory are the socket's own."""
    sock.bind((0, 0))
    row = await row_of(surface, sock)
    assert row.port_id == sock.getsockname()[0] != 0
    assert (row.protocol, row.type) == (nls.NetlinkProtocol.ROUTE, nls.SocketType.RAW)
    assert row.cookie == struct.unpack("=Q", sock.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8))[0]
    assert row.memory is not None
    assert row.memory.receive_buffer == sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    assert (row.groups, row.flags, row.is_kernel) == (frozenset(), nls.NetlinkFlags(0), False)
    assert row.state is nls.TcpState.CLOSE


@on_every_surface
async def test_groups_are_numbered_from_one_and_a_member_has_one_row(
    surface: Surface, sock: socket.socket
) -> None:
    """Bits of more than one long; the kernel gives who is in a group twice, in any mode."""
    sock.bind((0, 0x80000001))
    for group in (2, 33):
        sock.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, group)
    row = await row_of(surface, sock)
    assert row.groups == {1, 2, 32, 33}
    assert row.as_dict()["groups"] == [1, 2, 32, 33]


@on_every_surface
async def test_only_the_kernel_has_port_zero_and_no_group(
    surface: Surface, sock: socket.socket
) -> None:
    """A member without an address has port 0 as the kernel's sockets have; without both, no row."""
    with new(socket.NETLINK_ROUTE) as unseen:
        sock.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, 1)
        row = await row_of(surface, sock)
        assert (row.port_id, row.is_kernel) == (0, False)
        rows = await rows_of(surface)
        assert os.fstat(unseen.fileno()).st_ino not in {row.inode for row in rows}
    own = [row.protocol for row in rows if row.is_kernel]
    assert {nls.NetlinkProtocol.ROUTE, nls.NetlinkProtocol.GENERIC} <= set(own)
    assert len(own) == len(set(own))


@on_every_surface
async def test_a_connected_socket_has_a_destination(surface: Surface, sock: socket.socket) -> None:
    """Port ID or group; and what is undone leaves a state that no TCP socket has."""
    sock.connect((4711, 0))
    row = await row_of(surface, sock)
    assert (row.state, row.destination_port_id) == (nls.TcpState.ESTABLISHED, 4711)
    assert row.destination_group == 0
    sock.connect((0, 1 << 4))
    assert (await row_of(surface, sock)).destination_group == 5
    assert ctypes.CDLL(None).connect(sock.fileno(), bytes(12), 12) == 0  # AF_UNSPEC
    assert (await row_of(surface, sock)).state == 0


@on_every_surface
async def test_flags_are_the_options_that_are_set(surface: Surface, sock: socket.socket) -> None:
    """One more each time, until all are; but for a dump that runs, an option sets each."""
    sock.bind((0, 0))
    set_so_far = nls.NetlinkFlags(0)
    for option, flag in OPTIONS.items():
        sock.setsockopt(SOL_NETLINK, option, 1)
        set_so_far |= flag
        assert (await row_of(surface, sock)).flags == set_so_far
    assert set(nls.NetlinkFlags) == {*OPTIONS.values(), nls.NetlinkFlags.DUMP_RUNNING}


@on_every_surface
async def test_a_dump_that_nobody_reads_is_seen_to_run(surface: Surface) -> None:
    """Until it is read to its end; a short one ends at once."""
    asked, _ = nls.netlink_sockets()
    with contextlib.ExitStack() as many, new(asked.protocol) as sock:
        for _ in range(100):
            many.enter_context(new(0)).bind((0, 0))
        sock.bind((0, 0))
        assert not (await row_of(surface, sock)).is_dump_running
        sock.send(build_message(asked.type, asked.flags | 1, 1, 0, asked.payload))
        row = await row_of(surface, sock)
        assert row.is_dump_running
        assert row.as_dict()["flags"] == ["dump_running"]
        assert row.memory is not None
        assert row.memory.receive > 0
        sock.settimeout(10)
        while struct.pack("=IH", 20, 3) not in sock.recv(65536):  # NLMSG_DONE
            pass
        assert not (await row_of(surface, sock)).is_dump_running


@on_every_surface
async def test_one_protocol_is_asked_for_by_name_or_number(surface: Surface) -> None:
    """And no other is told of."""
    with new(nls.NetlinkProtocol.GENERIC) as sock:
        sock.bind((0, 0))
        for protocol in ("generic", "GENERIC", 16, nls.NetlinkProtocol.GENERIC):
            rows = await rows_of(surface, protocol)
            assert {row.protocol for row in rows} == {nls.NetlinkProtocol.GENERIC}
            assert {row.port_id for row in rows} == {0, sock.getsockname()[0]}
    assert await rows_of(surface, 31) == []


@pytest.mark.anywhere
@pytest.mark.parametrize("protocol", [-1, 32, 255, True, "genl", 1.5])
def test_what_is_no_protocol_is_refused(protocol: Any) -> None:
    """Before it is sent."""
    with pytest.raises(nls.LocalProtocolError, match="no netlink protocol"):
        nls.netlink_sockets(protocol)


@on_every_surface
async def test_only_the_sockets_of_the_namespace_are_told_of(
    surface: Surface, sock: socket.socket
) -> None:
    """The kernel has one table for all of them."""
    sock.bind((0, 0))
    with kernel.named_namespace("elsewhere") as path:
        async with surface.open_sock_diag(netns=path) as diag:
            rows = [row async for row in diag.dump(nls.netlink_sockets())]
    inodes = {row.inode for row in rows}
    assert os.fstat(sock.fileno()).st_ino not in inodes
    assert sum(row.is_kernel for row in rows) > 1


@on_every_surface
async def test_all_that_ss_shows_is_the_same_here(surface: Surface, sock: socket.socket) -> None:
    """Queues, protocol, port ID, destination, the first groups and memory."""
    with new(2) as connected, new(16) as bound:
        sock.bind((0, 0b101))
        connected.connect((4711, 0))
        bound.bind((0, 0))
        lines = oracles.ss_lines("-aem", "-A", "netlink")
        ours = {shown_by_ss(row) for row in await rows_of(surface) if row.protocol != 4}
    if lines is not None:
        theirs = {parsed(line) for line in lines}
        assert {told for told in theirs if told[2] != "4"} == ours


def shown_by_ss(row: nls.NetlinkSocket) -> tuple[Any, ...]:
    """The words of ss; it knows no more groups than a number of 32 bits has."""
    assert row.memory is not None
    destination = f"{row.destination_group}:{row.destination_port_id}"
    return (
        row.memory.receive,
        row.memory.transmit,
        str(int(row.protocol)),
        row.port_id,
        destination if row.state == nls.TcpState.ESTABLISHED else "*",
        sum(1 << number - 1 for number in row.groups),
        attrs.astuple(row.memory),
    )


def parsed(line: str) -> tuple[Any, ...]:
    _, receive, transmit, address, destination, *rest = line.split()
    protocol, _, port_id = address.partition(":")
    [groups] = re.findall(r"groups=0x([0-9a-f]+)", " ".join(rest))
    return (
        int(receive),
        int(transmit),
        protocol,
        int(port_id) & 0xFFFFFFFF,
        destination,
        int(groups, 16),
        oracles.ss_memory(line),
    )


@pytest.mark.anywhere
def test_what_is_newer_than_this_library_is_kept() -> None:
    """Unknown protocols, states, types and flags have their numbers, and go into JSON."""
    flags = build_attribute(4, struct.pack("=I", 0x10001))
    payload = HEAD.pack(16, 77, 17, 200, 1, 2, 3, 4, 0, 1 << 31) + flags
    [row] = diag_rows.read(nls.netlink_sockets()[0], payload)
    assert (str(row.protocol), str(row.type), str(row.state)) == (
        "protocol_17",
        "type_77",
        "STATE_200",
    )
    assert (row.cookie, row.memory, row.groups) == (1 << 63, None, frozenset())
    assert json.loads(json.dumps(row.as_dict()))["flags"] == ["dump_running", "0x10000"]


@pytest.mark.anywhere
@pytest.mark.parametrize(
    ("type_", "content"), [(1, b"\1" * 7), (1, b"\1"), (4, b"\1"), (4, b"")], ids=repr
)
def test_an_attribute_of_a_wrong_length_is_an_error(type_: int, content: bytes) -> None:
    """A bitmap that is no longs, flags that are no number."""
    payload = HEAD.pack(16, 3, 0, 7, 1, 2, 3, 4, 5, 0) + build_attribute(type_, content)
    with pytest.raises(nls.DecodeError):
        diag_rows.read(nls.netlink_sockets()[0], payload)


@pytest.mark.anywhere
@given(st.binary(min_size=HEAD.size, max_size=HEAD.size), diag_rows.TAILS)
def test_whatever_comes_is_a_row_or_a_decode_error(head: bytes, tail: bytes) -> None:
    """And what is a row can be written as JSON."""
    for row in diag_rows.check_decoded_or_refused(nls.netlink_sockets()[0], head + tail):
        json.dumps(row.as_dict())
