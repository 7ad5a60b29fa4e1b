"""An operation on the kernel as steps, without ever waiting in one.

An operation is a generator.  It makes its system calls, and where nothing is to be had it yields a
``Wait``; a surface waits as it knows how and goes on.  Everything else it yields is a list of rows,
perhaps an empty one.  So deadlines, attempts and retries are written once, for every surface.

::

    ask(pool, requests, terms)         yields rows, as they come
    fold(pool, requests, terms, new)   yields none; returns what the folds have made of them
    whole(pool, request, terms)        yields none; returns all rows, once there are all
      `- _asked                        one request, or what may be asked instead of it
           `- _attempts                another attempt where that is allowed
                `- _attempt            one exchange on one socket

May call ``transport``, ``protocol``, ``wire`` and ``errors``.
"""

from __future__ import annotations

import errno
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from netlink_safe.errors import (
    DumpInterrupted,
    InconsistentError,
    KernelError,
    LocalProtocolError,
    NetlinkTimeout,
    OverrunError,
    TruncatedError,
)
from netlink_safe.protocol.deadline import given_up_at
from netlink_safe.protocol.exchange import Exchange
from netlink_safe.protocol.trust import reject_reply
from netlink_safe.transport.gathering import Folded, Kept, Rows
from netlink_safe.transport.pool import answered
from netlink_safe.transport.terms import Collector, Wait

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from netlink_safe.protocol.request import Request, Row
    from netlink_safe.transport.gathering import Fold
    from netlink_safe.transport.pool import SocketPool
    from netlink_safe.transport.socket import Memory, NetlinkSocket
    from netlink_safe.transport.terms import Result, Steps, Terms

#: Attempts at one request; the last one has all the time that is left.
ATTEMPTS: Final = 3


def ask(pool: SocketPool, requests: Sequence[Request[Row]], terms: Terms) -> Steps[Row, None]:
    """Yield the rows of each request in turn.

    A request is asked again only while none of its rows was handed out.
    Raises NetlinkTimeout, KernelError, OverrunError, DumpInterrupted, TruncatedError, DecodeError,
    ClosedError; LocalProtocolError in the child of a fork.
    """
    for request in requests:
        yield from _asked(pool, request, terms, partial(Rows, terms=terms))


def fold(
    pool: SocketPool,
    requests: Sequence[Request[Any]],
    terms: Terms,
    new_fold: Callable[[], Fold],
) -> Steps[Any, list[Fold]]:
    """Fold the rows of each request, and return a fold for each that was answered.

    Raises as ``ask`` does; LocalProtocolError for what makes no fold.
    """
    if not callable(new_fold):
        raise LocalProtocolError(f"new_fold={new_fold!r} is no function; it makes a fold")
    folds: list[Fold] = []
    for request in requests:
        folded = yield from _asked(pool, request, terms, partial(Folded, new_fold=new_fold))
        folds += [each.fold for each in folded]
    return folds


def whole(pool: SocketPool, request: Request[Row], terms: Terms) -> Steps[Any, list[Row]]:
    """All rows of a request, which is asked again where its table changed meanwhile."""
    folds = yield from fold(pool, [request], terms, partial(Kept, request))
    return [row for each in folds for row in each.kept]


def call(function: Callable[[], Result]) -> Steps[Any, Result]:
    """One call that the kernel may hold up, as an operation that ``workers.offload`` can carry."""
    return function()
    yield []  # never reached: it makes this a generator


AnyCollector = TypeVar("AnyCollector", bound=Collector)


class _Late(Exception):
    """Nothing arrived for as long as the attempt may be silent, or the deadline has passed."""


def _asked(
    pool: SocketPool,
    request: Request[Any],
    terms: Terms,
    new_collector: Callable[[Request[Any]], AnyCollector],
) -> Steps[Any, list[AnyCollector]]:
    """The request, or what may be asked instead where the kernel does not know it."""
    try:
        return [(yield from _attempts(pool, request, terms, new_collector))]
    except KernelError as error:
        if error.errno not in request.instead_on or terms.collectors[-1].handed_out:
            raise
    collectors = []
    for other in request.instead:
        collectors.append((yield from _attempts(pool, other, terms, new_collector)))  # noqa: PERF401  # nor can it yield
    return collectors


def _attempts(
    pool: SocketPool,
    request: Request[Any],
    terms: Terms,
    new_collector: Callable[[Request[Any]], AnyCollector],
) -> Steps[Any, AnyCollector]:
    terms.doing = request.name
    if request.lookups:
        from netlink_safe.transport.lookups import filled_in

        terms.may_stall = True
        yield []
        request = filled_in(request, pool.namespace)
    terms.outcome = "none" if request.idempotent else "unknown"
    for number in range(1, ATTEMPTS + 1):
        is_last = number == ATTEMPTS or not request.idempotent
        collector = new_collector(request)
        terms.collectors.append(collector)
        sock = pool.acquire() if number == 1 else pool.acquire_fresh()
        ended_well = False
        terms.attempts += 1
        terms.tally.attempts += 1
        try:
            yield from _attempt(pool, sock, request, terms, collector, is_last)
            ended_well = True
        except (_Late, InconsistentError, KernelError) as error:
            # No room for a first chunk in a queue that strangers have filled is told as an errno
            # (net/netlink/af_netlink.c: netlink_dump, from __netlink_dump_start).
            if isinstance(error, KernelError) and error.errno != errno.ENOBUFS:
                raise
            if isinstance(error, OverrunError):
                terms.tally.overruns += 1
            again = not (is_last or collector.handed_out or terms.deadline.remaining() <= 0)
            if isinstance(error, _Late) and not again:
                raise _timeout(request, terms, sock.memory()) from None
            if not again or (
                isinstance(error, DumpInterrupted) and terms.when_interrupted == "raise"
            ):
                raise
            terms.tally.retries += 1
        else:
            answered.add((pool.protocol, request.feature))
            return collector
        finally:
            if ended_well:
                pool.release(sock)
            else:
                pool.discard(sock)
    raise AssertionError("the last attempt returns or raises")


def _attempt(
    pool: SocketPool,
    sock: NetlinkSocket,
    request: Request[Any],
    terms: Terms,
    collector: Collector,
    is_last: bool,
) -> Steps[Any, None]:
    deadline = terms.deadline
    tally = terms.tally
    exchange = Exchange(request, sock.next_sequence(), sock.port_id, tally.rejected)
    terms.may_stall = True  # whatever is asked, to ask it may load a module or walk a table
    yield []
    sock.send(exchange.data_to_send())
    silent_until: float | None = None  # in seconds left of the deadline
    while not exchange.finished:
        pool.check_open()
        datagram = sock.receive()
        if datagram is not None:
            terms.datagrams += 1
            tally.datagrams += 1
            if reason := reject_reply(datagram):
                tally.rejected[reason] += 1
                yield []  # a flood of them must not keep others from their turn
            elif datagram.truncated:
                raise TruncatedError(
                    f"a datagram of the reply to {request.name} was longer than the receive of "
                    f"{len(datagram.data)} bytes"
                )
            else:
                exchange.receive(datagram.data, collector.read)
                terms.may_stall = request.may_stall
                silent_until = None
                yield collector.take()
        left = deadline.remaining()
        if silent_until is None:
            silent_until = 0.0 if is_last or collector.handed_out else given_up_at(left)
        if left <= silent_until and not exchange.finished:
            raise _Late
        if datagram is None:
            yield Wait(sock.fileno(), left - silent_until)
    if exchange.error is not None:
        raise exchange.error
    if exchange.interrupted:
        tally.interrupted += 1
        if terms.when_interrupted != "accept":
            raise DumpInterrupted(
                f"the table changed while {request.name} were dumped; rows may be missing or "
                "double: ask again, or say when_interrupted='accept'"
            )


def _timeout(request: Request[Any], terms: Terms, memory: Memory) -> NetlinkTimeout:
    return terms.timed_out(
        f"the reply to {request.name}", drops=memory.drops, queue_fill=memory.queued
    )
