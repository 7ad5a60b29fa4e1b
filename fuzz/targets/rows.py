"""Rows of unix, netlink, packet and vsock sockets, of links, and of namespaces' numbers.

The first byte chooses the kind, and whether what follows is a datagram or, as a rule, the payload
of one row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fuzz.common import Bytes, answered, check_rows, message
from netlink_safe.families.link import link, links, namespace_number
from netlink_safe.families.netlink import netlink_sockets
from netlink_safe.families.packet import packet_sockets
from netlink_safe.families.unix import unix_socket, unix_sockets
from netlink_safe.families.vsock import vsock_sockets
from netlink_safe.wire.header import HEADER, align

if TYPE_CHECKING:
    from netlink_safe.protocol.request import Request

KINDS: Final[tuple[Request[Any], ...]] = (
    *unix_sockets(),
    unix_socket(1),
    *netlink_sockets(),
    *packet_sockets(),
    vsock_sockets(),
    links(),
    link("lo"),
    namespace_number(3),
)
RAW_DATAGRAM: Final = 0x80


def one_input(data: bytes) -> None:
    """Read the rows; the same bytes are the same row."""
    given = Bytes(data)
    kind = given.byte()
    request = KINDS[(kind & ~RAW_DATAGRAM) % len(KINDS)]
    if kind & RAW_DATAGRAM:
        datagram = given.rest()
    else:
        datagram = message(request.row_type, 0, given.rest()) * 2
    reply = answered(request, [datagram])
    check_rows(reply.rows)
    assert len(reply.rows) * align(HEADER.size) <= len(datagram)
    if not kind & RAW_DATAGRAM and reply.refusal is None:
        first, second = reply.rows
        assert first == second
        assert hash(first) == hash(second)
        if request.identity is not None:
            assert request.identity(first) == request.identity(second)
