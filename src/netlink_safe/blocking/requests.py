"""Asking the kernel, in blocking code.

May call ``transport``, ``families``, ``protocol`` and ``errors``.
"""

from __future__ import annotations

from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, Generic, Self

from netlink_safe.blocking.waiting import Waiter, batches, result
from netlink_safe.protocol.request import Request, Row
from netlink_safe.transport import opening, steps, workers

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from netlink_safe.protocol.statistics import SocketStatistics
    from netlink_safe.transport.gathering import Fold
    from netlink_safe.transport.pool import SocketPool
    from netlink_safe.transport.terms import Result, Steps, Terms, WhenInterrupted


class Dump(Generic[Row]):
    """The rows of a dump, as they come.

    Leaving it half-way, by ``break`` or by an exception, closes its kernel socket as soon as the
    last reference is gone; ``close()``, or ``with``, does it at once.
    """

    def __init__(self, operation: Steps[Row, None], terms: Terms, waiter: Waiter) -> None:
        self._operation = operation
        self._batches = self._paused(operation, terms, waiter)
        self._rows = chain.from_iterable(self._batches)

    def __iter__(self) -> Iterator[Row]:
        return self._rows

    def __next__(self) -> Row:
        return next(self._rows)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the dump up and close its kernel socket; harmless when done twice."""
        self._batches.close()
        self._operation.close()

    @staticmethod
    def _paused(
        operation: Steps[Row, None], terms: Terms, waiter: Waiter
    ) -> Generator[list[Row], None, None]:
        """The batches, the clock standing still while the consumer has one."""
        terms.deadline.resume()
        try:
            for batch in batches(operation, waiter):
                terms.deadline.pause()
                yield batch
                terms.deadline.resume()
        finally:
            operation.close()


class RequestSocket:
    """An opened object that asks the kernel; any number of threads may use it at once.

    Each exchange has a kernel socket of its own while it lasts.  ``timeout`` of a verb is for the
    whole of it, in seconds, and is the one given at opening unless said; verbs that are given the
    same ``Deadline`` share it.
    """

    def __init__(self, pool: SocketPool, timeout: float) -> None:
        self._pool = pool
        self._timeout = timeout
        self._waiter = Waiter()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every kernel socket; what another thread has under way ends in ClosedError."""
        self._pool.close()
        self._waiter.wake()

    def dump(
        self,
        requests: opening.Requests[Row],
        *,
        timeout: opening.Timeout | None = None,
        when_interrupted: WhenInterrupted = "retry",
        distinct: bool = False,
    ) -> Dump[Row]:
        """Ask, and iterate over the rows as they come.

        The timeout counts the time spent in here, not the consumer's between two rows.
        ``distinct`` leaves out rows of a socket that was seen before in the same dump; it remembers
        an identity for each row.
        Raises, while iterating: NetlinkTimeout; KernelError (NotSupported where the kernel lacks
        it); OverrunError and DumpInterrupted where another attempt is not allowed, since rows were
        handed out; TruncatedError and DecodeError; ClosedError.
        """
        terms = self._terms(timeout, when_interrupted, distinct)
        terms.deadline.pause()
        listed = opening.listed(requests)
        operation = self._carried(steps.ask(self._pool, listed, terms), listed, terms)
        return Dump(operation, terms, self._waiter)

    def request(self, request: Request[Row], *, timeout: opening.Timeout | None = None) -> Row:
        """Ask for one row.  Raises as ``dump`` does; KernelError (ENOENT) where there is none."""
        terms = self._terms(timeout)
        operation = self._carried(steps.ask(self._pool, (request,), terms), (request,), terms)
        try:
            rows = [row for batch in batches(operation, self._waiter) for row in batch]
        finally:
            operation.close()
        return opening.only_row(rows, request)  # type: ignore[no-any-return]

    def fold(
        self,
        requests: opening.Requests[Any],
        new_fold: Callable[[], Fold],
        *,
        timeout: opening.Timeout | None = None,
        when_interrupted: WhenInterrupted = "retry",
    ) -> list[Fold]:
        """Ask, and let a fold of its own take the rows of each request; none is kept.

        A fold starts again from zero with each attempt.  Raises as ``dump`` does.
        """
        terms = self._terms(timeout, when_interrupted)
        listed = opening.listed(requests)
        operation = steps.fold(self._pool, listed, terms, new_fold)
        return result(self._carried(operation, listed, terms), self._waiter)

    def read_proc_net(self, *names: str, timeout: opening.Timeout | None = None) -> list[str]:
        """Files of /proc/net as this object's network namespace has them."""
        terms = self._terms(timeout)
        terms.doing = f"/proc/net/{', '.join(names)}"
        reading = steps.call(partial(self._pool.namespace.read, names))
        return result(workers.offload(reading, terms), self._waiter)

    def statistics(self) -> SocketStatistics:
        """What was seen and counted since the opening."""
        return self._pool.statistics()

    def _terms(
        self,
        timeout: opening.Timeout | None,
        when_interrupted: WhenInterrupted = "retry",
        distinct: bool = False,
    ) -> Terms:
        limit = self._timeout if timeout is None else timeout
        return opening.new_terms(self._pool, limit, when_interrupted, distinct)

    def _carried(
        self, operation: Steps[Row, Result], requests: Sequence[Request[Any]], terms: Terms
    ) -> Steps[Row, Result]:
        if workers.needs_worker(self._pool.protocol, requests):
            return workers.offload(operation, terms)
        return operation
