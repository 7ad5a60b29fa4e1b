"""Asking the kernel, in async code.

Steps that take long are made in worker threads: a send may load a module, and a receive of a dump
may walk a large table in search of its next row, for milliseconds in which no other task would run.

May call ``transport``, ``protocol``, ``aio.waiting`` and ``errors``.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Self

import anyio

from netlink_safe.aio.waiting import AsyncBusyError, AsyncClosedError, Turn, Waiter, result
from netlink_safe.errors import ClosedError
from netlink_safe.protocol.request import Request, Row
from netlink_safe.transport import opening, steps
from netlink_safe.transport.locks import check_async_wait, held, waits
from netlink_safe.transport.terms import Wait
from netlink_safe.transport.workers import needs_worker, offload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from netlink_safe.protocol.statistics import SocketStatistics
    from netlink_safe.transport.gathering import Fold
    from netlink_safe.transport.pool import SocketPool
    from netlink_safe.transport.terms import Steps, Terms, WhenInterrupted


class Dump(Generic[Row]):
    """The rows of a dump, as they come, for ``async for``.

    Leaving it half-way, by ``break``, by an exception or by cancellation, closes its kernel socket
    as soon as the last reference is gone; ``aclose()``, or ``async with``, does it at once.
    Iterating raises what ``dump`` says: BusyError for a second task at the same time, ClosedError
    once it was given up or has failed.
    """

    def __init__(self, operation: Steps[Row, None], terms: Terms, waiter: Waiter) -> None:
        self._operation = operation
        self._terms = terms
        self._waiter = waiter
        self._turn = Turn()
        self._advancing = False
        self._given_up = False
        self._ended = False
        self._wait_scope: anyio.CancelScope | None = None
        self._rows: Iterator[Row] = iter(())

    def __aiter__(self) -> Self:
        return self

    @waits
    async def __anext__(self) -> Row:
        if held:
            check_async_wait()
        while True:
            for row in self._rows:
                return row
            self._rows = iter(await self._next_batch())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Give the dump up and close its kernel socket; never waits, harmless when done twice.

        A task that waits for its rows meanwhile, or asks for more later, gets ClosedError.
        """
        self._rows = iter(())
        self._given_up = True
        if self._wait_scope is not None:
            self._wait_scope.cancel()  # the task that waits on the descriptor is to close it
        else:
            self._operation.close()

    async def _next_batch(self) -> list[Row]:
        if self._advancing:
            raise AsyncBusyError
        self._advancing = True
        deadline = self._terms.deadline
        deadline.resume()
        try:
            if not self._ended:
                self._check_not_given_up()
            for step in self._operation:
                if isinstance(step, Wait):
                    await self._wait(step)
                else:
                    await self._turn.give()
                    self._check_not_given_up()
                    if step:
                        return step
            self._ended = True
        except BaseException as error:  # cancelled, too: nothing may be left to trip over
            self._given_up = True
            self._operation.close()
            if isinstance(error, ClosedError):
                raise AsyncClosedError(*error.args) from None
            raise
        finally:
            deadline.pause()
            self._advancing = False
        raise StopAsyncIteration

    async def _wait(self, wait: Wait) -> None:
        try:
            with anyio.CancelScope() as self._wait_scope:
                await self._waiter.wait(wait)
        finally:
            self._wait_scope = None
        self._check_not_given_up()
        self._turn.taken()

    def _check_not_given_up(self) -> None:
        if self._given_up:
            raise ClosedError("this dump was given up; ask again")


class Opened:
    """An opened object that asks the kernel; any number of tasks may use it at once.

    Each exchange has a kernel socket of its own while it lasts.  ``timeout`` of a verb is for the
    whole of it, in seconds, above 0 (``math.inf`` waits for ever), and is the one given at opening
    unless said; verbs that are given the same ``Deadline`` share it.
    Whatever asks raises ClosedError once this is closed, LocalProtocolError in the child of a fork
    and for no timeout, and LockHeldError under a watched lock, a dump when it is iterated over.
    """

    def __init__(self, pool: SocketPool, timeout: float) -> None:
        self._pool = pool
        self._timeout = timeout
        self._waiter = Waiter()
        pool.closed_error = AsyncClosedError

    @waits
    async def __aenter__(self) -> Self:
        """Open the first kernel socket, so that what is wrong comes out now."""
        terms = self._terms(None)
        terms.doing = "the opening of a netlink socket"
        opening_it = steps.call(self._pool.open)
        if needs_worker(self._pool, ()):
            opening_it = offload(opening_it, terms)
        try:
            await result(opening_it, self._waiter)
            await anyio.lowlevel.checkpoint()  # a quick one waits for nothing, and others must run
        except BaseException:  # cancelled, too: no descriptor may outlive it
            await self.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the kernel sockets; what another task has under way ends in ClosedError.

        A dump whose rows are being taken closes its own when the next ones are asked for.
        """
        self._pool.close()
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
    async def request(
        self, request: Request[Row], *, timeout: opening.Timeout | None = None
    ) -> Row:
        """Ask for one row, or give an order, which has none.

        Raises as ``dump`` does; KernelError (ENOENT, or ENODEV of a link) where there is none;
        LocalProtocolError for a table and for several requests; RemoteProtocolError where the
        kernel acknowledges a question and gives no row.
        """
        terms = self._terms(timeout)
        async with self._rows(opening.single(self._pool, request), terms) as dump:
            rows = [row async for row in dump]
        return opening.only_row(rows, request)

    @waits
    async def fold(
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
        A fold starts again from zero with each attempt; it works here or in a worker thread.
        ``when_interrupted`` is as in ``dump``, but no row is handed out, so that ``"retry"`` always
        may ask again.  Raises as ``dump`` does, and what a fold raises.
        """
        terms = self._terms(timeout, when_interrupted)
        operation = steps.fold(self._pool, opening.questions(self._pool, requests), terms, new_fold)
        return await result(offload(operation, terms), self._waiter)

    @waits
    async def read_proc_net(self, *names: str, timeout: opening.Timeout | None = None) -> list[str]:
        """Files of /proc/net as this object's network namespace has them; "" for none.

        ``names`` are paths below it, such as ``snmp``.
        Raises NetlinkTimeout, ClosedError, LocalProtocolError, OSError for what is no file.
        """
        terms = self._terms(timeout)
        terms.doing = f"/proc/net/{', '.join(map(str, names))}"
        reading = steps.call(partial(self._pool.namespace.read, names))
        return await result(offload(reading, terms), self._waiter)

    def _rows(self, listed: Sequence[Request[Row]], terms: Terms) -> Dump[Row]:
        terms.deadline.pause()
        return Dump(offload(steps.ask(self._pool, listed, terms), terms), terms, self._waiter)
