"""Conditions on a socket: ports, addresses, marks, cgroups and interfaces.

May call ``families.filters`` and ``errors``.
"""

from __future__ import annotations

import ipaddress
import os
import re
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, get_args

import attrs

from netlink_safe.errors import LocalProtocolError
from netlink_safe.families.filters import Filter, Row

if TYPE_CHECKING:
    from collections.abc import Callable

    from netlink_safe.families.inet_socket import Endpoint

#: Of which end a condition speaks: the local one, the peer's, or either.
Side: TypeAlias = Literal["src", "dst", "any"]
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
IPAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


#: How ``filter_text`` spells them.
_PORT_WORDS: Final = {"src": "sport", "dst": "dport", "any": "port"}
_HOST_WORDS: Final = {"src": "src", "dst": "dst", "any": "host"}
_PLAIN: Final = re.compile(r"[A-Za-z_/][\w./:@+-]*", re.ASCII)


def _checked_side(_: object, __: object, side: Side) -> None:
    if side not in get_args(Side):
        raise LocalProtocolError(f"{side!r} is no side; there are src, dst and any")


def _checked_number(most: int, what: str) -> Callable[[Any, Any, Any], None]:
    def check(_: object, __: object, value: object) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
            raise LocalProtocolError(f"{value!r} is no {what}; it is a number from 0 to {most:,}")

    return check


_is_port = _checked_number(0xFFFF, "port")


@attrs.frozen(slots=True)
class Port(Filter):
    """The port is this one, or one of these, both ends included: 0 to 65535.

    ``side`` is ``"src"``, the local end, ``"dst"``, the peer's, or ``"any"``, either.
    Raises LocalProtocolError for what is none, and for a ``last`` below ``first``.
    """

    side: Side = attrs.field(validator=_checked_side)
    first: int = attrs.field(validator=_is_port)
    last: int = attrs.field(validator=_is_port)

    @last.default
    def _alone(self) -> int:
        return self.first

    def __attrs_post_init__(self) -> None:
        if self.first > self.last:
            raise LocalProtocolError(f"{self.first} to {self.last} holds no port; turn them round")

    def __str__(self) -> str:
        last = "" if self.first == self.last else f"-{self.last}"
        return f"{_PORT_WORDS[self.side]} = :{self.first}{last}"

    def matches(self, row: Row) -> bool:  # see Filter
        return any(self.first <= end.port <= self.last for end in _ends(row, self.side))


def _as_network(given: object) -> Network:
    if "%" in str(given):
        raise LocalProtocolError(
            f"{str(given)!r} has a scope; give the address without it, and Interface() with it"
        )
    try:
        if isinstance(given, str | Network | IPAddress):
            return ipaddress.ip_network(given, strict=False)
    except ValueError as error:
        raise LocalProtocolError(str(error)) from error
    raise LocalProtocolError(f'{given!r} is no network; such as "10.0.0.0/8" or "::1" is')


@attrs.frozen(slots=True)
class Address(Filter):
    """The address is in this network, by default at either end.

    It is a text, such as ``"10.0.0.0/8"`` or ``"::1"``, or a network or an address of ipaddress;
    bits beyond the prefix are left out.  ``side`` is as in ``Port``.
    An IPv4 network holds IPv4-mapped IPv6 addresses, too; an IPv6 network holds no IPv4 address.
    Raises LocalProtocolError for what is no network, has a scope, or is of no side.
    """

    network: Network = attrs.field(converter=_as_network)
    side: Side = attrs.field(default="any", validator=_checked_side)

    def __str__(self) -> str:
        is_one = self.network.prefixlen == self.network.max_prefixlen
        what = self.network.network_address if is_one else self.network
        return f"{_HOST_WORDS[self.side]} {f'[{what}]' if what.version == 6 else what}"

    def matches(self, row: Row) -> bool:  # see Filter
        return any(self._holds(end) for end in _ends(row, self.side))

    def _holds(self, end: Endpoint) -> bool:
        address = ipaddress.ip_address(end.address)
        if address.version == 6 and self.network.version == 4:
            mapped = address.ipv4_mapped
            return mapped is not None and mapped in self.network
        return address in self.network


@attrs.frozen(slots=True)
class Mark(Filter):
    """The packet mark (SO_MARK), as far as the mask goes, is this; it takes CAP_NET_ADMIN.

    (``net/ipv4/inet_diag.c``: inet_diag_bc_audit.)  Both have 32 bits, from 0.
    Raises LocalProtocolError for what is beyond them, and for a mark beyond its mask.
    """

    value: int = attrs.field(validator=_checked_number(0xFFFFFFFF, "mark"))
    mask: int = attrs.field(default=0xFFFFFFFF, validator=_checked_number(0xFFFFFFFF, "mask"))

    def __attrs_post_init__(self) -> None:
        if self.value & ~self.mask:
            raise LocalProtocolError(
                f"no mark is {self.value:#x} under the mask {self.mask:#x}; widen the mask"
            )

    def __str__(self) -> str:
        mask = "" if self.mask == 0xFFFFFFFF else f"/{self.mask:#x}"
        return f"fwmark = {self.value:#x}{mask}"

    def matches(self, row: Row) -> bool:  # see Filter
        if row.mark is None:
            raise LocalProtocolError("the row tells no mark; the kernel gives it to CAP_NET_ADMIN")
        return row.mark & self.mask == self.value


def _checked_interface(_: Any, __: Any, interface: Any) -> None:
    if isinstance(interface, str):
        try:
            length = len(interface.encode("utf-8", "surrogateescape"))
        except UnicodeEncodeError:
            length = 0
        if not 0 < length < 16 or "\0" in interface or "/" in interface:
            raise LocalProtocolError(f"{interface!r} is no interface's name; it has 1 to 15 bytes")
    else:
        _checked_number(0x7FFFFFFF, "interface")(_, __, interface)


@attrs.frozen(slots=True)
class Interface(Filter):
    """The socket is bound to this interface (SO_BINDTODEVICE): a name or an index, 0 for none.

    A name, of 1 to 15 bytes without a slash, is looked up in the network namespace that is asked;
    an index is from 0 to 2**31 - 1.
    Raises LocalProtocolError for what can be no interface; the question, for a name that nothing
    has.
    """

    interface: str | int = attrs.field(validator=_checked_interface)

    def __str__(self) -> str:
        return f"dev = {_word(self.interface)}"

    def matches(self, row: Row) -> bool:  # see Filter
        if isinstance(self.interface, str):
            raise LocalProtocolError(
                f"{self.interface} is a name, and rows have indices; give socket.if_nametoindex's"
            )
        return row.interface == self.interface


def _as_cgroup(given: str | int | os.PathLike[str]) -> str | int:
    return os.fspath(given) if isinstance(given, os.PathLike) else given


def _checked_cgroup(_: Any, __: Any, cgroup: Any) -> None:
    if isinstance(cgroup, str):
        if not cgroup.startswith("/") or "\0" in cgroup:
            raise LocalProtocolError(f"{cgroup!r} is no cgroup's path; it begins with a slash")
    else:
        _checked_number((1 << 64) - 1, "cgroup")(_, __, cgroup)


@attrs.frozen(slots=True)
class Cgroup(Filter):
    """The socket was made in this cgroup itself, not below it (Linux 5.8).

    It is a path, from the root of the file system or of cgroup v2's mount, or the number that rows
    have, of 64 bits; 0 is none.
    What is left of a closed connection is in none.
    Raises LocalProtocolError for what is neither a path, which begins with a slash, nor such a
    number; the question, for a path that is none of a cgroup.
    """

    cgroup: str | int = attrs.field(converter=_as_cgroup, validator=_checked_cgroup)

    def __str__(self) -> str:
        return f"cgroup = {_word(self.cgroup)}"

    def matches(self, row: Row) -> bool:  # see Filter
        if isinstance(self.cgroup, str):
            raise LocalProtocolError(
                f"{self.cgroup} is a path, and rows have numbers; give os.stat(path).st_ino"
            )
        return (row.cgroup_id or 0) == self.cgroup


def _word(given: str | int) -> str:
    """A name as filter_text reads it, in quotes if it might be taken for something else."""
    is_plain = isinstance(given, int) or _PLAIN.fullmatch(given)
    return str(given) if is_plain else '"' + re.sub(r'(["\\])', r"\\\1", str(given)) + '"'


def _ends(row: Row, side: Side) -> tuple[Endpoint, ...]:
    if side == "src":
        return (row.source,)
    return (row.destination,) if side == "dst" else (row.source, row.destination)
