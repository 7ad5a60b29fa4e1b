"""Questions about UDP and UDP-Lite sockets.

May call ``protocol``, ``families.inet_reader``, ``families.inet_request``, ``families.inet_rows``
and ``errors``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from netlink_safe.families.inet_reader import Socket, reader
from netlink_safe.families.inet_request import (
    Extensions,
    Families,
    Kind,
    States,
    between,
    dumps,
    exact,
    wanted,
)
from netlink_safe.families.inet_rows import UdpliteSocket, UdpSocket

if TYPE_CHECKING:
    from netlink_safe.families.filters import Filter
    from netlink_safe.protocol.request import Request

UDP: Final = Kind("UDP sockets", "UDP sockets over sock_diag (modules inet_diag and udp_diag)")
UDPLITE: Final = Kind(
    "UDP-Lite sockets",
    "UDP-Lite sockets over sock_diag (module udp_diag, and a kernel that still has UDP-Lite)",
)


def udp_sockets(
    states: States = None,
    families: Families = None,
    extensions: Extensions = (),
    source_port: int = 0,
    destination_port: int = 0,
    where: Filter | None = None,
) -> tuple[Request[UdpSocket], ...]:
    """Ask for UDP sockets; both address families and all states unless said.

    The states are ESTABLISHED, of those that called connect(), and CLOSE, of all others.
    ``extensions`` names what to add to each row: ``"memory"``, ``"socket_memory"``, ``"tos"``,
    ``"traffic_class"``.  Sockets without a port are in no table, and so in no dump
    (``net/ipv4/udp_diag.c``: udp_dump).
    Otherwise as ``tcp_sockets``, which says what else is taken and raised.
    """
    return _dumped(
        UDP, UdpSocket, states, families, extensions, source_port, destination_port, where
    )


def udplite_sockets(
    states: States = None,
    families: Families = None,
    extensions: Extensions = (),
    source_port: int = 0,
    destination_port: int = 0,
    where: Filter | None = None,
) -> tuple[Request[UdpliteSocket], ...]:
    """Ask as ``udp_sockets`` does, for UDP-Lite; newer kernels have none (NotSupported).

    Raises LocalProtocolError for what does not exist.
    """
    return _dumped(
        UDPLITE, UdpliteSocket, states, families, extensions, source_port, destination_port, where
    )


def udp_socket(
    source: tuple[str, int],
    destination: tuple[str, int] | None = None,
    *,
    interface: int = 0,
    cookie: int | None = None,
    extensions: Extensions = (),
) -> Request[UdpSocket]:
    """Ask for the socket that hears on ``source`` what ``destination`` sends to it.

    The kernel looks it up as it does for a datagram (``net/ipv4/udp_diag.c``: udp_dump_one): it may
    be one that is bound to all addresses.  Without ``destination`` it is one that is not connected.
    With ``cookie`` only that very socket will do (ESTALE otherwise); of several that share a port
    by SO_REUSEPORT the kernel tries one.
    What else is taken, and raised, is as in ``tcp_socket``.
    The kernel answers ENOENT (KernelError) where there is none.
    Raises LocalProtocolError.
    """
    name = f"the UDP socket {between(source, destination)}"
    # The kernel takes the addresses for those of a datagram, whose destination is the socket.
    anywhere = "::" if ":" in source[0] else "0.0.0.0"  # noqa: S104
    return exact(
        UDP, UdpSocket, name, destination or (anywhere, 0), source, interface, cookie, extensions
    )


def _dumped(
    kind: Kind,
    row_type: type[Socket],
    states: States,
    families: Families,
    extensions: Extensions,
    source_port: int,
    destination_port: int,
    where: Filter | None,
) -> tuple[Request[Socket], ...]:
    asked = wanted(states, extensions, source_port, destination_port, where)
    return dumps(kind, row_type, families, asked, reader(row_type))
