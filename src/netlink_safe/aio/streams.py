"""Listening, in async code.

May call ``transport``, ``protocol``, ``aio.waiting`` and ``errors``.
"""

from __future__ import annotations

from inspect import GEN_CLOSED, getgeneratorstate
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from netlink_safe.aio.waiting import AsyncBusyError, AsyncClosedError, Turn, Waiter, result
from netlink_safe.errors import ClosedError
from netlink_safe.protocol.figures import NotificationStatistics
from netlink_safe.transport.locks import check_async_wait, held, waits
from netlink_safe.transport.terms import Wait

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netlink_safe.transport.following import Follower
    from netlink_safe.transport.hearing import Hearing

Item = TypeVar("Item")


class Stream(Generic[Item]):
    """What a listening socket hears, for ``async for``; it has no end but ``aclose()``.

    Iterating may wait for ever, waking at each heartbeat to see whether anything was lost, unless
    ``idle_timeout`` ends it with NetlinkTimeout.  A wait that is cancelled loses no item.
    One task at a time takes items: another one gets BusyError.  Taking raises ClosedError once this
    is closed, LocalProtocolError before it is entered and in the child of a fork.
    """

    def __init__(self, hearing: Hearing) -> None:
        self._hearing = hearing
        hearing.closed_error = AsyncClosedError
        self._waiter = Waiter()
        self._steps = hearing.follow()
        self._items: Iterator[Item] = iter(())
        self._turn = Turn()
        self._advancing = False

    @waits
    async def __aenter__(self) -> Self:
        """Open the socket, and make ready what listening takes; what is wrong comes out now."""
        try:
            await result(self._hearing.open(), self._waiter)
        except BaseException:  # cancelled, too: no descriptor may outlive it
            await self.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    @waits
    async def __anext__(self) -> Item:
        if held:
            check_async_wait()
        for item in self._items:
            return item
        return await self._next(None)

    @waits
    async def receive(self, timeout: float | None = None) -> Item:
        """The next item, within ``timeout`` seconds, by default those given at the opening.

        They are above 0; ``math.inf`` waits for ever.
        Raises NetlinkTimeout, after which the next receive goes on as if nothing had been;
        ClosedError, BusyError; LocalProtocolError for no timeout, and as iterating does.
        """
        check_async_wait()
        for item in self._items:
            return item
        return await self._next(self._hearing.timeout if timeout is None else timeout)

    async def aclose(self) -> None:
        """Close the socket; a task that waits for the next item gets ClosedError."""
        self._hearing.end()
        self._items = iter(())
        self._waiter.wake()
        self._tidy_up()

    async def _next(self, timeout: float | None) -> Item:
        if self._advancing:
            raise AsyncBusyError
        self._advancing = True
        try:
            self._hearing.check_open()
            # Something was raised in them; what they know is the hearing's, and stays.
            if getgeneratorstate(self._steps) == GEN_CLOSED:
                self._steps = self._hearing.follow()
            patience = self._hearing.patience(timeout)
            for step in self._steps:
                if isinstance(step, Wait):
                    await self._waiter.wait(patience.shorten(step))
                    self._turn.taken()
                    continue
                self._items = iter(step)  # before any wait, where a cancellation would lose them
                await self._turn.give()
                for item in self._items:
                    return item
                patience.check()
            raise ClosedError("this listener has failed; open a new one")
        except ClosedError as error:
            raise AsyncClosedError(*error.args) from None
        finally:
            self._advancing = False
            self._tidy_up()

    def _tidy_up(self) -> None:
        """Once closed, give the descriptors back; whoever waits on one does it when it is over.

        Nobody else may: on asyncio a wait that is cancelled takes its number off the loop later,
        when it may be another file's already.
        """
        if self._hearing.closed and not self._advancing:
            self._steps.close()
            self._hearing.release()


class Subscription(Stream[Any]):
    """What the kernel tells by itself; see Stream for the verbs."""

    def __init__(self, follower: Follower) -> None:
        self._follower = follower
        super().__init__(follower)

    def statistics(self) -> NotificationStatistics:
        """What was heard and counted since the opening."""
        reader = self._follower.reader
        delivered = 0 if reader is None else reader.delivered
        return NotificationStatistics(**self._follower.counted(), items=delivered)
