"""Questions about SCTP endpoints and associations.

May call ``protocol``, ``families.inet_reader``, ``families.inet_request`` and
``families.inet_rows``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from netlink_safe.families.inet_reader import reader
from netlink_safe.families.inet_request import (
    Extensions,
    Families,
    Kind,
    dumps,
    wanted,
)
from netlink_safe.families.inet_rows import SctpSocket

if TYPE_CHECKING:
    from netlink_safe.protocol.request import Request

SCTP: Final = Kind("SCTP sockets", "SCTP sockets over sock_diag (module sctp_diag)", "4.7")


def sctp_sockets(
    *,
    families: Families = None,
    extensions: Extensions = (),
    source_port: int = 0,
    destination_port: int = 0,
) -> tuple[Request[SctpSocket], ...]:
    """Ask for SCTP endpoints and associations, both address families unless said.

    Each endpoint is a row, and each association another one; an endpoint that has associations may
    come twice.  The kernel matches ports alone: no state, and no filter (``net/sctp/diag.c``:
    sctp_diag_dump runs no bytecode).
    ``extensions`` names what to add to each row: ``"info"``, ``"socket_memory"``, ``"congestion"``.
    Otherwise as ``tcp_sockets``.
    """
    asked = wanted(None, extensions, source_port, destination_port)
    requests = dumps(SCTP, SctpSocket, families, asked, reader(SctpSocket))
    return tuple(attrs.evolve(request, identity=_identity) for request in requests)


def _identity(row: SctpSocket) -> bytes:
    """Addresses, ports and cookie: an association has its endpoint's cookie."""
    return row.id
