"""Questions about TCP sockets.

struct inet_diag_req_v2 asks for one address family, and the kernel walks its whole table of
connections for it, passing over the other one's.  The older struct inet_diag_req, which has no
family, asks for both in a single walk (``net/ipv4/inet_diag.c``: inet_diag_dump_compat), and the
rows are the same.  It saves a fifth of a full dump and half of one that looks for rare states.

May call ``protocol``, ``wire``, ``families.inet_diag``, ``families.inet_reader``,
``families.inet_request``, ``families.inet_rows`` and ``errors``.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

import attrs

from netlink_safe.families.inet_diag import TCPDIAG_GETSOCK, TcpState
from netlink_safe.families.inet_reader import reader
from netlink_safe.families.inet_request import (
    EVERYDAY,
    REST_OF_SOCKET_ID,
    Extensions,
    Families,
    Kind,
    States,
    Wanted,
    between,
    checked_families,
    dump,
    exact,
    wanted,
)
from netlink_safe.families.inet_rows import BoundInactiveTcpSocket, TcpSocket

if TYPE_CHECKING:
    from netlink_safe.families.filters import Filter
    from netlink_safe.protocol.request import Request

#: What a kernel without it lacks.
FEATURE: Final = "TCP sockets over sock_diag (modules inet_diag and tcp_diag)"

#: struct inet_diag_req around its struct inet_diag_sockid.
_OLD_REQUEST: Final = struct.Struct("=BBBB")
_OLD_STATES: Final = struct.Struct("=II")
_EINVAL: Final = 22
_EOPNOTSUPP: Final = 95


@attrs.frozen(slots=True)
class _Table:
    """One of the kernel's tables: its name, which states are in it, and what a row of it is."""

    kind: Kind
    states: frozenset[TcpState]
    row: type[TcpSocket]


#: Each is a dump of its own, so that how it begins tells how it goes on.  In one dump the kernel
#: gives the listeners at once, and then walks a table that may be a thousand times larger.
TABLES: Final = (
    _Table(Kind("TCP sockets", FEATURE), EVERYDAY - {TcpState.LISTEN}, TcpSocket),
    _Table(Kind("TCP listeners", FEATURE), frozenset({TcpState.LISTEN}), TcpSocket),
    _Table(
        Kind("bound TCP sockets", FEATURE),
        frozenset({TcpState.BOUND_INACTIVE}),
        BoundInactiveTcpSocket,
    ),
)


def tcp_sockets(
    states: States = None,
    families: Families = None,
    extensions: Extensions = (),
    source_port: int = 0,
    destination_port: int = 0,
    where: Filter | None = None,
) -> tuple[Request[TcpSocket], ...]:
    """Ask for TCP sockets; both address families and every everyday state unless said.

    ``states`` and ``families`` are members of TcpState and AddressFamily, their names or numbers,
    one or several; ``extensions`` are the same of Extension, what to add to each row (``"info"``,
    ``"memory"``, …).  ``source_port`` and ``destination_port`` are matched in the kernel, which
    costs nothing there: from 1 to 65535, and 0 is any.  ``where`` is a filter that the kernel runs
    for each socket, such as ``Port("dst", 443) & ~Address("127.0.0.0/8")``; its program may have
    16,384 bytes, some 1,000 ports.
    The everyday states are all but NEW_SYN_RECV and BOUND_INACTIVE.
    A dump is a walk, not a snapshot: a socket that moves while the kernel walks may be missing or
    double.  Who needs distinct rows says so to ``dump``.
    Raises LocalProtocolError for what does not exist, for no states or families at all, and for a
    filter that is none or too long.
    """
    asked = wanted(states, extensions, source_port, destination_port, where)
    in_families = sorted(checked_families(families))
    requests = []
    for table in TABLES:
        if states_there := asked.states & table.states:
            there = attrs.evolve(asked, states=states_there)
            read = reader(table.row)
            by_family = tuple(
                dump(table.kind, table.row, family, there, read, table.states)
                for family in in_families
            )
            requests.append(_in_one_walk(by_family, there))
    return tuple(requests)


def tcp_socket(
    source: tuple[str, int],
    destination: tuple[str, int] | None = None,
    *,
    interface: int = 0,
    cookie: int | None = None,
    extensions: Extensions = (),
) -> Request[TcpSocket]:
    """Ask for one socket by its addresses, without a walk of the table.

    Each end is an address, as text and without a scope, and a port.
    Without ``destination`` it is the listener on ``source``.  With ``cookie`` only that very socket
    will do, and no other that has its addresses now.
    ``interface`` is an index, up to 2**31 - 1, and finds a socket that is bound to that interface
    or to none, 0 one that is bound to none; ``cookie`` has 64 bits; ports are from 0 to 65535;
    ``extensions`` are as in ``tcp_sockets``.
    The kernel answers ENOENT (KernelError) where there is none (``net/ipv4/inet_diag.c``:
    inet_diag_find_one_icsk).
    Raises LocalProtocolError for what are no addresses, or of two families, and for what is no
    port, no interface, no cookie and no extension.
    """
    name = f"the TCP socket {between(source, destination)}"
    kind = TABLES[0].kind
    return exact(kind, TcpSocket, name, source, destination, interface, cookie, extensions)


def _in_one_walk(by_family: tuple[Request[TcpSocket], ...], asked: Wanted) -> Request[TcpSocket]:
    """The same for both families at once, by the old request."""
    if len(by_family) == 1:
        return by_family[0]
    question = b"".join(
        (
            _OLD_REQUEST.pack(0, 0, 0, asked.extensions),
            asked.ports,
            REST_OF_SOCKET_ID,
            _OLD_STATES.pack(asked.state_mask, 0),
        )
    )
    return attrs.evolve(
        by_family[0],
        name=by_family[0].name.replace("inet ", ""),
        type=TCPDIAG_GETSOCK,
        payload=question + asked.attributes,
        lookups=asked.lookups(len(question)),
        row_type=TCPDIAG_GETSOCK,
        instead=by_family,
        instead_on=frozenset({_EINVAL, _EOPNOTSUPP}),
    )
