"""Questions about TCP sockets: what goes out, and the reader of what comes back.

struct inet_diag_req_v2 asks for one address family, and the kernel walks its whole table of
connections for it, passing over the other one's.  The older struct inet_diag_req, which has no
family, asks for both in a single walk (``net/ipv4/inet_diag.c``: inet_diag_dump_compat), and the
rows are the same.  It saves a fifth of a full dump and half of one that looks for rare states.

May call ``protocol``, ``wire``, ``families.inet_diag``, ``families.inet_socket`` and ``errors``.
"""

from __future__ import annotations

import enum
import ipaddress
import struct
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

import attrs

from netlink_safe.errors import LocalProtocolError
from netlink_safe.families.inet_diag import (
    IPPROTO_TCP,
    SOCK_DIAG_BY_FAMILY,
    TCPDIAG_GETSOCK,
    AddressFamily,
    Extension,
    TcpState,
)
from netlink_safe.families.inet_socket import ROW_MINIMUM, BoundInactiveTcpSocket, TcpSocket
from netlink_safe.protocol.request import Request, RowReader
from netlink_safe.wire.constants import NETLINK_SOCK_DIAG, NLM_F_DUMP
from netlink_safe.wire.header import HEADER, Strides, row_offsets

if TYPE_CHECKING:
    from collections.abc import Iterable

#: What a kernel without it lacks.
FEATURE: Final = "TCP sockets over sock_diag (modules inet_diag and tcp_diag)"

_REQUEST: Final = struct.Struct("=BBBxI")
#: struct inet_diag_req around its struct inet_diag_sockid.
_OLD_REQUEST: Final = struct.Struct("=BBBB")
_OLD_STATES: Final = struct.Struct("=II")
_PORTS: Final = struct.Struct("!HH")
_U32: Final = struct.Struct("=I")
_COOKIE: Final = struct.Struct("=II")
_NO_COOKIE: Final = b"\xff" * _COOKIE.size
_REST_OF_SOCKET_ID: Final = bytes(44)
_ENOENT: Final = 2
_EINVAL: Final = 22
_EOPNOTSUPP: Final = 95

#: States of a table's everyday; the mask that they make is 0xfff less the unused bit 0.
EVERYDAY: Final = frozenset(TcpState(number) for number in range(1, 12))


@attrs.frozen(slots=True)
class _Table:
    """One of the kernel's tables: its name, which states are in it, and what a row of it is."""

    name: str
    states: frozenset[TcpState]
    row: type[TcpSocket]


#: Each is a dump of its own, so that how it begins tells how it goes on.  In one dump the kernel
#: gives the listeners at once, and then walks a table that may be a thousand times larger.
TABLES: Final = (
    _Table("TCP sockets", EVERYDAY - {TcpState.LISTEN}, TcpSocket),
    _Table("TCP listeners", frozenset({TcpState.LISTEN}), TcpSocket),
    _Table("bound TCP sockets", frozenset({TcpState.BOUND_INACTIVE}), BoundInactiveTcpSocket),
)

StateLike: TypeAlias = TcpState | int | str
FamilyLike: TypeAlias = AddressFamily | int | str
ExtensionLike: TypeAlias = Extension | int | str
Member = TypeVar("Member", bound=enum.IntEnum)


def tcp_sockets(
    states: Iterable[StateLike] | StateLike | None = None,
    families: Iterable[FamilyLike] | FamilyLike | None = None,
    extensions: Iterable[ExtensionLike] | ExtensionLike = (),
    source_port: int = 0,
    destination_port: int = 0,
) -> tuple[Request[TcpSocket], ...]:
    """Ask for TCP sockets; both address families and every everyday state unless said.

    ``states`` and ``families`` are enum members or their names; ``extensions`` names what to add
    to each row (``"info"``, ``"memory"``, …); a port other than 0 is matched in the kernel, which
    costs nothing there.
    A dump is a walk, not a snapshot: a socket that moves while the kernel walks may be missing or
    double.  Who needs distinct rows says so to ``dump``.
    Raises LocalProtocolError for what does not exist.
    """
    wanted = EVERYDAY if states is None else _members(TcpState, states, "state")
    if not wanted:
        raise LocalProtocolError("states is empty, which asks for nothing; leave it out for all")
    asked = checked_families(families)
    mask = _extension_mask(extensions)
    ports = _checked_ports(source_port, destination_port)
    requests = []
    for table in TABLES:
        if states_there := wanted & table.states:
            by_family = (
                _dump(table, family, states_there, mask, ports) for family in sorted(asked)
            )
            requests.append(_in_one_walk(tuple(by_family), states_there, mask, ports))
    return tuple(requests)


def tcp_socket(
    source: tuple[str, int],
    destination: tuple[str, int] | None = None,
    *,
    interface: int = 0,
    cookie: int | None = None,
    extensions: Iterable[ExtensionLike] | ExtensionLike = (),
) -> Request[TcpSocket]:
    """Ask for one socket by its addresses, without a walk of the table.

    Without ``destination`` it is the listener on ``source``.  With ``cookie`` only that very socket
    will do, and no other that has its addresses now.
    The kernel answers ENOENT (KernelError) where there is none.
    Raises LocalProtocolError for what are no addresses.
    """
    packed, family = _packed(source[0])
    peer = (
        (f"{ipaddress.ip_address(bytes(len(packed)))}", 0) if destination is None else destination
    )
    packed_peer, peer_family = _packed(peer[0])
    if family != peer_family:
        raise LocalProtocolError(f"{source[0]} and {peer[0]} are of different address families")
    ports = _checked_ports(source[1], peer[1])
    return Request(
        name=f"the TCP socket {source[0]} port {source[1]} to {peer[0]} port {peer[1]}",
        protocol=NETLINK_SOCK_DIAG,
        type=SOCK_DIAG_BY_FAMILY,
        flags=0,
        payload=b"".join(
            (
                _REQUEST.pack(family, IPPROTO_TCP, _extension_mask(extensions), _mask(EVERYDAY)),
                ports,
                packed.ljust(16, b"\0"),
                packed_peer.ljust(16, b"\0"),
                _checked_interface(interface),
                (_NO_COOKIE if cookie is None else _packed_cookie(cookie)),
            )
        ),
        row_type=SOCK_DIAG_BY_FAMILY,
        row_minimum=ROW_MINIMUM,
        read=_reader(TcpSocket),
        feature=FEATURE,
    )


def _dump(
    table: _Table,
    family: AddressFamily,
    states: frozenset[TcpState],
    extensions: int,
    ports: bytes,
) -> Request[TcpSocket]:
    which = "" if states == table.states else f" in {', '.join(map(str, sorted(states)))}"
    return Request(
        name=f"the dump of {family} {table.name}{which}",
        protocol=NETLINK_SOCK_DIAG,
        type=SOCK_DIAG_BY_FAMILY,
        flags=NLM_F_DUMP,
        payload=_REQUEST.pack(family, IPPROTO_TCP, extensions, _mask(states))
        + ports
        + _REST_OF_SOCKET_ID,
        row_type=SOCK_DIAG_BY_FAMILY,
        row_minimum=ROW_MINIMUM,
        read=_reader(table.row),
        identity=_cookie_of,
        may_stall=_walks_for_little(states),
        feature=FEATURE,
        missing=frozenset({_ENOENT}),
    )


def _in_one_walk(
    by_family: tuple[Request[TcpSocket], ...],
    states: frozenset[TcpState],
    extensions: int,
    ports: bytes,
) -> Request[TcpSocket]:
    """The same for both families at once, by the old request."""
    if len(by_family) == 1:
        return by_family[0]
    return attrs.evolve(
        by_family[0],
        name=by_family[0].name.replace("inet ", ""),
        type=TCPDIAG_GETSOCK,
        payload=_OLD_REQUEST.pack(0, 0, 0, extensions)
        + ports
        + _REST_OF_SOCKET_ID
        + _OLD_STATES.pack(_mask(states), 0),
        row_type=TCPDIAG_GETSOCK,
        instead=by_family,
        instead_on=frozenset({_EINVAL, _EOPNOTSUPP}),
    )


def _walks_for_little(states: frozenset[TcpState]) -> bool:
    """Whether the kernel may walk its whole table in one call to fill one chunk with rare rows.

    Listeners have a small table of their own (``net/ipv4/inet_diag.c``: inet_diag_dump_icsk).
    """
    return TcpState.ESTABLISHED not in states and states != {TcpState.LISTEN}


def _reader(row_type: type[TcpSocket]) -> RowReader[TcpSocket]:
    new = row_type.__new__

    def read(data: bytes, offset: int, strides: Strides, rows: list[TcpSocket]) -> int:
        first = offset
        known = strides.known
        append = rows.append
        while True:
            header = data[offset : offset + HEADER.size]
            try:
                stride = known[header]
            except KeyError:
                if not (stride := strides.judge(header)):
                    break
            row = new(row_type)
            row._data = data
            row._start = offset
            append(row)
            offset += stride
        if offset > len(data):
            check_stretch(data, first, strides)
        return offset

    return read


def check_stretch(data: bytes, first: int, strides: Strides) -> None:
    """Raise DecodeError for the row that ends past its datagram, if one does.

    Padding that is missing behind the last row is no fault.
    """
    row_offsets(data, first, strides)


def checked_families(
    families: Iterable[FamilyLike] | FamilyLike | None,
) -> frozenset[AddressFamily]:
    """The address families that are meant; both for None.

    Raises LocalProtocolError for what is none.
    """
    if families is None:
        return frozenset(AddressFamily)
    if found := _members(AddressFamily, families, "address family"):
        return found
    raise LocalProtocolError("families is empty, which asks for nothing; leave it out for both")


def _members(
    kind: type[Member], given: Iterable[Member | int | str] | Member | int | str, what: str
) -> frozenset[Member]:
    items = [given] if isinstance(given, int | str) else given
    return frozenset(_member(kind, item, what) for item in items)


def _member(kind: type[Member], given: Member | int | str, what: str) -> Member:
    found = (
        kind.__members__.get(given.upper())
        if isinstance(given, str)
        else next((member for member in kind if member == given), None)
    )
    if found is None or isinstance(given, bool):
        known = ", ".join(name.lower() for name in kind.__members__)
        raise LocalProtocolError(f"{given!r} is no {what}; there are {known}")
    return found


def _extension_mask(extensions: Iterable[ExtensionLike] | ExtensionLike) -> int:
    return sum(1 << member - 1 for member in _members(Extension, extensions, "extension"))


def _checked_ports(source: int, destination: int) -> bytes:
    for port in (source, destination):
        if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= 0xFFFF:
            raise LocalProtocolError(f"{port!r} is no port; a port is a number from 0 to 65535")
    return _PORTS.pack(source, destination)


def _packed(address: str) -> tuple[bytes, AddressFamily]:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError as error:
        raise LocalProtocolError(str(error)) from error
    if getattr(parsed, "scope_id", None):
        raise LocalProtocolError(
            f"{address!r} has a scope; give the address without it, and interface= its number"
        )
    return parsed.packed, AddressFamily.INET if parsed.version == 4 else AddressFamily.INET6


def _checked_interface(interface: int) -> bytes:
    if (
        isinstance(interface, bool)
        or not isinstance(interface, int)
        or not 0 <= interface < 1 << 31
    ):
        raise LocalProtocolError(
            f"{interface!r} is no interface index; socket.if_nametoindex has it"
        )
    return _U32.pack(interface)


def _packed_cookie(cookie: int) -> bytes:
    if isinstance(cookie, bool) or not isinstance(cookie, int) or not 0 <= cookie < 1 << 64:
        raise LocalProtocolError(f"{cookie!r} is no cookie; a row's .cookie is one")
    return _COOKIE.pack(cookie & 0xFFFFFFFF, cookie >> 32)


def _cookie_of(row: TcpSocket) -> int:
    return row.cookie


def _mask(states: Iterable[TcpState]) -> int:
    return sum(1 << state for state in states)
