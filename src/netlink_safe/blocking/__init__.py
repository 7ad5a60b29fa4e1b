"""The same names as ``netlink_safe``, without ``async``.

Imports no event loop and none of the message codecs, so that a small process stays small.
"""

from __future__ import annotations

from netlink_safe.blocking.requests import Dump, RequestSocket
from netlink_safe.blocking.sock_diag import SockDiag, open_sock_diag
from netlink_safe.families.tcp import tcp_socket, tcp_sockets

__all__ = ["Dump", "RequestSocket", "SockDiag", "open_sock_diag", "tcp_socket", "tcp_sockets"]
