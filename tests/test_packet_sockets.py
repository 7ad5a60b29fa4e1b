"""Rows of real packet sockets: what each says, against the sockets themselves and against ss."""

from __future__ import annotations

import contextlib
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
import faults
import kernel
import netlink_safe as nls
import oracles
from netlink_safe.wire.attributes import build_attribute
from surfaces import Surface, on_every_surface

if TYPE_CHECKING:
    from collections.abc import Iterator

SO_COOKIE = 57
SOL_PACKET = 263
ADD_MEMBERSHIP, RX_RING, COPY_THRESHOLD, AUXDATA, ORIGDEV = 1, 5, 7, 8, 9
VERSION, RESERVE, TX_RING, LOSS, VNET_HDR, TIMESTAMP, FANOUT = 10, 12, 13, 14, 15, 17, 18
ETH_P_IP = 0x0800
ETH_P_ALL = 3
#: A filter that passes everything.
PASSING = [(faults.RETURN, 0, 0, 0xFFFF)]
#: How many instructions fill more than the first buffer of a dump.
LONG = 600
#: How many memberships fill more than any.
TOO_MANY = 1000
#: struct packet_diag_msg, and the attribute that no row lacks.
HEAD = struct.Struct("=BBHIII")
INFO = build_attribute(0, bytes(24))


@pytest.fixture
def sock() -> Iterator[socket.socket]:
    """A packet socket that hears IPv4 on loopback."""
    with new(ETH_P_IP) as sock:
        sock.bind(("lo", ETH_P_IP))
        yield sock


def new(protocol: int = 0, kind: int = socket.SOCK_RAW) -> socket.socket:
    return socket.socket(socket.AF_PACKET, kind, socket.htons(protocol))


def loopback() -> int:
    return socket.if_nametoindex("lo")


async def rows_of(surface: Surface) -> dict[int, nls.PacketSocket]:
    """The rows by inode, each of which there is once."""
    async with surface.open_sock_diag() as diag:
        rows = [row async for row in diag.dump(nls.packet_sockets())]
    assert len({row.inode for row in rows}) == len(rows)
    return {row.inode: row for row in rows}


async def row_of(surface: Surface, sock: socket.socket) -> nls.PacketSocket:
    return (await rows_of(surface))[os.fstat(sock.fileno()).st_ino]


@on_every_surface
async def test_a_row_says_what_its_socket_says(surface: Surface, sock: socket.socket) -> None:
    """Type, ethertype, interface, owner, cookie and memory; nothing that was not asked for."""
    row = await row_of(surface, sock)
    assert (row.type, row.protocol, row.interface) == (nls.SocketType.RAW, ETH_P_IP, loopback())
    assert row.cookie == struct.unpack("=Q", sock.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8))[0]
    assert row.uid == os.getuid()
    assert row.memory is not None
    assert row.memory.receive_buffer == sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    assert row.flags is nls.PacketFlags.RUNNING
    assert (row.version, row.memberships) == (nls.TpacketVersion.V1, ())
    assert (row.receive_ring, row.transmit_ring, row.fanout) == (None, None, None)
    assert (row.filter, row.has_filter) == (None, False)


@on_every_surface
async def test_options_are_told(surface: Surface, sock: socket.socket) -> None:
    """Those that are numbers, and those that are flags."""
    for option, value in (
        (COPY_THRESHOLD, 1234),
        (AUXDATA, 1),
        (ORIGDEV, 1),
        (VERSION, 1),
        (RESERVE, 64),
        (LOSS, 1),
        (VNET_HDR, 1),
        (TIMESTAMP, 0x40),
    ):
        sock.setsockopt(SOL_PACKET, option, value)
    row = await row_of(surface, sock)
    assert (row.copy_threshold, row.reserve, row.timestamp) == (1234, 64, 0x40)
    assert row.version is nls.TpacketVersion.V2
    assert row.flags == ~nls.PacketFlags(0)
    assert row.as_dict()["flags"] == ["running", "auxdata", "origdev", "vnethdr", "loss"]


@on_every_surface
async def test_rings_and_fanout_are_told(surface: Surface, sock: socket.socket) -> None:
    """A ring of the third version has a timeout; a fanout group its number and its way."""
    sock.setsockopt(SOL_PACKET, VERSION, 2)
    asked = (1 << 16, 4, 2048, 128, 60, 0, 1)
    sock.setsockopt(SOL_PACKET, RX_RING, struct.pack("=7I", *asked))
    sock.setsockopt(SOL_PACKET, FANOUT, 4711 | 1 << 16)
    with new() as sender:
        sender.setsockopt(SOL_PACKET, TX_RING, struct.pack("=4I", 1 << 16, 2, 2048, 64))
        sending = await row_of(surface, sender)
    row = await row_of(surface, sock)
    assert row.receive_ring == nls.PacketRing(*asked)
    assert row.transmit_ring is None
    assert row.fanout == nls.PacketFanout(4711, nls.FanoutType.LOAD_BALANCE)
    assert sending.transmit_ring == nls.PacketRing(1 << 16, 2, 2048, 64, 0, 0, 0)
    assert (sending.protocol, sending.receive_ring) == (0, None)


@on_every_surface
async def test_memberships_are_told(surface: Surface, sock: socket.socket) -> None:
    """What an interface is to receive for it, and how often that was said; promiscuous, too."""
    address = b"\x01\0\x5e\0\0\7"
    join(sock, 1, b"")
    join(sock, 0, address)
    join(sock, 0, address)
    row = await row_of(surface, sock)
    assert row.memberships is not None
    assert set(row.memberships) == {
        nls.PacketMembership(loopback(), nls.MembershipType.PROMISCUOUS, b"", 1),
        nls.PacketMembership(loopback(), nls.MembershipType.MULTICAST, address, 2),
    }
    [told] = [each for each in row.as_dict()["memberships"] if each["type"] == "multicast"]
    assert told["address"] == "01:00:5e:00:00:07"


def join(sock: socket.socket, kind: int, address: bytes) -> None:
    request = struct.pack("=iHH8s", loopback(), kind, len(address), address)
    sock.setsockopt(SOL_PACKET, ADD_MEMBERSHIP, request)


@on_every_surface
async def test_a_filter_is_told_as_it_was_attached(surface: Surface, sock: socket.socket) -> None:
    """Instruction by instruction."""
    faults.attach(sock, PASSING * 3)
    row = await row_of(surface, sock)
    assert row.filter == struct.pack("=HBBI", *PASSING[0]) * 3
    assert row.has_filter is True
    assert row.as_dict()["filter"] == row.filter.hex()


def test_without_rights_a_filter_is_not_told(sock: socket.socket) -> None:
    """Neither what it is, nor whether there is one."""
    faults.attach(sock, PASSING)

    def ask() -> list[tuple[bytes | None, bool | None]]:
        kernel.drop_all_rights()
        with nls.blocking.open_sock_diag() as diag:
            return [(row.filter, row.has_filter) for row in diag.dump(nls.packet_sockets())]

    assert kernel.in_child(ask) == "[(b'', None)]"


@on_every_surface
async def test_a_row_that_is_too_large_hides_no_socket(
    surface: Surface, sock: socket.socket
) -> None:
    """The kernel ends its dump at such a row, without a word; here each has one."""
    faults.attach(sock, PASSING)
    with new(ETH_P_ALL) as large, new(ETH_P_ALL) as behind:
        faults.attach(large, PASSING)
        for number in range(TOO_MANY):
            join(large, 0, b"\x01\0\x5e\0" + number.to_bytes(2, "big"))
        rows = await rows_of(surface)
        assert set(rows) == {os.fstat(each.fileno()).st_ino for each in (sock, large, behind)}
        row = await row_of(surface, large)
        assert (row.filter, row.has_filter, row.memberships) == (b"", None, None)
        assert row.as_dict()["memberships"] is None
        assert (await row_of(surface, sock)).has_filter is True


@on_every_surface
async def test_a_long_filter_is_told_behind_others(surface: Surface, sock: socket.socket) -> None:
    """Where the kernel's first buffer has gone with the rows before it."""
    with new(ETH_P_ALL) as long:
        faults.attach(long, PASSING * LONG)
        row = await row_of(surface, long)
        assert row.filter == struct.pack("=HBBI", *PASSING[0]) * LONG
        assert len(await rows_of(surface)) == 2


@on_every_surface
async def test_only_the_sockets_of_the_namespace_are_told_of(
    surface: Surface, sock: socket.socket
) -> None:
    """A namespace with none has no rows."""
    with kernel.named_namespace("elsewhere") as path:
        async with surface.open_sock_diag(netns=path) as diag:
            assert [row async for row in diag.dump(nls.packet_sockets())] == []


@on_every_surface
async def test_all_that_ss_shows_is_the_same_here(surface: Surface, sock: socket.socket) -> None:
    """Type, ethertype, interface, inode, cookie, owner, version, rings, fanout, filter, memory."""
    sock.setsockopt(SOL_PACKET, AUXDATA, 1)
    faults.attach(sock, PASSING * 2)
    with new(ETH_P_ALL, socket.SOCK_DGRAM) as ring, new() as sender:
        ring.setsockopt(SOL_PACKET, VERSION, 2)
        ring.setsockopt(SOL_PACKET, RX_RING, struct.pack("=7I", 1 << 16, 4, 2048, 128, 60, 0, 0))
        ring.setsockopt(SOL_PACKET, FANOUT, 7 | 2 << 16)
        sender.setsockopt(SOL_PACKET, TX_RING, struct.pack("=4I", 1 << 16, 2, 2048, 64))
        with contextlib.closing(new(ETH_P_IP)) as deaf:
            deaf.bind(("lo", ETH_P_IP))
            lines = oracles.ss_lines("-0", "-aemb")
            rows = await rows_of(surface)
    assert len(rows) == 4
    if lines is not None:
        assert dict(map(parsed, lines)) == {inode: shown_by_ss(row) for inode, row in rows.items()}


def shown_by_ss(row: nls.PacketSocket) -> tuple[Any, ...]:
    """The words of ss."""
    assert row.memory is not None
    assert row.filter is not None or not row.has_filter
    instructions = struct.iter_unpack("=HBBI", row.filter or b"")
    return (
        {"raw": "p_raw", "dgram": "p_dgr"}[str(row.type)],
        row.memory.receive,
        "*" if row.protocol == ETH_P_ALL else f"[{row.protocol}]",
        "lo" if row.interface else "*",
        row.uid or 0,
        row.cookie,
        int(row.version),
        row.copy_threshold,
        row.as_dict()["flags"],
        row.receive_ring and shown_ring(row.receive_ring),
        row.transmit_ring and shown_ring(row.transmit_ring),
        row.fanout and f"id:{row.fanout.id},type:{row.fanout.type}",
        " ".join(f"0x{code:02x} {jt} {jf} {k}," for code, jt, jf, k in instructions),
        attrs.astuple(row.memory),
    )


def shown_ring(ring: nls.PacketRing) -> str:
    return (
        f"blk_size:{ring.block_size},blk_nr:{ring.blocks},frm_size:{ring.frame_size},"
        f"frm_nr:{ring.frames},tmo:{ring.retire_timeout},features:0x{ring.features:x}"
    )


def parsed(line: str) -> tuple[int, tuple[Any, ...]]:
    kind, _, receive, _, address, _, *rest = line.split()
    protocol, _, interface = address.partition(":")
    said = " ".join(rest)

    def found(pattern: str) -> str | None:
        match = re.search(pattern, said)
        return None if match is None else match[1]

    flags = (found(r"flags\( ([a-z0 ]*) ?\)") or "").split()
    return int(found(r"ino:(\d+)") or 0), (
        kind,
        int(receive),
        protocol,
        interface,
        int(found(r"uid:(\d+)") or 0),
        int(found(r"sk:([0-9a-f]+)") or "0", 16),
        int(found(r"ver:(\d+)") or -1),
        int(found(r"cpy_thresh:(\d+)") or -1),
        [flag for flag in flags if flag != "0"],
        found(r"ring_rx\(([^)]*)\)"),
        found(r"ring_tx\(([^)]*)\)"),
        found(r"fanout\(([^)]*)\)"),
        (found(r"bpf filter \(\d+\): ((?: ?0x[0-9a-f]+ \d+ \d+ \d+,)+)") or ""),
        oracles.ss_memory(line),
    )


@pytest.mark.anywhere
@pytest.mark.parametrize(
    "tail",
    [
        b"",
        build_attribute(0, bytes(23)),
        INFO + build_attribute(1, bytes(43)),
        INFO + build_attribute(1, struct.pack("=IIHH32x", 1, 1, 0, 33)),
        INFO + build_attribute(2, bytes(27)),
        INFO + build_attribute(3, b""),
        INFO + build_attribute(4, bytes(3)),
        INFO + build_attribute(5, b""),
        INFO + build_attribute(7, bytes(9)),
        INFO + struct.pack("=HH", 99, 7),
    ],
    ids=repr,
)
def test_a_malformed_row_is_an_error(tail: bytes) -> None:
    """An attribute that is missing, of a wrong length, or longer than its row."""
    for request in nls.packet_sockets():
        with pytest.raises(nls.DecodeError):
            diag_rows.read(request, HEAD.pack(17, 3, 3, 5, 6, 0) + tail)


@pytest.mark.anywhere
def test_what_is_newer_than_this_library_is_kept() -> None:
    """Versions, fanouts, memberships and flags that are not known have their numbers."""
    tail = (
        build_attribute(0, struct.pack("=6I", 0, 7, 0, 0, 0, 0x21))
        + build_attribute(1, struct.pack("=IIHH32s", 1, 1, 9, 2, b"\1\2"))
        + build_attribute(4, struct.pack("=I", 200 << 16 | 1))
    )
    [row] = diag_rows.read(nls.packet_sockets()[0], HEAD.pack(17, 3, 3, 5, 6, 0) + tail)
    plain = json.loads(json.dumps(row.as_dict()))
    assert (plain["version"], plain["flags"]) == ("version_7", ["running", "0x20"])
    assert plain["fanout"] == {"id": 1, "type": "type_200"}
    assert plain["memberships"] == [
        {"interface": 1, "type": "type_9", "address": "01:02", "count": 1}
    ]


@pytest.mark.anywhere
@given(st.binary(min_size=HEAD.size, max_size=HEAD.size), diag_rows.TAILS)
def test_whatever_comes_is_a_row_or_a_decode_error(head: bytes, tail: bytes) -> None:
    """And what is a row can be written as JSON."""
    for request in nls.packet_sockets():
        for attributes in (tail, INFO + tail):
            for row in diag_rows.check_decoded_or_refused(request, head + attributes):
                json.dumps(row.as_dict())
