"""Rows of vsock sockets: real ones, where the kernel has vsock_diag, and made ones."""

from __future__ import annotations

import ctypes
import functools
import json
import os
import shutil
import socket
import struct
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import diag_rows
import netlink_safe as nls
import oracles
from netlink_safe import blocking
from surfaces import Surface, on_every_surface

if TYPE_CHECKING:
    from collections.abc import Iterator

SO_COOKIE = 57
ANY = 0xFFFFFFFF
#: VMADDR_CID_LOCAL: this machine itself, by vsock_loopback.
LOCAL = 1
#: struct vsock_diag_msg.
HEAD = struct.Struct("=BBBBIIIIIII")


MODULES = ("vsock", "vsock_loopback", "vsock_diag")
#: The kernels in virtual machines have the modules, and there their absence is a failure.
MUST_HAVE_VSOCK = "NETLINK_SAFE_REQUIRE_VSOCK" in os.environ


@functools.cache
def has_vsock_diag() -> bool:
    """Whether the kernel tells of vsock sockets, once its modules are loaded if there are some."""
    if modprobe := shutil.which("modprobe", path="/usr/sbin:/sbin:/usr/bin:/bin"):
        subprocess.run([modprobe, "--quiet", "--all", *MODULES], check=False)
    try:
        with blocking.open_sock_diag() as diag:
            _ = list(diag.dump(nls.vsock_sockets()))
    except nls.NotSupported:
        assert not MUST_HAVE_VSOCK, f"this kernel lacks one of {', '.join(MODULES)}"
        return False
    return True


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A vsock socket that listens; skips the test where the kernel does not tell of it."""
    if not has_vsock_diag():
        pytest.skip("this kernel has no vsock_diag")
    with new() as sock:
        sock.bind((ANY, ANY))
        sock.listen(5)
        yield sock


def new() -> socket.socket:
    return socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)


async def rows_of(surface: Surface, *arguments: Any) -> dict[int, nls.VsockSocket]:
    """The rows by inode, each of which there is once."""
    async with surface.open_sock_diag() as diag:
        rows = [row async for row in diag.dump(nls.vsock_sockets(*arguments))]
    assert len({row.inode for row in rows}) == len(rows)
    return {row.inode: row for row in rows}


def cookie_of(sock: socket.socket) -> int:
    """By the C library: Python gives no more than a number of a vsock socket."""
    cookie, length = ctypes.c_uint64(), ctypes.c_uint32(8)
    libc = ctypes.CDLL(None)
    pointers = ctypes.byref(cookie), ctypes.byref(length)
    assert libc.getsockopt(sock.fileno(), socket.SOL_SOCKET, SO_COOKIE, *pointers) == 0
    return cookie.value


def inode_of(sock: socket.socket) -> int:
    return os.fstat(sock.fileno()).st_ino


@on_every_surface
async def test_a_kernel_without_it_does_not_support_it(surface: Surface) -> None:
    """And the error says which module is missing."""
    if has_vsock_diag():
        pytest.skip("this kernel has vsock_diag")
    async with surface.open_sock_diag() as diag:
        with pytest.raises(nls.NotSupported, match=r"vsock sockets .* \(module vsock_diag\)"):
            _ = [row async for row in diag.dump(nls.vsock_sockets())]


@on_every_surface
async def test_a_listener_says_what_it_is(surface: Surface, listener: socket.socket) -> None:
    """Type, state, endpoints, inode and cookie are the socket's own."""
    row = (await rows_of(surface))[inode_of(listener)]
    assert (row.type, row.state) == (nls.SocketType.STREAM, nls.TcpState.LISTEN)
    assert row.source == nls.VsockEndpoint(*listener.getsockname())
    assert row.destination == nls.VsockEndpoint(ANY, ANY)
    assert row.shutdown == nls.Shutdown(0)
    assert row.cookie == cookie_of(listener)
    assert inode_of(listener) not in await rows_of(surface, "established")
    assert inode_of(listener) in await rows_of(surface, {"listen", "established"})


@on_every_surface
async def test_two_ends_name_each_other_and_ss_agrees(
    surface: Surface, listener: socket.socket
) -> None:
    """Over vsock_loopback; what is shut down is told, and ss shows the same endpoints."""
    with new() as client:
        client.settimeout(10)
        client.connect((LOCAL, listener.getsockname()[1]))
        with listener.accept()[0] as server:
            own, peer = client.getsockname(), client.getpeername()
            client.shutdown(socket.SHUT_WR)
            assert server.recv(1) == b""
            lines = oracles.ss_lines("-a", "--vsock")
            rows = await rows_of(surface)
            one, other = rows[inode_of(client)], rows[inode_of(server)]
            assert one.destination == nls.VsockEndpoint(*peer)
            assert other.destination == nls.VsockEndpoint(LOCAL, own[1])
            # Its own address a socket may have, or any: that is the transport's choice.
            assert {one.source.cid, other.source.cid} <= {LOCAL, ANY}
            assert (one.source.port, other.source.port) == (own[1], peer[1])
            assert nls.Shutdown.SEND in one.shutdown
            assert other.state is nls.TcpState.ESTABLISHED
    if lines is not None:
        theirs = sorted(tuple(line.split()[i] for i in (0, 1, 4, 5)) for line in lines)
        assert theirs == sorted(map(shown_by_ss, rows.values()))


def shown_by_ss(row: nls.VsockSocket) -> tuple[str, ...]:
    kinds = {"stream": "v_str", "dgram": "v_dgr"}
    [state] = [word for word, name in oracles.SS_NAMES.items() if name == row.state.name.lower()]
    return kinds.get(str(row.type), "???"), state, str(row.source), str(row.destination)


@pytest.mark.anywhere
@pytest.mark.parametrize("states", [[], "waiting", True, [99]])
def test_what_is_no_state_is_refused(states: Any) -> None:
    """Before it is sent."""
    with pytest.raises(nls.LocalProtocolError):
        nls.vsock_sockets(states)


@pytest.mark.anywhere
def test_the_question_is_what_the_kernel_reads() -> None:
    """struct vsock_diag_req: family, states, and zeros where they must be."""
    family, *zeros, states, inode, show, _ = struct.unpack(
        "=BBHIIIQ", nls.vsock_sockets({"listen", 1}).payload
    )
    assert (family, states) == (40, 1 << 10 | 1 << 1)
    assert (*zeros, inode, show) == (0, 0, 0, 0)


@pytest.mark.anywhere
def test_a_row_is_read_and_written_as_plain_data() -> None:
    """Every field at its place."""
    payload = HEAD.pack(40, 5, 1, 0xFD, 3, 1024, 2, ANY, 77, 1, 1 << 31)
    [row] = diag_rows.read(nls.vsock_sockets(), payload)
    assert (str(row.source), str(row.destination)) == ("3:1024", "2:*")
    assert json.loads(json.dumps(row.as_dict())) == {
        "type": "seqpacket",
        "state": "ESTABLISHED",
        "shutdown": ["receive"],
        "source": {"cid": 3, "port": 1024},
        "destination": {"cid": 2, "port": ANY},
        "inode": 77,
        "cookie": 1 << 63 | 1,
    }


@pytest.mark.anywhere
def test_a_short_row_is_none() -> None:
    """Its header says so, and the exchange takes it for what it is: no row of this reply."""
    assert diag_rows.read(nls.vsock_sockets(), bytes(HEAD.size - 1)) == []


@given(st.binary(min_size=HEAD.size, max_size=HEAD.size), diag_rows.TAILS)
def test_whatever_comes_is_a_row(head: bytes, tail: bytes) -> None:
    """It has no attributes, so that nothing can be wrong with them."""
    [row] = diag_rows.read(nls.vsock_sockets(), head + tail)
    json.dumps(row.as_dict())
