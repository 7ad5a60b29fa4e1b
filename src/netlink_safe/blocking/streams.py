"""Listening, in blocking code.

May call ``transport``, ``protocol``, ``blocking.waiting`` and ``errors``.
"""

from __future__ import annotations

import threading
from itertools import chain
from typing import TYPE_CHECKING, Generic, Self, TypeVar

from netlink_safe.blocking.waiting import Waiter, result
from netlink_safe.errors import BusyError, ClosedError
from netlink_safe.transport.terms import Wait

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netlink_safe.protocol.statistics import UeventStatistics
    from netlink_safe.transport.following import Follower

Item = TypeVar("Item")


class Stream(Generic[Item]):
    """What a listening socket hears, for ``for``; it has no end but ``close()``.

    Iterating may wait for ever, waking at each heartbeat to see whether anything was lost, unless
    ``idle_timeout`` ends it.  One thread at a time takes items; ``close()`` may come from any.
    """

    def __init__(self, follower: Follower) -> None:
        self._follower = follower
        try:
            self._batches: _Batches[Item] = _Batches(follower)
            self._items = chain.from_iterable(self._batches)
            result(follower.open(), self._batches.waiter)
        except BaseException:  # whatever it is, no descriptor may outlive it
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Item]:
        if self._batches.has_failed:  # which ended the chain, at a time when it held no items
            self._batches.has_failed = False
            self._items = chain.from_iterable(self._batches)
        return self._items

    def __next__(self) -> Item:
        return next(iter(self))

    def receive(self, timeout: float | None = None) -> Item:
        """The next item, within ``timeout`` seconds, by default those given at the opening.

        Raises NetlinkTimeout, after which the next receive goes on as if nothing had been;
        ClosedError.
        """
        self._batches.timeout = self._follower.listening.timeout if timeout is None else timeout
        try:
            return next(self)
        finally:
            self._batches.timeout = None

    def statistics(self) -> UeventStatistics:
        """What was heard and counted since the opening."""
        return self._follower.statistics()

    def close(self) -> None:
        """Close the socket; a thread that waits for the next item gets ClosedError."""
        self._follower.close()
        if hasattr(self, "_batches"):  # without descriptors to be had, there are none
            self._batches.close()


class _Batches(Generic[Item]):
    """Items as they come, several at a time."""

    def __init__(self, follower: Follower) -> None:
        self.waiter = Waiter()
        self.timeout: float | None = None
        self.has_failed = False
        self._follower = follower
        self._steps = follower.follow()
        self._advancing = threading.Lock()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> list[Item]:
        if not self._advancing.acquire(blocking=False):
            raise BusyError("iterated by another thread; one at a time takes items")
        try:
            self._follower.check_open()
            patience = self._follower.patience(self.timeout)
            for step in self._steps:
                if isinstance(step, Wait):
                    self.waiter.wait(patience.shorten(step))
                elif step:
                    return step
            raise ClosedError("this listener has failed; open a new one")
        except BaseException:
            self.has_failed = True
            raise
        finally:
            self._advancing.release()
            self._tidy_up()

    def close(self) -> None:
        """Wake whoever waits, and let go of what is under way."""
        self.waiter.wake()
        self._tidy_up()

    def _tidy_up(self) -> None:
        """Once closed, the steps are; whoever has them now does it."""
        if self._follower.closed and self._advancing.acquire(blocking=False):
            try:
                self._steps.close()
            finally:
                self._advancing.release()
