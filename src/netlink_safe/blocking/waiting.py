"""How blocking code waits: in poll, with a limit, and woken when the object is closed.

May call ``transport`` and ``errors``.
"""

from __future__ import annotations

import math
import os
import select
import threading
from typing import TYPE_CHECKING, Any, Final

from netlink_safe.errors import ClosedError
from netlink_safe.transport.locks import check_blocking_wait
from netlink_safe.transport.terms import Wait

if TYPE_CHECKING:
    from netlink_safe.transport.terms import Result, Steps

BUSY: Final = "another thread is taking items from this already; one at a time may"


class Poll:
    """Waits for what nobody closes meanwhile; it needs no descriptor of its own."""

    def wait(self, wait: Wait) -> None:
        """Return when the descriptor is readable or the time is over."""
        _poll(wait)


class Waiter:
    """Waits for one opened object; ``wake`` ends every wait for good."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a signal handler may close what its thread waits for
        self._pid = os.getpid()
        self._waiting = 0
        self._awake = False
        self._wakeup = -1
        self._wakeup = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def wait(self, wait: Wait) -> None:
        """Return when the descriptor is readable or the time is over.

        Raises ClosedError once ``wake`` was called, before or meanwhile.
        """
        with self._lock:
            self.check_open()
            self._waiting += 1
        try:
            _poll(wait, self._wakeup)
        finally:
            with self._lock:
                self._waiting -= 1
                self._close_if_last()
        self.check_open()

    def check_open(self) -> None:
        """Raise ClosedError once ``wake`` was called."""
        if self._awake:
            raise ClosedError("this socket is closed; open a new one")

    def wake(self) -> None:
        """End every wait, now and later; harmless when done twice."""
        with self._lock:
            if self._awake:
                return
            self._awake = True
            if self._waiting and self._pid == os.getpid():  # a child must not wake its parent
                os.eventfd_write(self._wakeup, 1)
            self._close_if_last()

    def __del__(self) -> None:
        # Not where its making was interrupted, nor at the interpreter's end, which takes modules
        # away before the last objects, and descriptors by itself.
        if hasattr(self, "_wakeup") and os is not None:
            self.wake()

    def _close_if_last(self) -> None:
        if self._awake and not self._waiting:
            wakeup, self._wakeup = self._wakeup, -1  # once, also where a handler came in between
            if wakeup >= 0:
                os.close(wakeup)


def _poll(wait: Wait, *wakeups: int) -> None:
    poll = select.poll()
    for descriptor in (wait.descriptor, *wakeups):
        if descriptor is not None:
            poll.register(descriptor, select.POLLIN)
    # poll counts in milliseconds: rounding up cannot spin; who waits for more than twelve days
    # looks again after twelve
    limit = None if math.isinf(wait.seconds) else min(wait.seconds * 1000, 2**30)
    poll.poll(None if limit is None else math.ceil(limit))


def result(steps: Steps[Any, Result], waiter: Waiter | Poll) -> Result:
    """What an operation returns, waiting where it says so.  Raises LockHeldError."""
    check_blocking_wait()
    return carried(steps, waiter)


def carried(steps: Steps[Any, Result], waiter: Waiter | Poll) -> Result:
    """The same for a thread of the library's own, which holds no lock."""
    try:
        while True:
            step = next(steps)
            if isinstance(step, Wait):
                waiter.wait(step)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]  # StopIteration is not generic
    finally:
        steps.close()
