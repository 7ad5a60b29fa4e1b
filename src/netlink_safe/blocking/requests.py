"""Asking the kernel, in blocking code.

May call ``transport``, ``protocol``, ``blocking.waiting`` and ``errors``.
"""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Self

from netlink_safe.blocking.waiting import BUSY, Waiter, result
from netlink_safe.errors import BusyError, ClosedError
from netlink_safe.protocol.request import Request, Row
from netlink_safe.transport import opening, steps, workers
from netlink_safe.transport.locks import check_blocking_wait, held, waits
from netlink_safe.transport.terms import Wait

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from netlink_safe.protocol.statistics import SocketStatistics
    from netlink_safe.transport.gathering import Fold
    from netlink_safe.transport.pool import SocketPool
    from netlink_safe.transport.terms import Result, Steps, Terms, WhenInterrupted


class Dump(Generic[Row]):
    """The rows of a dump, as they come.

    Leaving it half-way, by ``break`` or by an exception, closes its kernel socket as soon as the
    last reference is gone; ``close()``, or ``with``, does it at once.
    Iterating raises what ``dump`` says: BusyError for a second thread at the same time, ClosedError
    once it was given up or has failed.
    """

    def __init__(self, operation: Steps[Row, None], terms: Terms, waiter: Waiter) -> None:
        self._batches = _Batches(operation, terms, waiter)

    def __iter__(self) -> Self:
        return self

    @waits
    def __next__(self) -> Row:
        if held:
            check_blocking_wait()
        for row in self._batches.rows:
            return row
        return self._batches.next_row()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the dump up and close its kernel socket; harmless when done twice.

        Where another thread waits for its rows, that one closes it when its wait is over; to end
        the wait as well, close the object that was asked.
        """
        self._batches.close()


class _Batches(Generic[Row]):
    """The rows that an operation yields, the clock standing still while the consumer has some."""

    def __init__(self, operation: Steps[Row, None], terms: Terms, waiter: Waiter) -> None:
        self._operation = operation
        self._terms = terms
        self._waiter = waiter
        self._advancing = threading.Lock()
        self._given_up = False
        self._ended = False
        self.rows: Iterator[Row] = iter(())

    def next_row(self) -> Row:
        """The first row of the next batch.  Raises StopIteration at the end."""
        if not self._advancing.acquire(blocking=False):
            raise BusyError(BUSY)
        self._terms.deadline.resume()
        try:
            for row in self.rows:  # of a batch that another thread has just fetched
                return row
            if self._ended:
                raise StopIteration
            self.check_not_given_up()
            for step in self._operation:
                if isinstance(step, Wait):
                    self._waiter.wait(step)
                    self.check_not_given_up()
                elif step:
                    self.rows = iter(step)
                    return next(self.rows)
            self._ended = True
        except StopIteration:
            raise
        except BaseException:  # Ctrl-C, too: nothing may be left to trip over
            self._given_up = True
            self._operation.close()
            raise
        finally:
            self._terms.deadline.pause()
            self._advancing.release()
        raise StopIteration

    def close(self) -> None:
        self._given_up = True
        self.rows = iter(())
        if self._advancing.acquire(blocking=False):
            try:
                self._operation.close()
            finally:
                self._advancing.release()

    def check_not_given_up(self) -> None:
        """Raise ClosedError for a dump that did not come to its end and never will."""
        if self._given_up:
            raise ClosedError("this dump was given up; ask again")


class Opened:
    """An opened object that asks the kernel; any number of threads may use it at once.

    Each exchange has a kernel socket of its own while it lasts.  ``timeout`` of a verb is for the
    whole of it, in seconds, above 0 (``math.inf`` waits for ever), and is the one given at opening
    unless said; verbs that are given the same ``Deadline`` share it.
    Whatever asks raises ClosedError once this is closed, LocalProtocolError in the child of a fork
    and for no timeout, and LockHeldError under a watched lock, a dump when it is iterated over.
    """

    @waits
    def __init__(self, pool: SocketPool, timeout: float) -> None:
        self._pool = pool
        self._timeout = timeout
        try:
            self._waiter = Waiter()
            terms = self._terms(None)
            terms.doing = "the opening of a netlink socket"
            self._result(steps.call(pool.open), (), terms)
        except BaseException:  # whatever it is, no descriptor may outlive it
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the kernel sockets; what another thread has under way ends in ClosedError.

        A dump whose rows are being taken closes its own when the next ones are asked for.
        """
        self._pool.close()
        if hasattr(self, "_waiter"):  # without descriptors to be had, there is none
            self._waiter.wake()

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

    def _result(
        self, operation: Steps[Any, Result], requests: Sequence[Request[Any]], terms: Terms
    ) -> Result:
        return result(self._carried(operation, requests, terms), self._waiter)

    def _carried(
        self, operation: Steps[Row, Result], requests: Sequence[Request[Any]], terms: Terms
    ) -> Steps[Row, Result]:
        if workers.needs_worker(self._pool, requests):
            return workers.offload(operation, terms)
        return operation


class RequestSocket(Opened):
    """An opened object that is asked in the words of a family; see ``Opened``."""

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
        ``requests`` are what a builder such as ``tcp_sockets`` returns: one, or several that are
        one question.
        ``when_interrupted`` says what to do where the kernel says that the table changed meanwhile:
        ``"retry"`` asks again, twice at most, and only while no row was handed out;
        ``"raise"`` raises DumpInterrupted, ``"accept"`` takes the rows as they are.
        ``distinct`` leaves out rows of a socket that was seen before in the same dump; it remembers
        an identity for each row.
        Raises LocalProtocolError for what is no request to this protocol, for an order, and for a
        word that ``when_interrupted`` has not; ClosedError; while iterating: NetlinkTimeout;
        KernelError (NotSupported where the kernel lacks it); OverrunError and DumpInterrupted where
        another attempt is not allowed, since rows were handed out, or was the last;
        LocalProtocolError where a filter names an interface or a cgroup that is not there, and
        where nothing tells the rows apart that are to be distinct; TruncatedError and DecodeError;
        BusyError where another task or thread takes the rows; ClosedError.
        """
        terms = self._terms(timeout, when_interrupted, distinct)
        return self._rows(opening.questions(self._pool, requests), terms)

    @waits
    def request(self, request: Request[Row], *, timeout: opening.Timeout | None = None) -> Row:
        """Ask for one row, or give an order, which has none.

        Raises as ``dump`` does; KernelError (ENOENT, or ENODEV of a link) where there is none;
        LocalProtocolError for a table and for several requests; RemoteProtocolError where the
        kernel acknowledges a question and gives no row.
        """
        terms = self._terms(timeout)
        with self._rows(opening.single(self._pool, request), terms) as dump:
            rows = list(dump)
        return opening.only_row(rows, request)

    @waits
    def fold(
        self,
        requests: opening.Requests[Any],
        new_fold: Callable[[], Fold],
        *,
        timeout: opening.Timeout | None = None,
        when_interrupted: WhenInterrupted = "retry",
    ) -> list[Fold]:
        """Ask, and let a fold of its own take the rows of each request; none is kept.

        ``new_fold`` makes one, see ``lowlevel.RowFold``; the folds are returned, one for each
        request that was answered.
        A fold starts again from zero with each attempt.
        ``when_interrupted`` is as in ``dump``, but no row is handed out, so that ``"retry"`` always
        may ask again.  Raises as ``dump`` does, and what a fold raises.
        """
        terms = self._terms(timeout, when_interrupted)
        listed = opening.questions(self._pool, requests)
        return self._result(steps.fold(self._pool, listed, terms, new_fold), listed, terms)

    @waits
    def read_proc_net(self, *names: str, timeout: opening.Timeout | None = None) -> list[str]:
        """Files of /proc/net as this object's network namespace has them; "" for none.

        ``names`` are paths below it, such as ``snmp``.
        Raises NetlinkTimeout, ClosedError, LocalProtocolError, OSError for what is no file.
        """
        terms = self._terms(timeout)
        terms.doing = f"/proc/net/{', '.join(map(str, names))}"
        reading = steps.call(partial(self._pool.namespace.read, names))
        return result(workers.offload(reading, terms), self._waiter)

    def _rows(self, listed: Sequence[Request[Row]], terms: Terms) -> Dump[Row]:
        terms.deadline.pause()
        operation = self._carried(steps.ask(self._pool, listed, terms), listed, terms)
        return Dump(operation, terms, self._waiter)
