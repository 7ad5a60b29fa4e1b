"""``Outbox`` in async code: its pump is a task.

May call ``transport``, ``protocol``, ``aio.user``, ``aio.waiting`` and ``errors``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

import anyio

from netlink_safe.aio.waiting import AsyncClosedError, Waiter, carried, result
from netlink_safe.errors import ClosedError, LocalProtocolError
from netlink_safe.protocol.deadline import checked_timeout
from netlink_safe.transport.locks import check_async_wait, waits
from netlink_safe.transport.outbox import Posts

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from anyio.abc import TaskGroup

    from netlink_safe.aio.user import User
    from netlink_safe.protocol.backlog import WhenFull
    from netlink_safe.protocol.message import Undelivered


class Outbox(Posts):
    """Hands messages to other processes over without waiting, whatever the poster holds.

    For ``async with``, whose pump sends in order for each peer; what finds its peer full is tried
    again after pauses, and holds up no other peer.  Posting is allowed before, too.

    ``capacity``, from 1, is how many messages are held at most: those not yet taken, those whose
    peer is full, and the one being sent.  It may be passed by one for each thread that posts at the
    same moment.  ``when_full`` says what happens then: ``"drop_oldest"``, ``"drop_newest"``, or
    ``"raise"`` OutboxFull.
    ``deadline`` is how long, in seconds, above 0, a message may be held; later it is given up.
    ``on_undelivered`` is called with an Undelivered for each message that is given up, in the
    pump's task, which waits for it: it is a plain function, and quick.  What it raises is logged.
    ``user`` sends the messages, so that they have its port ID; else the outbox opens a socket of
    its own on NETLINK_USERSOCK.
    Raises LocalProtocolError for nonsense, for a user that is not entered, and in a free-threaded
    build; ClosedError for a user that is closed; OSError, NotSupported.  Entering it raises
    ClosedError once it is closed, LocalProtocolError for a second time.
    """

    closed_error: ClassVar[type[ClosedError]] = AsyncClosedError

    def __init__(
        self,
        capacity: int = 1024,
        when_full: WhenFull = "drop_oldest",
        deadline: float = 30.0,
        on_undelivered: Callable[[Undelivered], object] | None = None,
        *,
        user: User | None = None,
    ) -> None:
        super().__init__(capacity, when_full, deadline, on_undelivered, user=user)
        self._waiter = Waiter()
        self._tasks: TaskGroup | None = None

    @waits
    async def __aenter__(self) -> Self:
        """Start the pump."""
        try:
            check_async_wait()
        except BaseException:
            if not self.statistics().held:  # nobody will close it, and nobody has to be told
                self._pump.end()
            raise
        if self._pump.is_over:
            raise AsyncClosedError("this outbox is closed; open a new one")
        if self._tasks is not None:
            raise LocalProtocolError("this outbox was entered already; open one for each task")
        self._tasks = await anyio.create_task_group().__aenter__()
        self._tasks.start_soon(self._run)
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        """Close, but without waiting where the body was cancelled.

        An error of the body is its own, and does not come out in a group.
        """
        try:
            if error is None or isinstance(error, Exception):
                await self.aclose()
        finally:
            self._pump.give_up()
            try:
                if self._tasks is not None:
                    await self._tasks.__aexit__(None, None, None)
            finally:  # where it never ran, or was interrupted as it ended
                self._pump.end()

    @waits
    async def flush(self, timeout: float = 5.0) -> None:
        """Wait until all that was posted before has been sent, dropped or given up.

        Raises NetlinkTimeout after ``timeout`` seconds, above 0, which says how much is held and
        who is full; it is still held.  ClosedError; LocalProtocolError for no timeout, before the
        outbox is entered, and in the child of a fork.
        """
        if self._tasks is None:
            raise LocalProtocolError("nothing is sent before this outbox is entered: 'async with'")
        await result(self._pump.flush(checked_timeout(timeout)), self._waiter)

    @waits
    async def aclose(self, timeout: float = 5.0) -> None:
        """Refuse posts, wait until all has been sent, and after ``timeout`` seconds give up.

        They are above 0; ``math.inf`` waits for ever.
        What is held then is tried once more, and else is undelivered, counted, and told to
        ``on_undelivered``.  Harmless when done twice.  Raises LocalProtocolError for no timeout.
        """
        check_async_wait()
        limit = checked_timeout(timeout)
        if self._tasks is None:
            self._pump.end()
        else:
            await result(self._pump.close(limit), self._waiter)

    async def _run(self) -> None:
        try:
            await carried(self._pump.run(), self._waiter)
        except anyio.get_cancelled_exc_class():
            # Whoever was cancelled is told so by the event loop; raised in here it would replace
            # the body's own error.
            return
        finally:
            self._pump.end()
