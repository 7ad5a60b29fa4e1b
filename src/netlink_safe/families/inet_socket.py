"""A row of inet_diag: struct inet_diag_msg and its attributes, read lazily over the datagram.

A number is unpacked when it is asked for, so that a row that nobody looks at costs little more than
its place in a list.

May call ``wire``, ``families.inet_diag``, ``families.tcp_info`` and ``errors``.
"""

from __future__ import annotations

import ipaddress
import struct
import sys
from typing import TYPE_CHECKING, Final, Self

import attrs

from netlink_safe.families.inet_diag import (
    AddressFamily,
    Extension,
    Given,
    Shutdown,
    TcpState,
    Timer,
)
from netlink_safe.wire.attributes import iterate_attributes
from netlink_safe.wire.header import HEADER

if TYPE_CHECKING:
    from netlink_safe.families.tcp_info import TcpInfo

#: The least length of a row, its message header included.
ROW_MINIMUM: Final = HEADER.size + 72
#: Where in a row the state stands.
STATE_OFFSET: Final = HEADER.size + 1

_TIMERS: Final = frozenset(Timer)
_PORTS: Final = struct.Struct("!HH")
_U32: Final = struct.Struct("=I")
_COOKIE: Final = struct.Struct("=II")


@attrs.frozen(slots=True)
class Endpoint:
    """An address, as text, and a port."""

    address: str
    port: int

    def __str__(self) -> str:
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"{address}:{self.port}"


@attrs.frozen(slots=True)
class AcceptQueue:
    """Connections waiting to be accepted, and how many may wait."""

    length: int
    limit: int


@attrs.frozen(slots=True)
class Memory:
    """A socket's memory in bytes: struct inet_diag_meminfo."""

    receive: int
    transmit_queued: int
    forward_allocated: int
    transmit: int


@attrs.frozen(slots=True)
class SocketMemory:
    """A socket's memory in bytes: the SK_MEMINFO_* words, ``drops`` in packets."""

    receive: int
    receive_buffer: int
    transmit: int
    send_buffer: int
    forward_allocated: int
    transmit_queued: int
    option: int
    backlog: int
    drops: int


class TcpSocket:
    """One TCP socket, as the kernel saw it when it passed in its walk of the table.

    A row holds its whole datagram alive, some 32 KiB for 80 to 340 rows.  Who keeps a few rows for
    long calls ``detach()`` on each; who keeps all of them, or none, need not.
    Attributes are read when asked for, and raise DecodeError if they are malformed.
    """

    __slots__ = ("_data", "_extensions", "_start")
    _data: bytes
    _start: int
    _extensions: dict[int, bytes]

    def __init__(self, data: bytes, start: int = 0) -> None:
        self._data = data
        self._start = start

    def detach(self) -> Self:
        """Let go of the datagram by copying this row's own bytes; returns the row itself."""
        self._data = self._data[self._start : self._end]
        self._start = 0
        return self

    @property
    def family(self) -> AddressFamily:
        """AF_INET or AF_INET6."""
        return AddressFamily(self._data[self._start + 16])

    @property
    def state(self) -> TcpState:
        """The state; see TcpState for what is never reported."""
        return TcpState(self._data[self._start + STATE_OFFSET])

    @property
    def source(self) -> Endpoint:
        """The local address and port."""
        return self._endpoint(0)

    @property
    def destination(self) -> Endpoint:
        """The peer's address and port; zeros where there is none."""
        return self._endpoint(1)

    @property
    def interface(self) -> int:
        """The index of the interface that the socket is bound to, or 0."""
        return self._u32(56)

    @property
    def cookie(self) -> int:
        """What identifies the socket for as long as the machine runs."""
        low, high = _COOKIE.unpack_from(self._data, self._start + 60)
        return int(low | high << 32)

    @property
    def timer(self) -> Timer | int:
        """The timer that runs; TIME_WAIT marks the remains of a socket that was closed."""
        number = self._data[self._start + 18]
        return Timer(number) if number in _TIMERS else number

    @property
    def timer_milliseconds(self) -> int:
        """Milliseconds until that timer fires, 0 if none runs."""
        return self._u32(68)

    @property
    def retransmits(self) -> int:
        """Retransmissions or probes that went unanswered, for the timer that runs."""
        return self._data[self._start + 19]

    @property
    def receive_queue(self) -> int:
        """Bytes received and not yet read; in LISTEN, connections waiting to be accepted."""
        return self._u32(72)

    @property
    def transmit_queue(self) -> int:
        """Bytes sent and not yet acknowledged; in LISTEN, how many connections may wait."""
        return self._u32(76)

    @property
    def accept_queue(self) -> AcceptQueue | None:
        """The accept queue of a listener, None for others.

        A LISTEN row's two queue numbers are connections, not bytes
        (``net/ipv4/tcp_diag.c``: tcp_diag_get_info).
        """
        if self._data[self._start + STATE_OFFSET] != TcpState.LISTEN:
            return None
        return AcceptQueue(self.receive_queue, self.transmit_queue)

    @property
    def uid(self) -> int:
        """The owner's user ID, as the asking process's user namespace sees it."""
        return self._u32(80)

    @property
    def inode(self) -> int:
        """The socket's inode, 0 where no process holds it."""
        return self._u32(84)

    @property
    def attributes(self) -> dict[int, bytes]:
        """Every attribute of the row by its INET_DIAG_* number, those unknown here as well."""
        try:
            return self._extensions
        except AttributeError:
            found = iterate_attributes(self._data, self._start + ROW_MINIMUM, self._end)
            self._extensions = {type_: self._data[first:end] for type_, first, end in found}
            return self._extensions

    @property
    def shutdown(self) -> Shutdown | None:
        """The directions that are shut down."""
        number = self._number(Given.SHUTDOWN)
        return None if number is None else Shutdown(number & 3)

    @property
    def mark(self) -> int | None:
        """The packet mark; given only to who has CAP_NET_ADMIN."""
        return self._number(Given.MARK)

    @property
    def cgroup_id(self) -> int | None:
        """The inode number of the socket's cgroup (Linux 5.8)."""
        return self._number(Given.CGROUP_ID)

    @property
    def class_id(self) -> int | None:
        """The class of the net_cls cgroup; given only with some extensions."""
        return self._number(Given.CLASS_ID)

    @property
    def v6_only(self) -> bool | None:
        """Whether an IPv6 listener takes IPv6 only."""
        number = self._number(Given.V6_ONLY)
        return None if number is None else bool(number)

    @property
    def socket_options(self) -> bytes | None:
        """The two bytes of struct inet_diag_sockopt (Linux 5.10)."""
        return self.attributes.get(Given.SOCKET_OPTIONS)

    @property
    def congestion(self) -> str | None:
        """The congestion control's name; asked for as ``"congestion"``."""
        raw = self.attributes.get(Extension.CONGESTION)
        return None if raw is None else raw.rstrip(b"\0").decode("ascii", "backslashreplace")

    @property
    def tos(self) -> int | None:
        """The type of service; asked for as ``"tos"``."""
        return self._number(Extension.TOS)

    @property
    def traffic_class(self) -> int | None:
        """The IPv6 traffic class; asked for as ``"traffic_class"``."""
        return self._number(Extension.TRAFFIC_CLASS)

    @property
    def memory(self) -> Memory | None:
        """Bytes in use; asked for as ``"memory"``."""
        words = self._words(Extension.MEMORY, 4)
        return None if words is None else Memory(*words)

    @property
    def socket_memory(self) -> SocketMemory | None:
        """Bytes in use, and the limits; asked for as ``"socket_memory"``."""
        words = self._words(Extension.SOCKET_MEMORY, 9)
        return None if words is None else SocketMemory(*words)

    @property
    def info(self) -> TcpInfo | None:
        """What the connection has been through; asked for as ``"info"``."""
        raw = self.attributes.get(Extension.INFO)
        if raw is None:
            return None
        from netlink_safe.families.tcp_info import TcpInfo

        return TcpInfo(raw)

    @property
    def raw(self) -> bytes:
        """The row's bytes, its message header included."""
        return self._data[self._start : self._end]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.source} -> {self.destination} {self.state}>"

    @property
    def _end(self) -> int:
        return self._start + self._u32(0)

    def _endpoint(self, which: int) -> Endpoint:
        port = _PORTS.unpack_from(self._data, self._start + 20)[which]
        first = self._start + 24 + 16 * which
        if self._data[self._start + 16] == AddressFamily.INET:
            return Endpoint(".".join(map(str, self._data[first : first + 4])), port)
        return Endpoint(str(ipaddress.IPv6Address(self._data[first : first + 16])), port)

    def _u32(self, offset: int) -> int:
        return int(_U32.unpack_from(self._data, self._start + offset)[0])

    def _number(self, type_: int) -> int | None:
        raw = self.attributes.get(type_)
        return None if raw is None else int.from_bytes(raw, sys.byteorder)

    def _words(self, type_: int, count: int) -> tuple[int, ...] | None:
        raw = self.attributes.get(type_)
        if raw is None or len(raw) < 4 * count:
            return None
        return struct.unpack_from(f"={count}I", raw)


class BoundInactiveTcpSocket(TcpSocket):
    """A socket that is bound and neither listens nor connects; the kernel calls it CLOSE."""

    __slots__ = ()

    @property
    def state(self) -> TcpState:
        """BOUND_INACTIVE: no other was asked for in the dump that this row came from."""
        return TcpState.BOUND_INACTIVE
