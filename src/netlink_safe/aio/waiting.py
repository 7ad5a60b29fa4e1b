"""How async code waits: for a descriptor, with a limit, cancellable at any time.

May call ``transport`` and ``errors``.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import anyio

from netlink_safe.errors import BusyError, ClosedError
from netlink_safe.transport.locks import check_async_wait
from netlink_safe.transport.terms import Wait

if TYPE_CHECKING:
    from netlink_safe.transport.terms import Result, Steps

#: How long, in seconds, an operation may go on before other tasks have their turn.
TURN: Final = 0.001


class AsyncClosedError(ClosedError, anyio.ClosedResourceError):
    """ClosedError, as anyio's programs know it too."""


class AsyncBusyError(BusyError, anyio.BusyResourceError):
    """BusyError, as anyio's programs know it too."""

    def __init__(self) -> None:
        text = "another task is taking items from this already; one at a time may"
        Exception.__init__(self, text)  # not anyio's own, which makes a sentence of a word


class Waiter:
    """Waits for one opened object; ``wake`` ends every wait for good."""

    def __init__(self) -> None:
        self._scopes: set[anyio.CancelScope] = set()
        self._awake = False

    async def wait(self, wait: Wait) -> None:
        """Return when the descriptor is readable or the time is over.

        Raises ClosedError once ``wake`` was called, before or meanwhile.
        """
        self.check_open()
        with anyio.move_on_after(wait.seconds) as scope:
            self._scopes.add(scope)
            try:
                if wait.descriptor is None:
                    await anyio.sleep_forever()
                else:
                    await anyio.wait_readable(wait.descriptor)
            finally:
                self._scopes.discard(scope)
        self.check_open()

    def check_open(self) -> None:
        """Raise ClosedError once ``wake`` was called."""
        if self._awake:
            raise ClosedError("this socket is closed; open a new one")

    def wake(self) -> None:
        """End every wait, now and later; harmless when done twice."""
        self._awake = True
        for scope in self._scopes:
            scope.cancel()


class Turn:
    """Whether it is time to let other tasks run."""

    def __init__(self) -> None:
        self._since = time.monotonic()

    async def give(self) -> None:
        """Let them, if this task has had its millisecond."""
        if time.monotonic() - self._since >= TURN:
            await anyio.lowlevel.checkpoint()
            self._since = time.monotonic()

    def taken(self) -> None:
        """This task has just waited, which let them too."""
        self._since = time.monotonic()


async def result(steps: Steps[Any, Result], waiter: Waiter) -> Result:
    """What an operation returns, waiting where it says so.  Raises LockHeldError."""
    check_async_wait()
    return await carried(steps, waiter)


async def carried(steps: Steps[Any, Result], waiter: Waiter) -> Result:
    """The same for a task of the library's own, which holds no lock."""
    turn = Turn()
    try:
        while True:
            step = next(steps)
            if isinstance(step, Wait):
                await waiter.wait(step)
                turn.taken()
            else:
                await turn.give()
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]  # StopIteration is not generic
    except ClosedError as error:
        raise AsyncClosedError(*error.args) from None
    finally:
        steps.close()
