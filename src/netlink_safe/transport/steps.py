"""An operation on the kernel as steps, without ever waiting in one.

An operation is a generator.  It makes its system calls, and where nothing is to be had it yields a
``Wait``; a surface waits as it knows how and goes on.  Everything else it yields is a list of rows,
perhaps an empty one.  So deadlines, attempts and retries are written once, for every surface.

::

    ask(pool, requests, terms)         yields rows, as they come
    fold(pool, requests, terms, new)   yields none; returns what the folds have made of them
      `- _attempts                     one request: another attempt where that is allowed
           `- _attempt                 one exchange on one socket

May call ``transport``, ``protocol``, ``wire`` and ``errors``.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, Protocol, TypeAlias, TypeVar

import attrs

from netlink_safe.errors import (
    DumpInterrupted,
    InconsistentError,
    LocalProtocolError,
    NetlinkTimeout,
    OverrunError,
    TruncatedError,
)
from netlink_safe.protocol.deadline import Deadline, given_up_at
from netlink_safe.protocol.exchange import Exchange
from netlink_safe.protocol.request import Request, Row
from netlink_safe.protocol.trust import reject_reply

if TYPE_CHECKING:
    from netlink_safe.protocol.statistics import Tally
    from netlink_safe.transport.pool import SocketPool
    from netlink_safe.transport.socket import Memory, NetlinkSocket
    from netlink_safe.wire.header import Strides

#: Attempts at one request; the last one has all the time that is left.
ATTEMPTS: Final = 3

#: What to do when the kernel says that a table changed under its dump: ask again where no row was
#: handed out (and raise otherwise), raise, or take the rows as they are.
WhenInterrupted: TypeAlias = Literal["retry", "raise", "accept"]

#: (protocol, feature) pairs that have answered in this process, so that their modules are loaded.
answered: Final[set[tuple[int, str]]] = set()

Result = TypeVar("Result")


@attrs.frozen(slots=True)
class Wait:
    """Nothing is to be had now: wait until the descriptor is readable, at most ``seconds``."""

    descriptor: int
    seconds: float


#: What an operation is: steps, and a result at the end.
Steps: TypeAlias = Generator[Wait | list[Row], None, Result]


class RowFold(Protocol):
    """What makes something of rows without keeping them; each attempt starts with a new one."""

    def read(self, data: bytes, offset: int, strides: Strides, /) -> int:
        """Take a stretch of rows; see ``protocol.request.Reader``."""


Fold = TypeVar("Fold", bound=RowFold)


@attrs.define(slots=True)
class Terms:
    """On what terms an operation runs, what it is at, and what it has seen so far."""

    deadline: Deadline
    tally: Tally
    when_interrupted: WhenInterrupted = "retry"
    distinct: bool = False
    doing: str = "the request"
    attempts: int = 0
    datagrams: int = 0
    rows: int = 0


def ask(pool: SocketPool, requests: Sequence[Request[Row]], terms: Terms) -> Steps[Row, None]:
    """Yield the rows of each request in turn.

    A request is asked again only while none of its rows was handed out.
    """
    for request in requests:
        yield from _attempts(pool, request, terms, partial(_Rows, request, terms))


def fold(
    pool: SocketPool,
    requests: Sequence[Request[Any]],
    terms: Terms,
    new_fold: Callable[[Request[Any]], Fold],
) -> Steps[Any, list[Fold]]:
    """Fold the rows of each request, and return a fold for each."""
    folds: list[Fold] = []
    for request in requests:
        folded = yield from _attempts(pool, request, terms, partial(_folded, new_fold, request))
        folds.append(folded.fold)
    return folds


def call(function: Callable[[], Result]) -> Steps[Any, Result]:
    """One call that the kernel may hold up, as an operation that ``workers.offload`` can carry."""
    return function()
    yield []  # never reached: it makes this a generator


class _Collector(Protocol):
    """What becomes of an attempt's rows.

    Once it has handed some out, the attempt cannot be made again.
    """

    handed_out: bool

    def read(self, data: bytes, offset: int, strides: Strides, /) -> int: ...

    def take(self) -> list[Any]: ...


class _Rows(Generic[Row]):
    """Rows decoded, to be handed out."""

    def __init__(self, request: Request[Row], terms: Terms) -> None:
        self.handed_out = False
        self._read = request.read
        self._rows: list[Row] = []
        self._terms = terms
        self._identity = request.identity if terms.distinct else None
        if terms.distinct and request.identity is None:
            raise LocalProtocolError(f"nothing tells the rows of {request.name} apart")
        self._seen: set[Hashable] = set()

    def read(self, data: bytes, offset: int, strides: Strides, /) -> int:
        return self._read(data, offset, strides, self._rows)

    def take(self) -> list[Row]:
        rows, self._rows = self._rows, []
        if self._identity is not None:
            rows = self._first_seen(rows, self._identity)
        if rows:
            self.handed_out = True
            self._terms.rows += len(rows)
        return rows

    def _first_seen(self, rows: list[Row], identity: Callable[[Row], Hashable]) -> list[Row]:
        fresh = {identity(row): row for row in reversed(rows)}  # reversed: the first of equals wins
        kept = [row for name, row in reversed(fresh.items()) if name not in self._seen]
        self._seen.update(fresh)
        return kept


def _folded(new_fold: Callable[[Request[Any]], Fold], request: Request[Any]) -> _Folded[Fold]:
    return _Folded(new_fold(request))


class _Folded(Generic[Fold]):
    """Rows folded: there are never any to hand out."""

    def __init__(self, fold: Fold) -> None:
        self.handed_out = False
        self.fold = fold
        self.read = fold.read

    def take(self) -> list[Any]:
        return []


Collector = TypeVar("Collector", bound=_Collector)


class _Late(Exception):
    """Nothing arrived for as long as the attempt may be silent, or the deadline has passed."""


def _attempts(
    pool: SocketPool,
    request: Request[Any],
    terms: Terms,
    new_collector: Callable[[], Collector],
) -> Steps[Any, Collector]:
    terms.doing = request.name
    for number in range(1, ATTEMPTS + 1):
        is_last = number == ATTEMPTS or not request.idempotent
        collector = new_collector()
        sock = pool.acquire()
        ended_well = False
        terms.attempts += 1
        terms.tally.attempts += 1
        try:
            yield from _attempt(pool, sock, request, terms, collector, is_last)
            ended_well = True
        except (_Late, InconsistentError) as error:
            _count(terms.tally, error)
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
    collector: _Collector,
    is_last: bool,
) -> Steps[Any, None]:
    deadline = terms.deadline
    tally = terms.tally
    exchange = Exchange(request, sock.next_sequence(), sock.port_id, tally.rejected)
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
            elif datagram.truncated:
                raise TruncatedError(
                    f"a datagram of the reply to {request.name} was longer than the receive of "
                    f"{len(datagram.data)} bytes"
                )
            else:
                exchange.receive(datagram.data, collector.read)
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


def _count(tally: Tally, error: Exception) -> None:
    if isinstance(error, _Late):
        tally.timeouts += 1
    elif isinstance(error, OverrunError):
        tally.overruns += 1


def _timeout(request: Request[Any], terms: Terms, memory: Memory) -> NetlinkTimeout:
    return NetlinkTimeout(
        f"the reply to {request.name}",
        terms.deadline.timeout,
        attempts=terms.attempts,
        datagrams=terms.datagrams,
        rows=terms.rows,
        drops=memory.drops,
        queue_fill=memory.queued,
        outcome="none" if request.idempotent else "unknown",
    )
