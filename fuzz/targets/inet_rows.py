"""Rows of inet_diag, of every kind of socket, whatever stands in them.

The first byte chooses the kind, and whether what follows is a datagram or, as a rule, the payload
of one row; the second how many such rows there are, and their flags.
"""

from __future__ import annotations

import contextlib
import ipaddress
import struct
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from fuzz.common import (
    PORT_ID,
    SEQUENCE,
    Bytes,
    answered,
    check_rows,
    look_at,
    look_inside,
    message,
    refused,
)
from netlink_safe.collectors.tcp_fold import ListenFold, RareFold, StateFold
from netlink_safe.errors import DecodeError, LocalProtocolError, NetlinkError
from netlink_safe.families.destroyed import destroyed_sockets
from netlink_safe.families.filter_text import parse_filter
from netlink_safe.families.inet_diag import AddressFamily
from netlink_safe.families.inet_socket import ROW_MINIMUM, InetSocket
from netlink_safe.families.mptcp import mptcp_sockets
from netlink_safe.families.raw import raw_sockets
from netlink_safe.families.sctp import sctp_sockets
from netlink_safe.families.tcp import tcp_socket, tcp_sockets
from netlink_safe.families.udp import udp_socket, udp_sockets, udplite_sockets
from netlink_safe.protocol.exchange import Exchange
from netlink_safe.wire.constants import NLM_F_DUMP_INTR
from netlink_safe.wire.datagram import Burst, Sender
from netlink_safe.wire.header import HEADER

if TYPE_CHECKING:
    from fuzz.common import Reply
    from netlink_safe.protocol.request import Request

KINDS: Final[tuple[Request[Any], ...]] = (
    *tcp_sockets(states=["established", "listen", "bound_inactive"], families="inet6"),
    tcp_socket(("::1", 80)),
    mptcp_sockets(families="inet")[0],
    udp_sockets(families="inet")[0],
    udp_socket(("127.0.0.1", 53)),
    udplite_sockets(families="inet")[0],
    raw_sockets(families="inet", states="close")[0],
    sctp_sockets(families="inet")[0],
)
RAW_DATAGRAM: Final = 0x80
FILTERS: Final = tuple(
    map(
        parse_filter,
        (
            "port :80 and not host 127.0.0.0/8",
            "host [::1] or src 10.0.0.0/8:22",
            "dev 3",
            "fwmark 1/0xff",
            "cgroup 5",
        ),
    )
)


def one_input(data: bytes) -> None:
    """Read the rows, look at each, fold them, and hear of them as closed."""
    given = Bytes(data)
    kind, number = given.byte(), given.byte()
    request = KINDS[(kind & ~RAW_DATAGRAM) % len(KINDS)]
    if kind & RAW_DATAGRAM:
        datagram = given.rest()
    else:
        row = message(request.row_type, number & NLM_F_DUMP_INTR, given.rest())
        datagram = row * (number % 4 + 1)
    reply = answered(request, [datagram])
    check_rows(reply.rows)
    for row in reply.rows[:2]:
        _check_row(row, request)
    _check_folds(request, datagram, reply)
    _check_closed(datagram)


def _check_row(row: InetSocket, request: Request[Any]) -> None:
    """A row that lets go of its datagram says what it said."""
    assert ROW_MINIMUM <= len(row.raw) == struct.unpack_from("=I", row.raw)[0]
    _check_addresses(row)
    told = refused(row.as_dict)
    alone = type(row)(row.raw)
    assert refused(alone.as_dict) == told
    with contextlib.suppress(DecodeError, LocalProtocolError):  # a row tells a mark, or does not
        for where in FILTERS:
            assert where.matches(row) in {True, False}
    identity = None if request.identity is None else request.identity(row)
    row.detach()
    assert refused(row.as_dict) == told
    assert request.identity is None or request.identity(row) == identity
    assert row.raw == alone.raw
    assert refused(lambda: sum(map(len, row.attributes.values()))) in {
        None,
        *range(len(row.raw) - ROW_MINIMUM + 1),
    }


def _check_addresses(row: InetSocket) -> None:
    """They are those of the family, byte for byte, as far as it has any."""
    size = 4 if row.family is AddressFamily.INET else 16
    for end, at in ((row.source, 24), (row.destination, 40)):
        assert ipaddress.ip_address(end.address).packed == row.raw[at : at + size]


def _check_folds(request: Request[Any], datagram: bytes, reply: Reply) -> None:
    """What counts rows without keeping them counts as many, and is refused where they are."""
    states, listeners, rare = StateFold(), ListenFold(), RareFold()
    for fold in (states, listeners, rare):
        rejected: Counter[str] = Counter()
        exchange = Exchange(request, SEQUENCE, PORT_ID, rejected)
        refusal = None
        try:
            exchange.receive(datagram, fold.read)
        except NetlinkError as raised:
            refusal = raised
        assert type(refusal) is type(reply.refusal)
        if refusal is None:
            assert fold.rows == states.rows >= len(reply.rows)
        assert rejected == reply.rejected
        assert exchange.state is reply.exchange.state
    look_inside(listeners.fullest)


def _check_closed(datagram: bytes) -> None:
    rejected: Counter[str] = Counter()
    heard = destroyed_sockets(True, True, None).new_reader(rejected)
    items = heard.read([Burst(Sender(0, 1, None, False), [datagram])])
    assert heard.delivered == len(items)
    assert heard.delivered + rejected.total() <= len(datagram) // HEADER.size + 1
    for item in items[:2]:
        look_at(item)
