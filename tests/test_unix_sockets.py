"""Rows of real unix sockets: what each says, against the sockets themselves and against ss."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import socket
import struct
import tempfile
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import diag_rows
import kernel
import netlink_safe as nls
import oracles
from netlink_safe import blocking
from netlink_safe.wire.attributes import build_attribute
from surfaces import Surface, on_every_surface, taking_at_most

if TYPE_CHECKING:
    from collections.abc import Iterator

SO_COOKIE = 57
#: struct unix_diag_msg, and the attribute that no row lacks.
HEAD = struct.Struct("=BBBxIII")
QUEUES = build_attribute(4, bytes(8))
KINDS = {
    "stream": socket.SOCK_STREAM,
    "dgram": socket.SOCK_DGRAM,
    "seqpacket": socket.SOCK_SEQPACKET,
}
SS_KINDS = {"u_str": "stream", "u_dgr": "dgram", "u_seq": "seqpacket"}
#: More than the first buffer of a dump holds, or that of a single row, and a backlog may hold it.
MANY = 3000


@pytest.fixture
def directory() -> Iterator[str]:
    """A directory with a short path, in a file system of the run's own."""
    with tempfile.TemporaryDirectory(dir="/run") as path:
        yield path


@contextlib.contextmanager
def listener(
    address: str | bytes, kind: int = socket.SOCK_STREAM, backlog: int = 4096
) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, kind) as sock:
        sock.bind(address)
        sock.listen(backlog)
        yield sock


def connect(address: str | bytes, kind: int = socket.SOCK_STREAM) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, kind)
    sock.connect(address)
    return sock


def inode_of(sock: socket.socket) -> int:
    return os.fstat(sock.fileno()).st_ino


def leave_the_loop_behind() -> None:
    """Be in a network namespace that has not the pair of sockets that an event loop wakes by."""
    kernel.unshare(kernel.CLONE_NEWNET)


async def rows_of(surface: Surface, *arguments: Any) -> dict[int, nls.UnixSocket]:
    """The rows by inode, each of which there is once."""
    async with surface.open_sock_diag() as diag:
        rows = [row async for row in diag.dump(nls.unix_sockets(*arguments))]
    assert len({row.inode for row in rows}) == len(rows)
    return {row.inode: row for row in rows}


@on_every_surface
@pytest.mark.parametrize("kind", KINDS)
async def test_two_ends_name_each_other(surface: Surface, kind: str) -> None:
    """Type, peer, inode, cookie, owner and what is queued are the sockets' own."""
    one, other = socket.socketpair(socket.AF_UNIX, KINDS[kind])
    with one, other:
        one.send(b"x" * 300)
        rows = await rows_of(surface)
        row, peer = rows[inode_of(one)], rows[inode_of(other)]
        assert row.cookie == struct.unpack("=Q", one.getsockopt(1, SO_COOKIE, 8))[0]
        buffer = one.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    assert (str(row.type), row.peer, peer.peer) == (kind, peer.inode, row.inode)
    assert (row.state, row.uid, row.vfs) == (nls.TcpState.ESTABLISHED, os.getuid(), None)
    assert (row.path, row.name, row.accept_queue, row.pending) == (None, None, None, ())
    assert (peer.receive_queue, row.receive_queue) == (300, 0)
    assert row.transmit_queue >= 300
    assert row.memory is not None
    assert (row.memory.receive_buffer, row.memory.transmit) == (buffer, row.transmit_queue)


@on_every_surface
async def test_directions_that_are_shut_down_are_told(surface: Surface) -> None:
    """One's sending is the other's receiving."""
    one, other = socket.socketpair()
    with one, other:
        one.shutdown(socket.SHUT_WR)
        rows = await rows_of(surface)
        assert rows[inode_of(one)].shutdown is nls.Shutdown.SEND
        assert rows[inode_of(other)].shutdown is nls.Shutdown.RECEIVE


@on_every_surface
@pytest.mark.parametrize("kind", ["stream", "seqpacket"])
async def test_a_listener_tells_who_waits(surface: Surface, kind: str) -> None:
    """Inodes in order, 0 for who has gone; they have no peer with an inode before the accept."""
    leave_the_loop_behind()
    with listener(b"\0here", KINDS[kind], backlog=7) as sock, contextlib.ExitStack() as ends:
        first, gone, last = (ends.enter_context(connect(b"\0here", KINDS[kind])) for _ in range(3))
        gone.close()
        rows = await rows_of(surface)
        row = rows[inode_of(sock)]
        assert row.state is nls.TcpState.LISTEN
        assert row.pending == (inode_of(first), 0, inode_of(last))
        assert row.accept_queue == nls.AcceptQueue(length=3, limit=7)
        assert (row.receive_queue, row.transmit_queue, row.peer) == (3, 7, None)
        assert rows[inode_of(first)].peer == 0
        assert len(rows) == 3
        served = ends.enter_context(sock.accept()[0])
        rows = await rows_of(surface)
        assert rows[inode_of(sock)].pending == (0, inode_of(last))
        assert rows[inode_of(first)].peer == inode_of(served)
        assert rows[inode_of(served)].path == "@here"


@on_every_surface
async def test_a_path_and_its_file_are_told(surface: Surface, directory: str) -> None:
    """The path as os.fsdecode has it; the file by number, even when it has gone."""
    path = os.fsencode(directory) + b"/\xe9 \n@"
    with listener(path) as sock:
        file = os.stat(path)
        row = (await rows_of(surface))[inode_of(sock)]
        os.unlink(path)
        after = (await rows_of(surface))[inode_of(sock)]
    assert (row.name, row.path) == (path, os.fsdecode(path))
    assert row.vfs == nls.UnixFile(file.st_ino & 0xFFFFFFFF, file.st_dev)
    assert after == row
    assert json.loads(json.dumps(row.as_dict()))["path"].endswith("/\\xe9 \n@")


@settings(max_examples=50)
@given(st.binary(min_size=1, max_size=107))
def test_an_abstract_name_may_have_any_bytes(rest: bytes) -> None:
    """They come back as they are, and are printable as text and as JSON."""
    with listener(b"\0" + rest) as sock, blocking.open_sock_diag() as diag:
        row = diag.request(nls.unix_socket(inode_of(sock)))
    assert row.name == b"\0" + rest
    assert row.path is not None
    assert os.fsencode(row.path) == (b"\0" + rest).replace(b"\0", b"@")
    plain = json.dumps(row.as_dict(), ensure_ascii=False)
    assert plain.encode("utf-8")
    assert json.loads(plain)["name"].isascii()


@on_every_surface
async def test_states_are_told_apart_by_the_kernel(surface: Surface) -> None:
    """Listeners, connected ones, and all others."""
    leave_the_loop_behind()
    one, other = socket.socketpair()
    with one, other, listener(b"\0x") as listening, socket.socket(socket.AF_UNIX) as idle:
        assert set(await rows_of(surface, "listen")) == {inode_of(listening)}
        assert set(await rows_of(surface, ["established"])) == {inode_of(one), inode_of(other)}
        assert set(await rows_of(surface, nls.TcpState.CLOSE)) == {inode_of(idle)}
        assert len(await rows_of(surface, {"listen", 7})) == 2
        assert len(await rows_of(surface)) == 4


@on_every_surface
async def test_one_is_found_by_its_inode(surface: Surface) -> None:
    """By the cookie only that very one; the kernel says ESTALE or ENOENT for others."""
    leave_the_loop_behind()
    with listener(b"\0x") as sock:
        inode = inode_of(sock)
        [expected] = (await rows_of(surface)).values()
        async with surface.open_sock_diag() as diag:
            assert await diag.request(nls.unix_socket(inode)) == expected
            assert await diag.request(nls.unix_socket(inode, expected.cookie)) == expected
            with pytest.raises(nls.KernelError) as caught:
                await diag.request(nls.unix_socket(inode, expected.cookie + 1))
            assert caught.value.errno == errno.ESTALE
            sock.close()
            with pytest.raises(nls.KernelError) as caught:
                await diag.request(nls.unix_socket(inode))
            assert caught.value.errno == errno.ENOENT


@on_every_surface
async def test_a_listener_with_many_who_wait_hides_no_socket(surface: Surface) -> None:
    """The kernel ends its dump at a row that is too large, without a word; here it has a row."""
    leave_the_loop_behind()
    with listener(b"\0crowded") as crowded, contextlib.ExitStack() as others:
        told = _crowd(b"\0crowded")
        names = {b"\0%d" % number for number in range(20)}
        for name in names:
            others.enter_context(listener(name))
        rows = await rows_of(surface, "listen")
        assert {row.name for row in rows.values()} == names | {b"\0crowded"}
        row = rows[inode_of(crowded)]
        assert row.accept_queue == nls.AcceptQueue(length=told, limit=4096)
        assert row.pending in (None, (0,) * told)
        async with surface.open_sock_diag() as diag:
            one = await diag.request(nls.unix_socket(row.inode))
        assert one == attrs.evolve(row, pending=None)


@on_every_surface
async def test_those_who_wait_alone_are_too_many_for_the_first_buffer(surface: Surface) -> None:
    """Of a dump; not for that of a dump of all, which has had another before."""
    leave_the_loop_behind()
    with listener(b"\0crowded") as crowded:
        told = _crowd(b"\0crowded")
        [row] = (await rows_of(surface, "listen")).values()
        assert (row.inode, row.pending) == (inode_of(crowded), None)
        [row] = (await rows_of(surface)).values()
        assert row.pending == (0,) * told


def _crowd(address: bytes) -> int:
    """Have so many wait who have gone again."""
    for _ in range(MANY):
        connect(address).close()
    return MANY


@on_every_surface
async def test_thousands_of_sockets_are_told_of_once_each(surface: Surface) -> None:
    """Rows of different lengths over many datagrams, each with its own peer."""
    leave_the_loop_behind()
    with contextlib.ExitStack() as ends, kernel.descriptors_for(2100), listener(b"\0x"):
        wanted: dict[int, int] = {}
        for number in range(1000):
            pair = socket.socketpair()
            one, other = map(ends.enter_context, pair)
            one.bind(b"\0" + b"y" * (number % 90) + b"%d" % number)
            wanted |= {inode_of(one): inode_of(other), inode_of(other): inode_of(one)}
        with taking_at_most(60):
            rows = await rows_of(surface)
        assert {inode: row.peer for inode, row in rows.items() if row.peer} == wanted
        assert len(rows) == 2001


@on_every_surface
async def test_only_the_sockets_of_the_namespace_are_told_of(surface: Surface) -> None:
    """A namespace with no unix sockets has no rows."""
    with kernel.named_namespace("elsewhere") as path, listener(b"\0x"):
        async with surface.open_sock_diag(netns=path) as diag:
            assert [row async for row in diag.dump(nls.unix_sockets())] == []


@on_every_surface
async def test_all_that_ss_shows_is_the_same_here(surface: Surface, directory: str) -> None:
    """Kind, state, queues, name, inode, peer, memory, shutdown, file and who waits."""
    leave_the_loop_behind()
    with contextlib.ExitStack() as held:
        for kind in KINDS.values():
            one, other = map(held.enter_context, socket.socketpair(socket.AF_UNIX, kind))
            one.send(b"123")
            other.shutdown(socket.SHUT_RD)
        for number, kind in enumerate((socket.SOCK_STREAM, socket.SOCK_SEQPACKET)):
            for address in (f"{directory}/{number}", b"\0a b\0c%d" % number):
                held.enter_context(listener(address, kind, backlog=9))
                for _ in range(2):
                    held.enter_context(connect(address, kind))
        held.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        lines = oracles.ss_lines("-xaem")
        rows = await rows_of(surface)
    assert len(rows) == 6 + 4 + 8 + 1
    if lines is not None:
        assert dict(map(parsed, lines)) == {inode: shown_by_ss(row) for inode, row in rows.items()}


def shown_by_ss(row: nls.UnixSocket) -> tuple[Any, ...]:
    """The words of ss."""
    assert row.memory is not None
    assert row.pending is not None
    return (
        str(row.type),
        row.state.name.lower(),
        row.receive_queue,
        row.transmit_queue,
        row.path or "*",
        row.peer or 0,
        attrs.astuple(row.memory),
        nls.Shutdown.RECEIVE in row.shutdown,
        nls.Shutdown.SEND in row.shutdown,
        row.vfs and (row.vfs.inode, os.major(row.vfs.device), os.minor(row.vfs.device)),
        row.pending,
    )


def parsed(line: str) -> tuple[int, tuple[Any, ...]]:
    found = re.fullmatch(
        r"(\S+)\s+(\S+)\s+(\d+)\s+(\d+)\s+(.*?) (\d+)\s+\* (\d+)\s+(skmem:\S+) "
        r"([<-])-([->])(?: ino:(\d+) dev:(\d+)/(\d+))?(?: peers:([ \d]*))?\s*",
        line,
    )
    assert found is not None, line
    kind, state, receive, transmit, path, inode, peer, memory, left, right, *file = found.groups()
    *file, peers = file
    return int(inode), (
        SS_KINDS[kind],
        oracles.SS_NAMES[state],
        int(receive),
        int(transmit),
        path,
        int(peer),
        oracles.ss_memory(memory),
        left == "-",
        right == "-",
        tuple(map(int, file)) if file[0] else None,
        tuple(map(int, (peers or "").split())),
    )


@pytest.mark.anywhere
@pytest.mark.parametrize(
    "asked",
    [
        lambda: nls.unix_sockets([]),
        lambda: nls.unix_sockets("waiting"),
        lambda: nls.unix_sockets(True),
        lambda: nls.unix_socket(0),
        lambda: nls.unix_socket(-1),
        lambda: nls.unix_socket(1 << 32),
        lambda: nls.unix_socket(True),
        lambda: nls.unix_socket(1, -1),
        lambda: nls.unix_socket(1, 1 << 64),
    ],
)
def test_what_does_not_exist_is_refused(asked: Any) -> None:
    """Before it is sent."""
    with pytest.raises(nls.LocalProtocolError):
        asked()


@pytest.mark.anywhere
@pytest.mark.parametrize(
    "tail",
    [
        b"",
        build_attribute(4, bytes(7)),
        QUEUES + build_attribute(1, bytes(7)),
        QUEUES + build_attribute(2, bytes(3)),
        QUEUES + build_attribute(3, bytes(6)),
        QUEUES + build_attribute(6, b""),
        QUEUES + build_attribute(7, bytes(3)),
        QUEUES + struct.pack("=HH", 3, 0),
        QUEUES + struct.pack("=HH", 99, 0),
    ],
    ids=repr,
)
def test_a_malformed_row_is_an_error(tail: bytes) -> None:
    """An attribute that is missing, too short, or longer than its row."""
    for request in (*nls.unix_sockets(), nls.unix_socket(1)):
        with pytest.raises(nls.DecodeError):
            diag_rows.read(request, HEAD.pack(1, 1, 1, 5, 6, 0) + tail)


@pytest.mark.anywhere
@pytest.mark.parametrize(("state", "waiting", "told"), [(10, 0, ()), (10, 3, None), (1, 3, ())])
def test_who_waits_is_unknown_only_where_somebody_does(
    state: int, waiting: int, told: tuple[int, ...] | None
) -> None:
    """In the row of the request that does not ask for them."""
    queues = build_attribute(4, struct.pack("=II", waiting, 9))
    [row] = diag_rows.read(nls.unix_sockets("listen")[1], HEAD.pack(1, 1, state, 5, 6, 0) + queues)
    assert row.pending == told


@pytest.mark.anywhere
def test_a_name_without_bytes_is_no_path() -> None:
    """What is there without being anything comes through as it is."""
    payload = HEAD.pack(1, 1, 1, 5, 6, 0) + QUEUES + build_attribute(0, b"")
    [row] = diag_rows.read(nls.unix_socket(1), payload)
    assert (row.name, row.path, row.uid, row.memory) == (b"", "", None, None)


@pytest.mark.anywhere
@given(st.binary(min_size=HEAD.size, max_size=HEAD.size), diag_rows.TAILS)
def test_whatever_comes_is_a_row_or_a_decode_error(head: bytes, tail: bytes) -> None:
    """And what is a row can be written as JSON."""
    for request in nls.unix_sockets():
        for attributes in (tail, QUEUES + tail):
            for row in diag_rows.check_decoded_or_refused(request, head + attributes):
                json.dumps(row.as_dict(), ensure_ascii=False).encode("utf-8")
