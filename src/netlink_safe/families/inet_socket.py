"""A row of inet_diag: struct inet_diag_msg and its attributes, read lazily over the datagram.

A number is unpacked when it is asked for, so that a row that nobody looks at costs little more than
its place in a list.

May call ``wire``, ``families.inet_diag``, ``families.plain``, ``families.sock_diag`` and
``errors``.
"""

from __future__ import annotations

import functools
import ipaddress
import struct
import sys
from typing import Any, ClassVar, Final, Self

import attrs

from netlink_safe.errors import DecodeError
from netlink_safe.families.inet_diag import (
    AddressFamily,
    Extension,
    Given,
    SctpState,
    Shutdown,
    TcpState,
)
from netlink_safe.families.plain import plain_value
from netlink_safe.families.sock_diag import COOKIE, SocketMemory
from netlink_safe.wire.attributes import iterate_attributes
from netlink_safe.wire.header import HEADER

#: The least length of a row, its message header included.
ROW_MINIMUM: Final = HEADER.size + 72
#: Where in a row the state stands.
STATE_OFFSET: Final = HEADER.size + 1

_INET: Final = int(AddressFamily.INET)
_PORTS: Final = struct.Struct("!HH")
_U32: Final = struct.Struct("=I")
#: Bytes of the widest number in an attribute.
_WIDEST: Final = 8
#: What a mapped IPv4 address begins with.
_MAPPED: Final = bytes(10) + b"\xff\xff"


@attrs.frozen(slots=True)
class Endpoint:
    """An address, as text, and a port, from 0 to 65535; zeros are none."""

    address: str
    port: int

    def __str__(self) -> str:
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"{address}:{self.port}"


@functools.lru_cache(maxsize=1024)  # a machine's own addresses stand in every row
def address_text(packed: bytes) -> str:
    """The 4 or 16 bytes of an address as text."""
    return ".".join(map(str, packed)) if len(packed) == 4 else ipv6_text(packed)


def ipv6_text(packed: bytes) -> str:
    """An IPv6 address as text; a mapped IPv4 address in its digits, as Python has it from 3.13."""
    if packed.startswith(_MAPPED):
        return f"::ffff:{ipaddress.IPv4Address(packed[len(_MAPPED) :])}"
    return str(ipaddress.IPv6Address(packed))


@attrs.frozen(slots=True)
class Memory:
    """A socket's memory in bytes (``include/uapi/linux/inet_diag.h``: struct inet_diag_meminfo)."""

    receive: int
    transmit_queued: int
    forward_allocated: int
    transmit: int


class InetSocket:
    """One socket, as the kernel saw it when it passed in its walk of the table.

    ``protocol`` is the IPPROTO_* number of its kind.
    A row holds its whole datagram alive, some 32 KiB for 80 to 340 rows.  Who keeps a few rows for
    long calls ``detach()`` on each; who keeps all of them, or none, need not.
    Attributes are read when asked for, and raise DecodeError if they are malformed; None is what
    the kernel did not give.
    """

    __slots__ = ("_data", "_extensions", "_start")
    protocol: ClassVar[int]
    #: What ``as_dict`` tells.
    TOLD: ClassVar[tuple[str, ...]] = (
        "family",
        "state",
        "source",
        "destination",
        "interface",
        "cookie",
        "receive_queue",
        "transmit_queue",
        "uid",
        "inode",
        "shutdown",
        "mark",
        "cgroup_id",
        "class_id",
        "v6_only",
        "tos",
        "traffic_class",
        "memory",
        "socket_memory",
    )
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
    def state(self) -> TcpState | SctpState:
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
        """What identifies the socket for as long as the machine runs, a number of 64 bits.

        (``net/core/sock_diag.c``: __sock_gen_cookie.)
        """
        low, high = COOKIE.unpack_from(self._data, self._start + 60)
        return int(low | high << 32)

    @property
    def id(self) -> bytes:
        """struct inet_diag_sockid as it is: ports, addresses, interface and cookie."""
        return self._data[self._start + 20 : self._start + 68]

    @property
    def receive_queue(self) -> int:
        """Bytes received and not yet read; of a listener, connections waiting to be accepted."""
        return self._u32(72)

    @property
    def transmit_queue(self) -> int:
        """Bytes sent and not yet acknowledged, or gone; of a listener, how many may wait.

        See ``UdpSocket`` and ``SctpSocket`` for theirs.
        """
        return self._u32(76)

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
        """Every attribute of the row by its INET_DIAG_* number, those unknown here as well.

        Raises DecodeError.
        """
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
        """The packet mark; given only to who has CAP_NET_ADMIN.

        (``net/ipv4/inet_diag.c``: inet_diag_msg_attrs_fill.)
        """
        return self._number(Given.MARK)

    @property
    def cgroup_id(self) -> int | None:
        """The inode number of the socket's cgroup, of v2 (Linux 5.8)."""
        return self._number(Given.CGROUP_ID)

    @property
    def class_id(self) -> int | None:
        """The class of the net_cls cgroup, or else the socket's priority (SO_PRIORITY).

        Given with ``"traffic_class"`` (``net/ipv4/inet_diag.c``: inet_diag_msg_attrs_fill).
        """
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
    def tos(self) -> int | None:
        """The type of service, a byte; asked for as ``"tos"``."""
        return self._number(Extension.TOS)

    @property
    def traffic_class(self) -> int | None:
        """The IPv6 traffic class, a byte; asked for as ``"traffic_class"``."""
        return self._number(Extension.TRAFFIC_CLASS)

    @property
    def memory(self) -> Memory | None:
        """Bytes in use; asked for as ``"memory"``."""
        words = self._words(Extension.MEMORY, 4)
        return None if words is None else Memory(*words)

    @property
    def socket_memory(self) -> SocketMemory | None:
        """Bytes in use, and the limits; asked for as ``"socket_memory"``."""
        return SocketMemory.read(self.attributes.get(Extension.SOCKET_MEMORY))

    def as_dict(self) -> dict[str, Any]:
        """Everything that the row says, in plain data: enums by name, None for what it does not."""
        return {name: plain_value(getattr(self, name)) for name in self.TOLD}

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
        length = 4 if self._data[self._start + 16] == _INET else 16
        return Endpoint(address_text(self._data[first : first + length]), port)

    def _u32(self, offset: int) -> int:
        return int(_U32.unpack_from(self._data, self._start + offset)[0])

    def _number(self, type_: int) -> int | None:
        raw = self.attributes.get(type_)
        if raw is not None and len(raw) > _WIDEST:
            # Of thousands of bytes not even Python makes digits.
            raise DecodeError(f"a number of {len(raw)} bytes", self._start, (type_,))
        return None if raw is None else int.from_bytes(raw, sys.byteorder)

    def _words(self, type_: int, count: int) -> tuple[int, ...] | None:
        raw = self.attributes.get(type_)
        if raw is None or len(raw) < 4 * count:
            return None
        return struct.unpack_from(f"={count}I", raw)
