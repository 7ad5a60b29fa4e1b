"""The same names as ``netlink_safe``, without ``async``.

Imports no event loop and none of the message codecs, so that a small process stays small.
What is not of one surface, such as errors and enums, is taken from ``netlink_safe``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import netlink_safe
from netlink_safe.blocking.requests import Dump, RequestSocket
from netlink_safe.blocking.sock_diag import SockDiag, open_sock_diag
from netlink_safe.families.tcp import tcp_socket, tcp_sockets

if TYPE_CHECKING:
    from netlink_safe import AcceptQueue as AcceptQueue
    from netlink_safe import AddressFamily as AddressFamily
    from netlink_safe import BusyError as BusyError
    from netlink_safe import ClosedError as ClosedError
    from netlink_safe import DecodeError as DecodeError
    from netlink_safe import DumpInterrupted as DumpInterrupted
    from netlink_safe import Endpoint as Endpoint
    from netlink_safe import ExtendedAck as ExtendedAck
    from netlink_safe import Extension as Extension
    from netlink_safe import InconsistentError as InconsistentError
    from netlink_safe import KernelError as KernelError
    from netlink_safe import LocalProtocolError as LocalProtocolError
    from netlink_safe import NetlinkError as NetlinkError
    from netlink_safe import NetlinkTimeout as NetlinkTimeout
    from netlink_safe import NotSupported as NotSupported
    from netlink_safe import OverrunError as OverrunError
    from netlink_safe import RemoteProtocolError as RemoteProtocolError
    from netlink_safe import Shutdown as Shutdown
    from netlink_safe import SocketStatistics as SocketStatistics
    from netlink_safe import TcpInfo as TcpInfo
    from netlink_safe import TcpSocket as TcpSocket
    from netlink_safe import TcpState as TcpState
    from netlink_safe import Timer as Timer
    from netlink_safe import TruncatedError as TruncatedError

__all__ = ["Dump", "RequestSocket", "SockDiag", "open_sock_diag", "tcp_socket", "tcp_sockets"]


def __getattr__(name: str) -> object:
    if name in netlink_safe.__all__:
        return getattr(netlink_safe, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
