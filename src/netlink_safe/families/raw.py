"""Questions about raw IP sockets.

May call ``protocol``, ``families.inet_reader``, ``families.inet_request`` and
``families.inet_rows``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from netlink_safe.families.inet_reader import reader_of
from netlink_safe.families.inet_request import (
    Extensions,
    Families,
    Kind,
    States,
    dumps,
    wanted,
)
from netlink_safe.families.inet_rows import RawSocket

if TYPE_CHECKING:
    from netlink_safe.families.filters import Filter
    from netlink_safe.protocol.request import Request

RAW: Final = Kind("raw sockets", "raw sockets over sock_diag (module raw_diag)", "4.10")


def raw_sockets(
    states: States = None,
    families: Families = None,
    extensions: Extensions = (),
    ip_protocol: int = 0,
    where: Filter | None = None,
) -> tuple[Request[RawSocket], ...]:
    """Ask for raw IP sockets; both address families and all states unless said.

    The states are ESTABLISHED, of those that called connect(), and CLOSE, of all others; the kernel
    gives both, and the others are left out here (``net/ipv4/raw_diag.c``: raw_diag_dump).
    A row's source port is the number of its IP protocol; an ``ip_protocol`` other than 0 is matched
    in the kernel.  It is from 0 to 65535, as ports are, of which sockets have up to 255.
    Otherwise as ``udp_sockets``.  Raises LocalProtocolError for what does not exist.
    """
    asked = wanted(states, extensions, ip_protocol, where=where)
    return dumps(RAW, RawSocket, families, asked, reader_of(RawSocket, asked.states))
