"""An eventfd that may be written to by threads that come too late.

The number of a descriptor that is closed is another file's at once, and who is about to write to
it would write there.  So this one is closed when nobody has it any more, and whoever may write to
it has it.

May call ``transport.terms``.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from itertools import repeat
from typing import TYPE_CHECKING, Any, Final

from netlink_safe.transport.terms import Wait

if TYPE_CHECKING:
    from netlink_safe.protocol.deadline import Deadline
    from netlink_safe.transport.terms import Steps


_ONE: Final = repeat(1)


class Wakeup:
    """Readable once it was written to, until it is cleared.

    Who is about to sleep on it says so in ``announced``, from where one of those who have something
    to tell takes it and writes; so it is written to once for a sleep, however many they are.
    """

    def __init__(self) -> None:
        self.announced: deque[int] = deque()
        self._descriptor = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def fileno(self) -> int:
        """The descriptor, to wait on."""
        return self._descriptor

    def announce(self) -> None:
        """Say that somebody is about to sleep."""
        self.announced.append(self._descriptor)

    def wake(self) -> None:
        """Make it readable, if somebody said that he sleeps.

        One call into C takes what was said and writes: an exception of a signal's handler in
        between would leave a sleeper whom nobody wakes.
        """
        with contextlib.suppress(IndexError, BlockingIOError):
            next(map(os.eventfd_write, iter(self.announced.popleft, None), _ONE))

    def write(self) -> None:
        """Make it readable; never waits."""
        with contextlib.suppress(BlockingIOError):  # 2**64 - 1 times without a look: it is readable
            os.eventfd_write(self._descriptor, 1)

    def clear(self) -> None:
        """Make it unreadable, whether it was readable or not, and nobody asleep."""
        self.announced.clear()
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._descriptor)

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)


class Signal:
    """Something that one waits for, and another gives, once."""

    def __init__(self) -> None:
        self.is_given: bool = False
        self._wakeup: Wakeup | None = Wakeup()

    def give(self) -> None:
        """Let whoever waits go on; its descriptor goes when the last of them has."""
        self.is_given = True
        wakeup, self._wakeup = self._wakeup, None
        if wakeup is not None:
            wakeup.write()

    def wait(self, deadline: Deadline) -> Steps[Any, bool]:
        """Whether it was given in time."""
        wakeup = self._wakeup
        while not self.is_given and wakeup is not None and (left := deadline.remaining()) > 0:
            yield Wait(wakeup.fileno(), left)
        return self.is_given
