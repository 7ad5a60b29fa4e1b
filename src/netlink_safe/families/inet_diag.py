"""The words of inet_diag: address families, states, extensions, timers.

From ``include/uapi/linux/inet_diag.h`` and ``include/net/tcp_states.h``.
May call ``wire``.
"""

from __future__ import annotations

import enum
from typing import Final

from netlink_safe.wire.enums import newer_member

TCPDIAG_GETSOCK: Final = 18
IPPROTO_TCP: Final = 6
IPPROTO_UDP: Final = 17
IPPROTO_SCTP: Final = 132
IPPROTO_UDPLITE: Final = 136
IPPROTO_RAW: Final = 255
IPPROTO_MPTCP: Final = 262


class AddressFamily(enum.IntEnum):
    """AF_INET and AF_INET6 of ``include/linux/socket.h``: two tables to sock_diag, two dumps.

    No kernel reports another one, which would get a member of its own, named ``FAMILY_n``.
    """

    INET = 2
    INET6 = 10

    def __str__(self) -> str:
        return self.name.lower()

    @classmethod
    def _missing_(cls, value: object) -> AddressFamily | None:
        return newer_member(cls, value, "FAMILY", 0xFF)


class TcpState(enum.IntEnum):
    """The states of ``include/net/tcp_states.h``.

    NEW_SYN_RECV is the kernel's own affair: half-open requests are reported as SYN_RECV
    (``net/ipv4/inet_diag.c``: inet_req_diag_fill), so that no row ever has it.
    BOUND_INACTIVE are sockets that are bound and neither listen nor connect (Linux 6.8 and newer);
    the kernel reports them as CLOSE, and only to those who ask for them by name
    (``net/ipv4/inet_diag.c``: inet_diag_dump_icsk).
    A state that is not listed here gets a member of its own, named ``STATE_n``.
    """

    ESTABLISHED = 1
    SYN_SENT = 2
    SYN_RECV = 3
    FIN_WAIT1 = 4
    FIN_WAIT2 = 5
    TIME_WAIT = 6
    CLOSE = 7
    CLOSE_WAIT = 8
    LAST_ACK = 9
    LISTEN = 10
    CLOSING = 11
    NEW_SYN_RECV = 12
    BOUND_INACTIVE = 13

    def __str__(self) -> str:
        return self.name

    @classmethod
    def _missing_(cls, value: object) -> TcpState | None:
        return newer_member(cls, value, "STATE", 0xFF)


class SctpState(enum.IntEnum):
    """The states of an association (``include/net/sctp/constants.h``: enum sctp_state)."""

    CLOSED = 0
    COOKIE_WAIT = 1
    COOKIE_ECHOED = 2
    ESTABLISHED = 3
    SHUTDOWN_PENDING = 4
    SHUTDOWN_SENT = 5
    SHUTDOWN_RECEIVED = 6
    SHUTDOWN_ACK_SENT = 7

    def __str__(self) -> str:
        return self.name

    @classmethod
    def _missing_(cls, value: object) -> SctpState | None:
        return newer_member(cls, value, "STATE", 0xFF)


class Extension(enum.IntEnum):
    """What the kernel adds to a row when asked: the INET_DIAG_* numbers that fit the request.

    From ``include/uapi/linux/inet_diag.h``; VEGAS is answered by a few congestion controls alone
    (``net/ipv4/tcp_vegas.c``: tcp_vegas_get_info).
    """

    MEMORY = 1
    INFO = 2
    VEGAS = 3
    CONGESTION = 4
    TOS = 5
    TRAFFIC_CLASS = 6
    SOCKET_MEMORY = 7


class Timer(enum.IntEnum):
    """Which timer of a socket runs (``net/ipv4/inet_diag.c``: inet_sk_diag_fill)."""

    NONE = 0
    RETRANSMIT = 1
    KEEPALIVE = 2
    TIME_WAIT = 3
    ZERO_WINDOW_PROBE = 4

    def __str__(self) -> str:
        return self.name.lower()


class Shutdown(enum.IntFlag):
    """Which directions of a socket are shut down (``include/net/sock.h``: RCV_SHUTDOWN)."""

    RECEIVE = 1
    SEND = 2


class Given(enum.IntEnum):
    """Attributes that the kernel gives unasked."""

    SHUTDOWN = 8
    PROTOCOL = 10
    V6_ONLY = 11
    LOCAL_ADDRESSES = 12
    PEER_ADDRESSES = 13
    MARK = 15
    CLASS_ID = 17
    UPPER_LAYER = 19
    CGROUP_ID = 21
    SOCKET_OPTIONS = 22


class Asked(enum.IntEnum):
    """Attributes of a question, behind struct inet_diag_req_v2: INET_DIAG_REQ_*."""

    BYTECODE = 1
    PROTOCOL = 3
