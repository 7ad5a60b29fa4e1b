"""Questions about MPTCP sockets.

May call ``protocol``, ``families.inet_reader``, ``families.inet_request`` and
``families.inet_rows``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from netlink_safe.families.inet_reader import reader
from netlink_safe.families.inet_request import (
    Extensions,
    Families,
    Kind,
    States,
    dumps,
    wanted,
)
from netlink_safe.families.inet_rows import MptcpSocket

if TYPE_CHECKING:
    from netlink_safe.families.filters import Filter
    from netlink_safe.protocol.request import Request

MPTCP: Final = Kind("MPTCP sockets", "MPTCP sockets over sock_diag (module mptcp_diag)", "5.9")


def mptcp_sockets(
    states: States = None,
    families: Families = None,
    extensions: Extensions = (),
    source_port: int = 0,
    destination_port: int = 0,
    where: Filter | None = None,
) -> tuple[Request[MptcpSocket], ...]:
    """Ask for MPTCP sockets; both address families and every everyday state unless said.

    ``"info"`` gives struct mptcp_info.  The TCP connections that carry one are rows of
    ``tcp_sockets``, whose ``subflow.token_local`` is its ``info.token``.  One that has fallen back
    to TCP before it was established is in no table of MPTCP's (``net/mptcp/mptcp_diag.c``:
    mptcp_diag_dump).
    Otherwise as ``tcp_sockets``.  A kernel before Linux 5.9 has none (NotSupported).
    """
    asked = wanted(states, extensions, source_port, destination_port, where)
    return dumps(MPTCP, MptcpSocket, families, asked, reader(MptcpSocket))
