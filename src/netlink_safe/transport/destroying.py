"""Destroying sockets, as steps: what is asked for first, and then each by an order of its own.

May call ``transport``, ``protocol`` and ``errors``.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from netlink_safe.errors import KernelError, LocalProtocolError, NetlinkError, NetlinkTimeout
from netlink_safe.protocol.arguments import check_truth
from netlink_safe.protocol.request import Request
from netlink_safe.transport import steps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netlink_safe.protocol.destruction import Destruction
    from netlink_safe.transport.pool import SocketPool
    from netlink_safe.transport.terms import Steps, Terms

#: How many rows an error names.
FEW: Final = 3
#: How many destroyed rows an error names before it counts the rest.
MANY: Final = 20
#: The socket is gone, or has another cookie now.
_GONE: Final = frozenset({errno.ENOENT, errno.ESTALE})


def taken_apart(target: Any) -> tuple[list[Request[Any]], list[Any]]:
    """What was given, as requests for rows and as rows."""
    given = list(target) if isinstance(target, Iterable) else [target]
    requests = [one for one in given if isinstance(one, Request)]
    return requests, [one for one in given if not isinstance(one, Request)]


def destroyed(
    pool: SocketPool,
    requests: Sequence[Request[Any]],
    rows: Sequence[Any],
    all_of_them: bool,
    words: Destruction,
    terms: Terms,
) -> Steps[Any, list[Any]]:
    """Destroy each row, and those that the requests find; return those that are destroyed.

    Raises LocalProtocolError, before anything is destroyed, for several without ``all_of_them``.
    """
    check_truth(all=all_of_them)
    found = [*rows]
    for request in requests:
        found += yield from _found(pool, request, terms)
    orders = {}
    for row in found:
        order = words.destruction(row)
        orders[row.protocol, row.cookie] = row, order
    if len(orders) > 1 and not all_of_them:
        few = [words.called(row) for row, _ in list(orders.values())[:FEW]]
        more = f" and {len(orders) - FEW} more" if len(orders) > FEW else ""
        raise LocalProtocolError(
            f"{len(orders)} sockets are meant, {', '.join(few)}{more}, and nothing was destroyed: "
            "give a narrower filter, or all=True to destroy every one"
        )
    try:
        return (yield from _carried_out(pool, list(orders.values()), words, terms))
    except NetlinkTimeout:  # tells it in its text
        raise
    except (NetlinkError, OSError) as error:
        terms.tell(error)
        raise


def _found(pool: SocketPool, request: Request[Any], terms: Terms) -> Steps[Any, list[Any]]:
    try:
        return (yield from steps.whole(pool, request, terms))
    except KernelError as error:
        if request.is_dump or error.errno not in _GONE:
            raise
        return []


def _carried_out(
    pool: SocketPool,
    orders: Sequence[tuple[Any, Request[None]]],
    words: Destruction,
    terms: Terms,
) -> Steps[Any, list[Any]]:
    """Give the orders, some again: of several sockets in one place the kernel finds only one.

    Which one is the kernel's choice (SO_REUSEPORT), and another once that is destroyed.
    """
    gone: list[Any] = []
    left = list(orders)
    while left:
        missed = []
        places: Counter[Any] = Counter()
        for row, order in left:
            if (yield from _order(pool, order, terms)):
                gone.append(row)
                places[words.place_of(row)] += 1
                _tell(terms, words.called(row), len(gone))
            else:
                missed.append((row, order))
        left = [(row, order) for row, order in missed if places[words.place_of(row)]]
    return gone


def _order(pool: SocketPool, order: Request[None], terms: Terms) -> Steps[Any, bool]:
    """Give one order; False where the socket is gone."""
    try:
        yield from steps.whole(pool, order, terms)
    except KernelError as error:
        if error.errno not in _GONE:
            raise
        return False
    return True


def _tell(terms: Terms, name: str, number: int) -> None:
    if number <= MANY:
        terms.done.append(f"destroyed {name}")
    else:
        terms.done[MANY:] = [f"and {number - MANY} more"]
