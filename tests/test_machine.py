"""What differs from machine to machine: numbers, and memory that the kernel writes into."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from typing import TYPE_CHECKING, Final

import pytest

from netlink_safe.transport.bursts import BurstBuffer
from netlink_safe.transport.machine import machine
from netlink_safe.wire.datagram import Burst, Credentials, Sender

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.anywhere

US: Final = Credentials(os.getpid(), os.getuid(), os.getgid())


@pytest.mark.parametrize(
    ("name", "bits", "user_namespace"),
    [
        ("x86_64", 64, 0xB701),
        ("aarch64", 64, 0xB701),
        ("armv7l", 32, 0xB701),
        ("s390x", 64, 0xB701),
        ("parisc64", 32, 0xB701),
        ("ppc64le", 64, 0x2000B701),
        ("mips64", 64, 0x2000B701),
        ("sparc64", 64, 0x2000B701),
    ],
)
def test_an_ioctl_without_data_says_so_where_that_takes_a_bit(
    name: str, bits: int, user_namespace: int
) -> None:
    """_IOC_NONE is 1 and not 0 in arch/{alpha,mips,powerpc,sparc}/include/uapi/asm/ioctl.h."""
    assert machine(name, bits).ioctl(0xB7, 1) == user_namespace


@pytest.mark.parametrize(
    ("name", "bits", "first"), [("x86_64", 64, 0), ("mips64", 64, 5000), ("mips", 32, 4000)]
)
def test_system_calls_begin_where_the_machine_has_them(name: str, bits: int, first: int) -> None:
    """MIPS has a range for each kind of process (arch/mips/include/uapi/asm/unistd.h)."""
    assert machine(name, bits).system_calls == first


def test_options_of_sockets_have_other_numbers_where_they_came_from_other_systems() -> None:
    """On most machines they are those of asm-generic; 33 is another option on SPARC."""
    told = [
        (one.receive_buffer_force, one.memory_info, one.attach_filter, one.detach_filter)
        for one in (machine(*each) for each in (("s390x", 64), ("sparc64", 64), ("parisc", 32)))
    ]
    assert told == [(33, 55, 26, 27), (0x100B, 0x39, 26, 27), (0x100B, 0x4030, 0x401A, 0x401B)]


@contextlib.contextmanager
def _receiver() -> Iterator[socket.socket]:
    """A socket of AF_UNIX that is told by whom a datagram is, as netlink tells it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        receiver.bind("")  # an abstract name of the kernel's choice
        yield receiver


@contextlib.contextmanager
def _sender(receiver: socket.socket, port_id: int, groups: int) -> Iterator[socket.socket]:
    """One with an abstract name that lies in memory as a struct sockaddr_nl does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.bind(b"\0n" + struct.pack("=II", port_id, groups))
        sender.connect(receiver.getsockname())
        yield sender


def test_a_burst_is_received_with_its_sender() -> None:
    """Texts of any length, whose sender stands in a name and in credentials."""
    with _receiver() as receiver, _sender(receiver, 0x01020304, 0x8000_0001) as sender:
        texts = [b"one", b"", b"3" * 1000]
        for each in texts:
            sender.send(each)
        buffer = BurstBuffer(most=4)
        assert buffer.receive(receiver.fileno()) == [
            Burst(Sender(0x01020304, 0x8000_0001, US, truncated=False), texts)
        ]
        assert buffer.receive(receiver.fileno()) == []


def test_neighbours_of_different_senders_are_bursts_of_their_own() -> None:
    """And what did not fit says so."""
    with (
        _receiver() as receiver,
        _sender(receiver, 7, 0) as first,
        _sender(receiver, 8, 1) as second,
    ):
        for sender, text in ((first, b"a"), (second, b"b" * 9), (first, b"c")):
            sender.send(text)
        found = BurstBuffer(most=4, room=8).receive(receiver.fileno())
    assert found == [
        Burst(Sender(7, 0, US, truncated=False), [b"a"]),
        Burst(Sender(8, 1, US, truncated=True), [b"b" * 8]),
        Burst(Sender(7, 0, US, truncated=False), [b"c"]),
    ]


def test_a_failed_receive_is_an_oserror() -> None:
    """The errno is the system call's."""
    with pytest.raises(OSError, match="Bad file descriptor"):
        BurstBuffer(most=1, room=8).receive(-1)
