"""Questions to inet_diag, whatever the kind of socket.

struct inet_diag_req_v2 asks for one address family and one protocol, whose states are a mask.
May call ``protocol``, ``wire``, ``families.inet_bytecode``, ``families.inet_diag``,
``families.inet_reader``, ``families.inet_socket``, ``families.members``, ``families.sock_diag`` and
``errors``.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, TypeAlias

import attrs

from netlink_safe.errors import LocalProtocolError
from netlink_safe.families.inet_diag import AddressFamily, Asked, Extension, TcpState
from netlink_safe.families.inet_reader import Socket, reader
from netlink_safe.families.inet_socket import ROW_MINIMUM, InetSocket
from netlink_safe.families.members import members
from netlink_safe.families.sock_diag import NO_COOKIE, SOCK_DIAG_BY_FAMILY, packed_cookie
from netlink_safe.protocol.request import Lookup, Request, RowReader
from netlink_safe.wire.attributes import ATTRIBUTE, build_attribute, build_u32
from netlink_safe.wire.constants import NETLINK_SOCK_DIAG, NLM_F_DUMP

if TYPE_CHECKING:
    from netlink_safe.families.filters import Filter
    from netlink_safe.families.inet_bytecode import Program

#: struct inet_diag_req_v2 before its struct inet_diag_sockid.
REQUEST: Final = struct.Struct("=BBBxI")
REST_OF_SOCKET_ID: Final = bytes(44)

_PORTS: Final = struct.Struct("!HH")
#: struct inet_diag_req_v2.
REQUEST_SIZE: Final = REQUEST.size + _PORTS.size + len(REST_OF_SOCKET_ID)
_U32: Final = struct.Struct("=I")
_ENOENT: Final = 2

#: States of a table's everyday; the mask that they make is 0xfff less the unused bit 0.
EVERYDAY: Final = frozenset(TcpState(number) for number in range(1, 12))

StateLike: TypeAlias = TcpState | int | str
FamilyLike: TypeAlias = AddressFamily | int | str
ExtensionLike: TypeAlias = Extension | int | str
States: TypeAlias = Iterable[StateLike] | StateLike | None
Families: TypeAlias = Iterable[FamilyLike] | FamilyLike | None
Extensions: TypeAlias = Iterable[ExtensionLike] | ExtensionLike


@attrs.frozen(slots=True)
class Wanted:
    """What a dump is to give: which states, with which extensions, and what the kernel matches.

    ``ports`` are in the request's own struct inet_diag_sockid; ``program`` is an attribute behind
    the request.
    """

    states: frozenset[TcpState]
    extensions: int
    ports: bytes = bytes(_PORTS.size)
    program: Program | None = None

    @property
    def state_mask(self) -> int:
        """The states as a mask."""
        return sum(1 << state for state in self.states)

    def payload(self, family: AddressFamily, protocol: int) -> bytes:
        """struct inet_diag_req_v2 and what stands behind it.

        A protocol that its 8 bits cannot hold stands in an attribute; 0 in them is nobody's, so
        that a kernel older than the attribute (Linux 5.9) has none to confuse it with.
        """
        fits = protocol <= 0xFF
        head = REQUEST.pack(family, protocol if fits else 0, self.extensions, self.state_mask)
        beyond = b"" if fits else build_u32(Asked.PROTOCOL, protocol)
        return head + self.ports + REST_OF_SOCKET_ID + self.attributes + beyond

    @property
    def attributes(self) -> bytes:
        """The program as what stands behind a request."""
        return b"" if self.program is None else build_attribute(Asked.BYTECODE, self.program.code)

    def lookups(self, length: int) -> tuple[Lookup, ...]:
        """What is yet to be put into the program, behind a request of so many bytes."""
        before = length + ATTRIBUTE.size
        found = () if self.program is None else self.program.lookups
        return tuple(attrs.evolve(each, offset=before + each.offset) for each in found)


@attrs.frozen(slots=True)
class Kind:
    """A kind of socket: what many of them are called, and what a kernel without it lacks."""

    name: str
    feature: str
    since: str | None = None


def wanted(
    states: States = None,
    extensions: Extensions = (),
    source_port: int = 0,
    destination_port: int = 0,
    where: Filter | None = None,
) -> Wanted:
    """What a dump is to give, checked.  Raises LocalProtocolError for what does not exist."""
    asked = EVERYDAY if states is None else members(TcpState, states, "state")
    if not asked:
        raise LocalProtocolError("states is empty, which asks for nothing; leave it out for all")
    return Wanted(
        asked,
        sum(1 << member - 1 for member in members(Extension, extensions, "extension")),
        _packed_ports(source_port, destination_port),
        None if where is None else _program_of(where),
    )


def dumps(
    kind: Kind, row_type: type[Socket], families: Families, asked: Wanted, read: RowReader[Socket]
) -> tuple[Request[Socket], ...]:
    """A dump for each address family, IPv4 first."""
    return tuple(
        dump(kind, row_type, family, asked, read) for family in sorted(checked_families(families))
    )


def dump(
    kind: Kind,
    row_type: type[Socket],
    family: AddressFamily,
    asked: Wanted,
    read: RowReader[Socket],
    all_states: frozenset[TcpState] = EVERYDAY,
) -> Request[Socket]:
    """A dump of one address family; its name tells of the states unless they are all there are."""
    which = "" if asked.states == all_states else f" in {', '.join(map(str, sorted(asked.states)))}"
    return Request(
        name=f"the dump of {family} {kind.name}{which}",
        protocol=NETLINK_SOCK_DIAG,
        type=SOCK_DIAG_BY_FAMILY,
        flags=NLM_F_DUMP,
        payload=asked.payload(family, row_type.protocol),
        row_type=SOCK_DIAG_BY_FAMILY,
        row_minimum=ROW_MINIMUM,
        read=read,
        identity=cookie_of,
        may_stall=asked.program is not None or walks_for_little(asked.states),
        lookups=asked.lookups(REQUEST_SIZE),
        advice=() if asked.program is None else asked.program.advice,
        feature=kind.feature,
        since=kind.since,
        missing=frozenset({_ENOENT}),
    )


def exact(
    kind: Kind,
    row_type: type[Socket],
    name: str,
    source: tuple[str, int],
    destination: tuple[str, int] | None,
    interface: int,
    cookie: int | None,
    extensions: Extensions,
) -> Request[Socket]:
    """A request for one socket; without a destination the other end is all zeros.

    Raises LocalProtocolError for what are no addresses.
    """
    packed, family = _packed(source[0])
    other = destination or (f"{ipaddress.ip_address(bytes(len(packed)))}", 0)
    packed_other, other_family = _packed(other[0])
    if family != other_family:
        raise LocalProtocolError(f"{source[0]} and {other[0]} are of different address families")
    asked = wanted(None, extensions, source[1], other[1])
    payload = (
        REQUEST.pack(family, row_type.protocol, asked.extensions, asked.state_mask),
        asked.ports,
        packed.ljust(16, b"\0"),
        packed_other.ljust(16, b"\0"),
        _checked_interface(interface),
        NO_COOKIE if cookie is None else packed_cookie(cookie),
    )
    return Request(
        name=name,
        protocol=NETLINK_SOCK_DIAG,
        type=SOCK_DIAG_BY_FAMILY,
        flags=0,
        payload=b"".join(payload),
        row_type=SOCK_DIAG_BY_FAMILY,
        row_minimum=ROW_MINIMUM,
        read=reader(row_type),
        feature=kind.feature,
        since=kind.since,
        advice=((_ENOENT, f"there is no such socket now, or the kernel lacks {kind.feature}"),),
    )


def between(source: tuple[str, int], destination: tuple[str, int] | None) -> str:
    """How a request for one socket calls it."""
    to = "" if destination is None else f" to {destination[0]} port {destination[1]}"
    return f"{source[0]} port {source[1]}{to}"


def walks_for_little(states: frozenset[TcpState]) -> bool:
    """Whether the kernel may walk its whole table in one call to fill one chunk with rare rows.

    Listeners have a small table of their own (``net/ipv4/inet_diag.c``: inet_diag_dump_icsk).
    """
    return TcpState.ESTABLISHED not in states and states != {TcpState.LISTEN}


def checked_families(families: Families) -> frozenset[AddressFamily]:
    """The address families that are meant; both for None.

    Raises LocalProtocolError for what is none.
    """
    if families is None:
        return frozenset(AddressFamily)
    if found := members(AddressFamily, families, "address family"):
        return found
    raise LocalProtocolError("families is empty, which asks for nothing; leave it out for both")


def cookie_of(row: InetSocket) -> int:
    """What makes two rows the same."""
    return row.cookie


def _program_of(where: Filter) -> Program:
    # Imported by whoever has a filter: it takes a tenth of a command's start.
    from netlink_safe.families.inet_bytecode import compiled

    return compiled(where)


def _packed_ports(source: int, destination: int) -> bytes:
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
