"""Orders to destroy a socket: SOCK_DESTROY, which names it by addresses, interface and cookie.

May call ``protocol``, ``wire``, ``families.inet_diag``, ``families.inet_request``,
``families.inet_rows``, ``families.inet_socket``, ``families.sock_diag`` and ``errors``.
"""

from __future__ import annotations

from typing import Any, Final

from netlink_safe.errors import LocalProtocolError
from netlink_safe.families.inet_diag import (
    IPPROTO_MPTCP,
    IPPROTO_RAW,
    IPPROTO_SCTP,
    IPPROTO_TCP,
    IPPROTO_UDP,
    IPPROTO_UDPLITE,
    TcpState,
)
from netlink_safe.families.inet_request import EVERYDAY, REQUEST
from netlink_safe.families.inet_rows import BoundInactiveTcpSocket
from netlink_safe.families.inet_socket import ROW_MINIMUM, InetSocket
from netlink_safe.families.sock_diag import (
    COOKIE,
    NO_COOKIE,
    SOCK_DESTROY,
    SOCK_DIAG_BY_FAMILY,
)
from netlink_safe.protocol.request import Request
from netlink_safe.wire.constants import NETLINK_SOCK_DIAG
from netlink_safe.wire.header import Strides, row_offsets

_EPERM: Final = 1
_EINVAL: Final = 22
_EOPNOTSUPP: Final = 95
#: ``net/core/sock_diag.c``: sock_diag_destroy; ``net/mptcp/subflow.c``: tcp_abort_override.
_ADVICE: Final = (
    (_EPERM, "it takes CAP_NET_ADMIN"),
    (_EINVAL, "a listener of MPTCP can only be closed by its owner"),
)
_MASK: Final = sum(1 << state for state in EVERYDAY)

#: What the kernel destroys by the very cookie.
_KINDS: Final = {
    IPPROTO_TCP: "TCP socket",
    IPPROTO_UDP: "UDP socket",
    IPPROTO_UDPLITE: "UDP-Lite socket",
}
#: Why it does not, of the others.
_REASONS: Final = {
    IPPROTO_RAW: (
        "of raw sockets the kernel would destroy the first that has these addresses, whatever "
        "its cookie"
    ),
    IPPROTO_MPTCP: (
        "the kernel destroys no MPTCP sockets; destroy the TCP sockets that carry it, whose "
        "subflow.token_local is its info.token"
    ),
    IPPROTO_SCTP: "the kernel destroys no SCTP sockets",
}


def destruction(row: Any) -> Request[None]:
    """Order this very socket destroyed.  Takes CAP_NET_ADMIN.

    Raises LocalProtocolError for what is no row, and for a kind that the kernel does not destroy,
    or not by its cookie (``net/ipv4/raw_diag.c``: raw_sock_get).
    """
    if not isinstance(row, InetSocket):
        raise LocalProtocolError(
            f"{row!r} is no row of a TCP or UDP socket; nothing was destroyed: give a row, or what "
            "tcp_sockets() or udp_sockets() returns"
        )
    if (kind := _KINDS.get(row.protocol)) is None:
        raise LocalProtocolError(f"nothing was destroyed: {_REASONS[row.protocol]}")
    if isinstance(row, BoundInactiveTcpSocket):
        raise LocalProtocolError(
            f"nothing was destroyed: the kernel finds no TCP socket that is bound and no more, as "
            f"{called(row)} is"
        )
    if row.id[-COOKIE.size :] == NO_COOKIE:
        raise LocalProtocolError(f"nothing was destroyed: {called(row)} has no cookie")
    in_state = " in TIME_WAIT" if row.state is TcpState.TIME_WAIT else ""
    return Request(
        name=f"the destruction of the {kind} {called(row)}",
        protocol=NETLINK_SOCK_DIAG,
        type=SOCK_DESTROY,
        flags=0,
        payload=REQUEST.pack(row.family, row.protocol, 0, _MASK) + row.id,
        row_type=SOCK_DIAG_BY_FAMILY,
        row_minimum=ROW_MINIMUM,
        read=_read_nothing,
        idempotent=False,
        may_stall=True,
        feature=f"destroying a {kind}{in_state} (CONFIG_INET_DIAG_DESTROY)",
        missing=frozenset({_EOPNOTSUPP}),
        advice=_ADVICE,
        is_order=True,
    )


def called(row: InetSocket) -> str:
    """What a row is called in an error."""
    return f"{row.source} -> {row.destination}"


def place_of(row: InetSocket) -> tuple[int, int]:
    """What sockets have in common of which the kernel may find one for the other.

    Of listeners that share a port by SO_REUSEPORT it takes the first of any that fits, one bound to
    no interface for one that is (``net/ipv4/inet_hashtables.c``: inet_lhash2_lookup).
    """
    return row.protocol, row.source.port


def _read_nothing(data: bytes, offset: int, strides: Strides, _rows: list[None]) -> int:
    return row_offsets(data, offset, strides)[1]
