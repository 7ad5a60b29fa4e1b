"""Who answers: the running kernel, unless a test has put something in front of it.

The calls on a socket to the kernel that an exchange or a listener is made of stand here, so that
there is one place where a fault can be made, a datagram recorded, or another kernel be asked.

May call ``transport.bursts`` and ``wire``.
"""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, overload

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netlink_safe.transport.bursts import BurstBuffer
    from netlink_safe.wire.datagram import Burst

#: What ``recvmsg`` gives: data, ancillary data, flags, (port ID, mask of groups).
Received: TypeAlias = tuple[bytes, list[tuple[int, int, bytes]], int, Any]

#: The kernel's port ID, and no group.
KERNEL: Final = (0, 0)


class End(Protocol):
    """Our end of a netlink socket, as ``socket.socket`` has it; ``proto`` is its protocol."""

    @property
    def proto(self) -> int: ...

    def fileno(self) -> int: ...

    def setblocking(self, flag: bool, /) -> None: ...

    def setsockopt(self, level: int, option: int, value: int, /) -> None: ...

    @overload
    def getsockopt(self, level: int, option: int, /) -> int: ...
    @overload
    def getsockopt(self, level: int, option: int, size: int, /) -> bytes: ...

    def bind(self, address: tuple[int, int], /) -> None: ...

    def getsockname(self) -> Any: ...

    def sendto(self, data: bytes, flags: int, address: tuple[int, int], /) -> int: ...

    def recvmsg(self, size: int, ancillary: int, flags: int, /) -> Received: ...

    def receive_burst(self, buffer: BurstBuffer, /) -> list[Burst]: ...

    def close(self) -> None: ...


class RunningEnd(socket.socket):
    """A socket to the kernel that this process runs on."""

    def receive_burst(self, buffer: BurstBuffer, /) -> list[Burst]:
        """Some of what is queued, by one system call.  Raises OSError."""
        return buffer.receive(self.fileno())


class Kernel:
    """The running kernel; what stands in front of it overrides some of this."""

    def open(self, protocol: int) -> End:
        """A new socket of a netlink protocol.  Raises OSError."""
        return RunningEnd(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)

    def opened(self, end: End) -> None:
        """Called once it is bound and has joined its groups."""

    def may_stall(self) -> bool:
        """Whether any call may be held up, also where one of its kind has come back before."""
        return False

    def send(self, end: End, data: bytes) -> None:
        """Hand a request over.  Raises OSError."""
        end.sendto(data, socket.MSG_DONTWAIT, KERNEL)

    def receive(self, end: End, size: int) -> Received:
        """The next datagram.  Raises BlockingIOError where none is queued, OSError."""
        return end.recvmsg(size, 0, socket.MSG_DONTWAIT)

    def receive_burst(self, end: End, buffer: BurstBuffer) -> list[Burst]:
        """Some of what is queued for a listener; nothing where nothing is.  Raises OSError."""
        return end.receive_burst(buffer)


class InFront(Kernel):
    """What hands every call on to whom it stands in front of; to be overridden in part."""

    def __init__(self) -> None:
        self._behind: Kernel = Kernel()

    def open(self, protocol: int) -> End:
        return self._behind.open(protocol)

    def opened(self, end: End) -> None:
        self._behind.opened(end)

    def may_stall(self) -> bool:
        return self._behind.may_stall()

    def send(self, end: End, data: bytes) -> None:
        self._behind.send(end, data)

    def receive(self, end: End, size: int) -> Received:
        return self._behind.receive(end, size)

    def receive_burst(self, end: End, buffer: BurstBuffer) -> list[Burst]:
        return self._behind.receive_burst(end, buffer)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Have it asked by every thread of the process, until the end of the body."""
        _stack.append(self)
        _restack()
        try:
            yield
        finally:
            _stack.remove(self)
            _restack()


_stack: Final[list[InFront]] = []
_foremost: Kernel = Kernel()


def _restack() -> None:
    """Each stands in front of the one before, in whatever order they come and go."""
    global _foremost  # noqa: PLW0603  # every socket asks here
    behind: Kernel = Kernel()
    for each in _stack:
        each._behind = behind
        behind = each
    _foremost = behind


def foremost() -> Kernel:
    """Whom a socket is to call."""
    return _foremost
