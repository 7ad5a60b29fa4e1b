"""An eventfd that may be written to by threads that come too late.

The number of a descriptor that is closed is another file's at once, and who is about to write to
it would write there.  So this one is closed when nobody has it any more, and whoever may write to
it has it.

May call ``transport.terms``.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

from netlink_safe.transport.terms import Wait

if TYPE_CHECKING:
    from netlink_safe.protocol.deadline import Deadline
    from netlink_safe.transport.terms import Steps


class Wakeup:
    """Readable once it was written to, until it is cleared."""

    def __init__(self) -> None:
        self._descriptor = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def fileno(self) -> int:
        """The descriptor, to wait on."""
        return self._descriptor

    def write(self) -> None:
        """Make it readable; never waits."""
        with contextlib.suppress(BlockingIOError):  # 2**64 - 1 times without a look: it is readable
            os.eventfd_write(self._descriptor, 1)

    def clear(self) -> None:
        """Make it unreadable, whether it was readable or not."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._descriptor)

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)


class Signal:
    """Something that one waits for, and another gives, once."""

    def __init__(self) -> None:
        self.is_given = False
        self._wakeup = Wakeup()

    def give(self) -> None:
        """Let whoever waits go on."""
        self.is_given = True
        self._wakeup.write()

    def wait(self, deadline: Deadline) -> Steps[Any, bool]:
        """Whether it was given in time."""
        while not self.is_given and (left := deadline.remaining()) > 0:
            yield Wait(self._wakeup.fileno(), left)
        return self.is_given
