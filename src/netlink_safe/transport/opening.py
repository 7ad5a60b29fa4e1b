"""What every ``open_...`` and every verb of a surface does with its arguments, once for both.

May call ``transport``, ``protocol``, ``wire`` and ``errors``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, TypeAlias, get_args

from netlink_safe.errors import LocalProtocolError, RemoteProtocolError
from netlink_safe.protocol.deadline import Deadline, checked_timeout
from netlink_safe.protocol.request import Request, Row
from netlink_safe.protocol.statistics import Tally
from netlink_safe.transport.buffers import checked_size, default_request_buffer
from netlink_safe.transport.namespace import Namespace, NetworkNamespace
from netlink_safe.transport.pool import SocketPool
from netlink_safe.transport.terms import Terms, WhenInterrupted
from netlink_safe.wire.constants import NETLINK_ROUTE, NETLINK_SOCK_DIAG

if TYPE_CHECKING:
    from collections.abc import Sequence

#: What a builder of a family returns: one request, or several that are one question.
Requests: TypeAlias = Request[Row] | Iterable[Request[Row]]

#: By protocol, what makes requests, for an error to tell.
BUILDERS: Final = {
    NETLINK_SOCK_DIAG: "tcp_sockets(), unix_sockets() and their like make some",
    NETLINK_ROUTE: "link(), links() and set_link() make some",
}

#: Seconds for one operation, or a Deadline that several have together.
Timeout: TypeAlias = float | Deadline


def new_pool(
    protocol: int,
    timeout: float,
    receive_buffer: int | None,
    netns: NetworkNamespace | Namespace,
) -> SocketPool:
    """A pool of sockets that ask, none of them open yet.

    Raises LocalProtocolError for a nonsense argument.
    """
    checked_timeout(timeout)
    size = checked_size(receive_buffer, default_request_buffer())
    return SocketPool(protocol, size, Namespace(netns))


def listed(pool: SocketPool, requests: Requests[Row]) -> Sequence[Request[Row]]:
    """The requests as a sequence.

    Raises LocalProtocolError for what is none, and for one of another protocol than the pool's.
    """
    made = BUILDERS.get(pool.protocol, "Request() makes some")
    if isinstance(requests, str) or not isinstance(requests, Iterable | Request):
        raise LocalProtocolError(f"{requests!r} is no Request; {made}")
    found = (requests,) if isinstance(requests, Request) else tuple(requests)
    for request in found:
        if not isinstance(request, Request):
            raise LocalProtocolError(f"{request!r} is no Request; {made}")
        if request.protocol != pool.protocol:
            raise LocalProtocolError(
                f"{request.name} is for netlink protocol {request.protocol}, and this socket "
                f"speaks {pool.protocol}; {made}"
            )
    return found


def questions(pool: SocketPool, requests: Requests[Row]) -> Sequence[Request[Row]]:
    """The same, to be asked for rows.  Raises LocalProtocolError for an order, too."""
    found = listed(pool, requests)
    for request in found:
        if request.is_order:
            raise LocalProtocolError(f"{request.name} is an order; give it to request()")
    return found


def single(pool: SocketPool, request: Request[Row]) -> Sequence[Request[Row]]:
    """The same of one request for a row, or of an order.  Raises LocalProtocolError for a table."""
    found = listed(pool, request)
    for one in found:
        if one.is_dump:
            raise LocalProtocolError(f"{one.name} is a table; give it to dump()")
    if not isinstance(request, Request):
        raise LocalProtocolError(f"request() takes one Request, and not {request!r}")
    return found


def new_terms(
    pool: SocketPool,
    timeout: Timeout,
    when_interrupted: WhenInterrupted = "retry",
    distinct: bool = False,
) -> Terms:
    """The terms of one operation, its clock running; a Deadline is shared with other operations."""
    pool.check_open()
    if when_interrupted not in get_args(WhenInterrupted):
        choices = ", ".join(get_args(WhenInterrupted))
        raise LocalProtocolError(f"when_interrupted={when_interrupted!r} is none of {choices}")
    deadline = timeout.part() if isinstance(timeout, Deadline) else Deadline(timeout)
    return Terms(deadline, pool.tally, when_interrupted, distinct)


def own_terms(timeout: float, doing: str) -> Terms:
    """The terms of an operation that belongs to no opened object, its clock running."""
    return Terms(Deadline(timeout), Tally(), doing=doing)


def only_row(rows: list[Row], request: Request[Row]) -> Row:
    """The one row of a request that is no dump; None for an order.

    Raises RemoteProtocolError for none.
    """
    if request.is_order:
        return None  # type: ignore[return-value]  # an order is a Request[None]
    if not rows:
        raise RemoteProtocolError(f"the kernel acknowledged {request.name} and gave no row")
    return rows[0]
