"""Rows of inet_diag by kind of socket: what each has beyond ``InetSocket``.

May call ``families.inet_diag``, ``families.inet_socket``, ``families.mptcp_info``,
``families.tcp_info``, ``wire`` and ``errors``.
"""

from __future__ import annotations

import ipaddress
import struct
from typing import TYPE_CHECKING, ClassVar, Final

from netlink_safe.families.inet_diag import (
    IPPROTO_MPTCP,
    IPPROTO_RAW,
    IPPROTO_SCTP,
    IPPROTO_TCP,
    IPPROTO_UDP,
    IPPROTO_UDPLITE,
    AddressFamily,
    Extension,
    Given,
    SctpState,
    TcpState,
    Timer,
)
from netlink_safe.families.inet_socket import STATE_OFFSET, InetSocket, ipv6_text
from netlink_safe.families.sock_diag import AcceptQueue
from netlink_safe.wire.attributes import Attributes

if TYPE_CHECKING:
    from netlink_safe.families.mptcp_info import MptcpInfo, MptcpSubflow
    from netlink_safe.families.tcp_info import TcpInfo

_TIMERS: Final = frozenset(Timer)
#: struct sockaddr_storage, of which an SCTP row has one for each address.
_ADDRESS: Final = 128
_NATIVE_U16: Final = struct.Struct("=H")
_NATIVE_U32: Final = struct.Struct("=I")
#: In INET_DIAG_ULP_INFO: the name of what runs on the connection, and what it says of itself.
_ULP_NAME: Final = 1
_ULP_MPTCP: Final = 3


class _Connection(InetSocket):
    """What sockets have that connect and listen: TCP, and MPTCP over it."""

    __slots__ = ()
    TOLD: ClassVar[tuple[str, ...]] = (
        *InetSocket.TOLD,
        "timer",
        "timer_milliseconds",
        "retransmits",
        "accept_queue",
        "congestion",
        "info",
    )

    @property
    def state(self) -> TcpState:
        """The state; see TcpState for what is never reported."""
        return TcpState(self._data[self._start + STATE_OFFSET])

    @property
    def timer(self) -> Timer | int:
        """The timer that runs; TIME_WAIT marks the remains of a socket that was closed."""
        number = self._data[self._start + 18]
        return Timer(number) if number in _TIMERS else number

    @property
    def timer_milliseconds(self) -> int:
        """Milliseconds until that timer fires, 0 if none runs."""
        return self._u32(68)

    @property
    def retransmits(self) -> int:
        """Retransmissions or probes that went unanswered, for the timer that runs; up to 255."""
        return self._data[self._start + 19]

    @property
    def accept_queue(self) -> AcceptQueue | None:
        """The accept queue of a listener, None for others.

        A LISTEN row's two queue numbers are connections, not bytes
        (``net/ipv4/tcp_diag.c``: tcp_diag_get_info).
        """
        if self._data[self._start + STATE_OFFSET] != TcpState.LISTEN:
            return None
        return AcceptQueue(self.receive_queue, self.transmit_queue)

    @property
    def congestion(self) -> str | None:
        """The congestion control's name; asked for as ``"congestion"``."""
        return _ascii(self.attributes.get(Extension.CONGESTION))


class TcpSocket(_Connection):
    """One TCP socket; see InetSocket."""

    __slots__ = ()
    protocol = IPPROTO_TCP
    TOLD: ClassVar[tuple[str, ...]] = (*_Connection.TOLD, "ulp", "subflow")

    @property
    def info(self) -> TcpInfo | None:
        """What the connection has been through; asked for as ``"info"``."""
        raw = self.attributes.get(Extension.INFO)
        if raw is None:
            return None
        from netlink_safe.families.tcp_info import TcpInfo

        return TcpInfo(raw)

    @property
    def ulp(self) -> str | None:
        """What runs on the connection in the kernel (``"tls"``, ``"mptcp"``), None where nothing.

        Given with ``"info"`` (``net/ipv4/tcp_diag.c``: tcp_diag_get_aux), before Linux 6.15 only to
        who has CAP_NET_ADMIN.
        """
        upper = self._upper_layer()
        return None if upper is None else _ascii(upper.raw(_ULP_NAME))

    @property
    def subflow(self) -> MptcpSubflow | None:
        """What the connection is to MPTCP, None where it is none of its subflows.

        Given as ``ulp`` is; to a listener of MPTCP not (``net/mptcp/diag.c``: subflow_get_info).
        """
        upper = self._upper_layer()
        said = None if upper is None else upper.nested(_ULP_MPTCP)
        if said is None:
            return None
        from netlink_safe.families.mptcp_info import MptcpSubflow

        return MptcpSubflow.read(said)

    def _upper_layer(self) -> Attributes | None:
        raw = self.attributes.get(Given.UPPER_LAYER)
        return None if raw is None else Attributes(raw, 0, len(raw), (Given.UPPER_LAYER,))


class BoundInactiveTcpSocket(TcpSocket):
    """A socket that is bound and neither listens nor connects; the kernel calls it CLOSE."""

    __slots__ = ()

    @property
    def state(self) -> TcpState:
        """BOUND_INACTIVE: no other was asked for in the dump that this row came from."""
        return TcpState.BOUND_INACTIVE


class MptcpSocket(_Connection):
    """One MPTCP socket, which is a connection or a listener of several TCP sockets together.

    Its source and destination are those of its first subflow.
    """

    __slots__ = ()
    protocol = IPPROTO_MPTCP

    @property
    def info(self) -> MptcpInfo | None:
        """What the connection has been through; asked for as ``"info"``."""
        raw = self.attributes.get(Extension.INFO)
        if raw is None:
            return None
        from netlink_safe.families.mptcp_info import MptcpInfo

        return MptcpInfo(raw)


class UdpSocket(InetSocket):
    """One UDP socket; see InetSocket.

    Its queues are memory, overhead included (``net/ipv4/udp_diag.c``: udp_diag_get_info).
    """

    __slots__ = ()
    protocol = IPPROTO_UDP

    @property
    def state(self) -> TcpState:
        """ESTABLISHED of one that called connect(), CLOSE of every other."""
        return TcpState(self._data[self._start + STATE_OFFSET])


class UdpliteSocket(UdpSocket):
    """One UDP-Lite socket."""

    __slots__ = ()
    protocol = IPPROTO_UDPLITE


class RawSocket(InetSocket):
    """One raw socket; see InetSocket."""

    __slots__ = ()
    protocol = IPPROTO_RAW
    TOLD: ClassVar[tuple[str, ...]] = (*InetSocket.TOLD, "ip_protocol")

    @property
    def state(self) -> TcpState:
        """ESTABLISHED of one that called connect(), CLOSE of every other."""
        return TcpState(self._data[self._start + STATE_OFFSET])

    @property
    def ip_protocol(self) -> int:
        """The number of the IP protocol that it hears, up to 255, which its source port is."""
        return self.source.port


class SctpSocket(InetSocket):
    """One SCTP endpoint, or one association of it.

    Both have the endpoint's cookie, inode and owner.  ``source`` and ``destination`` are the first
    of its addresses and its primary path; an association's queues are bytes, an endpoint's its
    accept queue (``net/sctp/diag.c``: inet_sctp_diag_fill).
    """

    __slots__ = ()
    protocol = IPPROTO_SCTP
    TOLD: ClassVar[tuple[str, ...]] = (
        *InetSocket.TOLD,
        "is_association",
        "local_addresses",
        "peer_addresses",
        "timer_milliseconds",
        "retransmits",
        "info",
    )

    @property
    def is_association(self) -> bool:
        """Whether it is an association; only these have peers."""
        return Given.PEER_ADDRESSES in self.attributes

    @property
    def state(self) -> TcpState | SctpState:
        """An association's state as SctpState, an endpoint's as TcpState."""
        number = self._data[self._start + STATE_OFFSET]
        return SctpState(number) if self.is_association else TcpState(number)

    @property
    def retransmits(self) -> int:
        """Chunks of an association that were sent again, while its T3 timer runs."""
        return self._data[self._start + 19]

    @property
    def timer_milliseconds(self) -> int:
        """Milliseconds until the T3 timer of an association's primary path fires; 0 if none."""
        return self._u32(68)

    @property
    def local_addresses(self) -> tuple[str, ...]:
        """The addresses that it is bound to."""
        return _addresses(self.attributes.get(Given.LOCAL_ADDRESSES, b""))

    @property
    def peer_addresses(self) -> tuple[str, ...]:
        """The addresses of an association's peer."""
        return _addresses(self.attributes.get(Given.PEER_ADDRESSES, b""))

    @property
    def info(self) -> bytes | None:
        """struct sctp_info as it is; asked for as ``"info"``."""
        return self.attributes.get(Extension.INFO)


def _ascii(raw: bytes | None) -> str | None:
    return None if raw is None else raw.rstrip(b"\0").decode("ascii", "backslashreplace")


def _addresses(raw: bytes) -> tuple[str, ...]:
    whole = range(0, len(raw) - _ADDRESS + 1, _ADDRESS)
    return tuple(filter(None, (_address(raw, start) for start in whole)))


def _address(raw: bytes, start: int) -> str | None:
    """The address of a struct sockaddr_in or sockaddr_in6; None of any other."""
    (family,) = _NATIVE_U16.unpack_from(raw, start)
    if family == AddressFamily.INET:
        return str(ipaddress.IPv4Address(raw[start + 4 : start + 8]))
    if family != AddressFamily.INET6:
        return None
    (scope,) = _NATIVE_U32.unpack_from(raw, start + 24)
    packed = raw[start + 8 : start + 24]
    is_link_local = ipaddress.IPv6Address(packed).is_link_local
    return f"{ipv6_text(packed)}%{scope}" if scope and is_link_local else ipv6_text(packed)
