"""Listening, in blocking code.

May call ``transport``, ``protocol``, ``blocking.waiting`` and ``errors``.
"""

from __future__ import annotations

import threading
from inspect import GEN_CLOSED, getgeneratorstate
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from netlink_safe.blocking.waiting import BUSY, Waiter, result
from netlink_safe.errors import BusyError, ClosedError
from netlink_safe.protocol.figures import NotificationStatistics
from netlink_safe.transport.locks import check_blocking_wait, held, waits
from netlink_safe.transport.terms import Wait

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netlink_safe.transport.following import Follower
    from netlink_safe.transport.hearing import Hearing

Item = TypeVar("Item")


class Stream(Generic[Item]):
    """What a listening socket hears, for ``for``; it has no end but ``close()``.

    Iterating may wait for ever, waking at each heartbeat to see whether anything was lost, unless
    ``idle_timeout`` ends it with NetlinkTimeout.
    One thread at a time takes items: another one gets BusyError; ``close()`` may come from any.
    Taking raises ClosedError once this is closed, LocalProtocolError in the child of a fork.
    """

    @waits
    def __init__(self, hearing: Hearing) -> None:
        self._hearing = hearing
        self._steps = hearing.follow()
        self._items: Iterator[Item] = iter(())
        self._advancing = threading.Lock()
        try:
            self._waiter = Waiter()
            result(hearing.open(), self._waiter)
        except BaseException:  # whatever it is, no descriptor may outlive it
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    @waits
    def __next__(self) -> Item:
        if held:
            check_blocking_wait()
        for item in self._items:
            return item
        return self._next(None)

    @waits
    def receive(self, timeout: float | None = None) -> Item:
        """The next item, within ``timeout`` seconds, by default those given at the opening.

        They are above 0; ``math.inf`` waits for ever.
        Raises NetlinkTimeout, after which the next receive goes on as if nothing had been;
        ClosedError, BusyError; LocalProtocolError for no timeout, and as iterating does.
        """
        check_blocking_wait()
        for item in self._items:
            return item
        return self._next(self._hearing.timeout if timeout is None else timeout)

    def close(self) -> None:
        """Close the socket; a thread that waits for the next item gets ClosedError."""
        self._hearing.end()
        self._items = iter(())
        if hasattr(self, "_waiter"):  # without descriptors to be had, there is none
            self._waiter.wake()
        self._tidy_up()

    def _next(self, timeout: float | None) -> Item:
        if not self._advancing.acquire(blocking=False):
            raise BusyError(BUSY)
        try:
            for item in self._items:  # of a batch that another thread has just fetched
                return item
            self._hearing.check_open()
            # Something was raised in them; what they know is the hearing's, and stays.
            if getgeneratorstate(self._steps) == GEN_CLOSED:
                self._steps = self._hearing.follow()
            patience = self._hearing.patience(timeout)
            for step in self._steps:
                if isinstance(step, Wait):
                    self._waiter.wait(patience.shorten(step))
                    continue
                self._items = iter(step)
                for item in self._items:
                    return item
                patience.check()
            raise ClosedError("this listener has failed; open a new one")
        finally:
            self._advancing.release()
            self._tidy_up()

    def _tidy_up(self) -> None:
        """Once closed, give the descriptors back; whoever has the steps now does it.

        Nobody else may: the number of a descriptor that is closed under a system call is another
        file's by then.
        """
        if self._hearing.closed and self._advancing.acquire(blocking=False):
            try:
                self._items = iter(())
                self._steps.close()
                self._hearing.release()
            finally:
                self._advancing.release()


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
