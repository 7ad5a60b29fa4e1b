"""Calls that overlap share one run.

May call ``transport.forks`` and ``errors``.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from netlink_safe.errors import NetlinkTimeout
from netlink_safe.transport.forks import tell_of_forks

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

#: By how many seconds who runs it may be late, who has begun before.
GRACE: Final = 0.25


class Shared(Generic[T]):
    """Runs a function of a timeout; who comes meanwhile with the same timeout takes its result.

    One with another timeout runs it for itself: nobody waits longer than it wants to, and nobody is
    given up sooner since somebody else has less time.
    """

    def __init__(self, function: Callable[[float], T]) -> None:
        self._function = function
        self.forked()
        tell_of_forks(self)

    def forked(self) -> None:
        """Start anew: whoever runs it in the parent does not do so in the child."""
        self._lock = threading.Lock()
        self._running: dict[float, Future[T]] = {}

    def result(self, timeout: float) -> T:
        """What it returns or raises, within ``timeout`` seconds.  Raises NetlinkTimeout."""
        own: Future[T] = Future()
        try:
            with self._lock:
                running = self._running.setdefault(timeout, own)
            if running is own:
                own.set_result(self._function(timeout))
            elif not wait([running], min(timeout + GRACE, threading.TIMEOUT_MAX)).done:
                raise NetlinkTimeout("the scrape that was under way", timeout)
            return running.result()
        except BaseException as error:
            if not own.done():
                own.set_exception(_for_others(error, timeout))
            raise
        finally:
            with self._lock:
                if self._running.get(timeout) is own:
                    del self._running[timeout]


def _for_others(error: BaseException, timeout: float) -> Exception:
    """What those get who shared the run: what interrupts one thread is not theirs."""
    if isinstance(error, Exception):
        return error
    return NetlinkTimeout("the scrape that was under way, which was interrupted", timeout)
