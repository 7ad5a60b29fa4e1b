"""Real faults on the real kernel: filters on the library's own sockets, and strangers who write."""

from __future__ import annotations

import contextlib
import ctypes
import socket
import struct
import sys
import threading
from typing import TYPE_CHECKING, Final

import attrs
import pytest

from netlink_safe.transport import socket as transport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from netlink_safe.transport.socket import NetlinkSocket
    from netlink_safe.wire.datagram import Datagram

SO_ATTACH_FILTER: Final = 26
LOAD_LENGTH: Final = 0x80
LOAD_HALF_WORD: Final = 0x28
JUMP_EQUAL: Final = 0x15
JUMP_GREATER: Final = 0x25
RETURN: Final = 0x06
PASS: Final = 0xFFFFFFFF
DROP: Final = 0

Instruction = tuple[int, int, int, int]


def attach(sock: socket.socket, program: list[Instruction]) -> None:
    """Have the kernel filter what reaches a socket (classic BPF)."""
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(code)
    sock.setsockopt(
        socket.SOL_SOCKET,
        SO_ATTACH_FILTER,
        struct.pack("@HP", len(program), ctypes.addressof(buffer)),
    )


def losing(message_type: int) -> list[Instruction]:
    """Drop datagrams whose first message is of this type."""
    as_loaded = int.from_bytes(message_type.to_bytes(2, sys.byteorder), "big")
    return [
        (LOAD_HALF_WORD, 0, 0, 4),
        (JUMP_EQUAL, 0, 1, as_loaded),
        (RETURN, 0, 0, DROP),
        (RETURN, 0, 0, PASS),
    ]


#: Drop everything.
DEAF: Final[list[Instruction]] = [(RETURN, 0, 0, DROP)]

#: Pass a dump's first chunk, which is made before any receive and is short, and nothing behind it,
#: not even the end (20 bytes).
DYING: Final[list[Instruction]] = [
    (LOAD_LENGTH, 0, 0, 0),
    (JUMP_GREATER, 2, 0, 4096),
    (JUMP_GREATER, 0, 1, 64),
    (RETURN, 0, 0, PASS),
    (RETURN, 0, 0, DROP),
]


def passing_only(length: int) -> list[Instruction]:
    """Pass datagrams of this length and drop all others."""
    return [
        (LOAD_LENGTH, 0, 0, 0),
        (JUMP_EQUAL, 0, 1, length),
        (RETURN, 0, 0, PASS),
        (RETURN, 0, 0, DROP),
    ]


class Stall:
    """A call that the kernel holds up: ``entered`` once it is, ``release`` lets it go."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.release = threading.Event()


@contextlib.contextmanager
def stalled_sends() -> Iterator[Stall]:
    """Hold up every send of the library until the end of the body, as rtnl_lock may."""
    stall = Stall()
    send = transport.NetlinkSocket.send

    def stalled(sock: NetlinkSocket, data: bytes) -> None:
        stall.entered.set()
        assert stall.release.wait(30)
        send(sock, data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transport.NetlinkSocket, "send", stalled)
        try:
            yield stall
        finally:
            stall.release.set()


@contextlib.contextmanager
def retyped(message_type: int, other: int) -> Iterator[None]:
    """Have datagrams whose first message is of one type arrive as another one's meanwhile."""
    receive = transport.NetlinkSocket.receive
    before, behind = (struct.pack("=H", one) for one in (message_type, other))

    def altered(sock: NetlinkSocket) -> Datagram | None:
        datagram = receive(sock)
        if datagram is None or datagram.data[4:6] != before:
            return datagram
        return attrs.evolve(datagram, data=datagram.data[:4] + behind + datagram.data[6:])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transport.NetlinkSocket, "receive", altered)
        yield


@contextlib.contextmanager
def on_open(hook: Callable[[socket.socket], None]) -> Iterator[None]:
    """Do something to each kernel socket that the library opens meanwhile."""
    transport.opened.append(hook)
    try:
        yield
    finally:
        transport.opened.remove(hook)


@contextlib.contextmanager
def filtered(program: list[Instruction], sockets: int | None = None) -> Iterator[None]:
    """Filter every kernel socket that the library opens meanwhile, or only the first few."""
    filtered_so_far = 0

    def hook(sock: socket.socket) -> None:
        nonlocal filtered_so_far
        if sockets is None or filtered_so_far < sockets:
            filtered_so_far += 1
            attach(sock, program)

    with on_open(hook):
        yield


def spoof_or_miss(port_id: int, data: bytes) -> None:
    """The same to somebody who may be gone, or whose queue may be full."""
    with contextlib.suppress(ConnectionRefusedError, BlockingIOError):
        spoof(port_id, data)


def spoof_multicast(protocol: int, group: int, data: bytes) -> None:
    """Send a datagram to a group, as a privileged stranger may."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol) as stranger:
        stranger.setsockopt(270, 1, group)  # a sender of groups above 32 is a member itself
        with contextlib.suppress(ConnectionRefusedError):
            stranger.sendto(data, socket.MSG_DONTWAIT, (0, 1 << group - 1))


def spoof(port_id: int, data: bytes) -> None:
    """Send a datagram to somebody's sock_diag socket, as a privileged stranger may."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4) as stranger:
        stranger.sendto(data, socket.MSG_DONTWAIT, (port_id, 0))
