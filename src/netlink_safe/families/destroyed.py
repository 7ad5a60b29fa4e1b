"""Sockets that have closed, as the kernel tells of them in its multicast groups.

From ``include/uapi/linux/sock_diag.h``: SKNLGRP_*; ``net/core/sock_diag.c`` tells.
May call ``protocol``, ``wire``, ``families.inet_diag``, ``families.inet_request``,
``families.inet_rows``, ``families.inet_socket``, ``families.sock_diag`` and ``errors``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from netlink_safe.errors import LocalProtocolError
from netlink_safe.families.inet_diag import IPPROTO_TCP, IPPROTO_UDP, AddressFamily, Given
from netlink_safe.families.inet_request import checked_families
from netlink_safe.families.inet_rows import TcpSocket, UdpSocket
from netlink_safe.families.inet_socket import ROW_MINIMUM
from netlink_safe.families.sock_diag import SOCK_DIAG_BY_FAMILY
from netlink_safe.protocol.arguments import check_truth
from netlink_safe.protocol.multicasts import Multicasts
from netlink_safe.wire.constants import NETLINK_SOCK_DIAG

if TYPE_CHECKING:
    from netlink_safe.families.inet_request import Families
    from netlink_safe.wire.header import Message

_GROUPS: Final = {
    (IPPROTO_TCP, AddressFamily.INET): 1,
    (IPPROTO_UDP, AddressFamily.INET): 2,
    (IPPROTO_TCP, AddressFamily.INET6): 3,
    (IPPROTO_UDP, AddressFamily.INET6): 4,
}
_ROWS: Final[dict[bytes, type[TcpSocket | UdpSocket]]] = {
    bytes([IPPROTO_TCP]): TcpSocket,
    bytes([IPPROTO_UDP]): UdpSocket,
}


def destroyed_sockets(tcp: bool, udp: bool, families: Families) -> Multicasts:
    """Say of which sockets to hear.  Raises LocalProtocolError for none."""
    check_truth(tcp=tcp, udp=udp)
    if not tcp and not udp:
        raise LocalProtocolError("tcp and udp are both False, which leaves nothing to hear of")
    protocols = {IPPROTO_TCP: tcp, IPPROTO_UDP: udp}
    asked = checked_families(families)
    return Multicasts(
        name="sockets that close",
        protocol=NETLINK_SOCK_DIAG,
        groups=tuple(
            group
            for (protocol, family), group in _GROUPS.items()
            if protocols[protocol] and family in asked
        ),
        read=_read,
        why_no_look="what has closed cannot be looked up again",
    )


def _read(text: bytes, message: Message) -> TcpSocket | UdpSocket | None:
    """The row; its kind stands in an attribute.  Raises DecodeError."""
    if message.type != SOCK_DIAG_BY_FAMILY or message.end - message.start < ROW_MINIMUM:
        return None
    row = TcpSocket(text, message.start)
    kind = _ROWS.get(row.attributes.get(Given.PROTOCOL, b""))
    return None if kind is None else kind(text, message.start)
