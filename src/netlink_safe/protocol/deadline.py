"""Time that an operation may take, counted only while the library itself is at work.

May call ``errors``.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from netlink_safe.errors import LocalProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable


def checked_timeout(timeout: float, name: str = "timeout") -> float:
    """The timeout in seconds, above 0; ``math.inf`` waits for ever.

    Raises LocalProtocolError, by the parameter's name, for everything else, None and booleans
    among them.
    """
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):
        raise LocalProtocolError(
            f"{name}={timeout!r} is no number of seconds; to wait for ever, say math.inf"
        )
    if not timeout > 0:
        raise LocalProtocolError(
            f"{name}={timeout!r} must be above 0 seconds; to wait for ever, say math.inf"
        )
    try:
        return float(timeout)
    except OverflowError:
        raise LocalProtocolError(f"{name} is too large a number; say math.inf") from None


class Deadline:
    """A limit that stands still while the consumer has the rows.

    ``timeout`` is in seconds, above 0; ``math.inf`` waits for ever.  ``clock`` tells the time, in
    seconds from anywhere.  It counts from the start; several operations may be given one.
    Raises LocalProtocolError for no number of seconds.
    """

    def __init__(self, timeout: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.timeout: float = checked_timeout(timeout)
        self._clock = clock
        self._spent = 0.0
        self._running_since: float | None = clock()

    def remaining(self) -> float:
        """Seconds left; 0 once the deadline has passed."""
        return max(self.timeout - self.spent(), 0.0)

    def spent(self) -> float:
        """Seconds counted so far."""
        running = 0.0 if self._running_since is None else self._clock() - self._running_since
        return self._spent + running

    def part(self) -> Deadline:
        """The same limit for one of several operations that share it.

        It has spent what was spent until now, and stands still or counts on by itself, so that
        one operation cannot stop the other's clock.
        """
        part = Deadline(self.timeout, self._clock)
        part._spent = self.spent()
        return part

    def pause(self) -> None:
        """Stop counting: the consumer has the floor."""
        self._spent = self.spent()
        self._running_since = None

    def resume(self) -> None:
        """Count on."""
        if self._running_since is None:
            self._running_since = self._clock()


def given_up_at(remaining: float) -> float:
    """The seconds that are left when a silent attempt is given up for another: half of those now.

    For ever is no time to halve: without a deadline the first attempt is the only one.
    """
    return 0.0 if math.isinf(remaining) else remaining / 2
