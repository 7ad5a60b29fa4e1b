"""``Outbox`` in blocking code: its pump is a thread.

May call ``transport``, ``protocol``, ``blocking.user``, ``blocking.waiting`` and ``errors``.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Self

from netlink_safe.blocking.waiting import Poll, carried, result
from netlink_safe.errors import LocalProtocolError
from netlink_safe.protocol.deadline import checked_timeout
from netlink_safe.transport.forks import forks
from netlink_safe.transport.locks import check_blocking_wait, waits
from netlink_safe.transport.outbox import Posts
from netlink_safe.transport.pump import GRACE, Pump

if TYPE_CHECKING:
    from collections.abc import Callable

    from netlink_safe.blocking.user import User
    from netlink_safe.protocol.backlog import WhenFull
    from netlink_safe.protocol.message import Undelivered


class Outbox(Posts):
    """Hands messages to other processes over without waiting, whatever the poster holds.

    Its pump, a daemon thread that starts at once, sends in order for each peer; what finds its peer
    full is tried again after pauses, and holds up no other peer.

    ``capacity``, from 1, is how many messages are held at most: those not yet taken, those whose
    peer is full, and the one being sent.  It may be passed by one for each thread that posts at the
    same moment.  ``when_full`` says what happens then: ``"drop_oldest"``, ``"drop_newest"``, or
    ``"raise"`` OutboxFull.
    ``deadline`` is how long, in seconds, above 0, a message may be held; later it is given up.
    ``on_undelivered`` is called with an Undelivered for each message that is given up, in the
    pump's thread, which waits for it: it is a plain function.  What it raises is logged.
    ``user`` sends the messages, so that they have its port ID; else the outbox opens a socket of
    its own on NETLINK_USERSOCK.
    Raises LocalProtocolError for nonsense and in a free-threaded build; ClosedError for a user that
    is closed; OSError, NotSupported; RuntimeError where there is no thread to be had.
    """

    @waits
    def __init__(
        self,
        capacity: int = 1024,
        when_full: WhenFull = "drop_oldest",
        deadline: float = 30.0,
        on_undelivered: Callable[[Undelivered], object] | None = None,
        *,
        user: User | None = None,
    ) -> None:
        check_blocking_wait()
        super().__init__(capacity, when_full, deadline, on_undelivered, user=user)
        self._thread = threading.Thread(
            target=_run, args=(self._pump,), name="netlink_safe outbox", daemon=True
        )
        try:
            self._thread.start()
        except BaseException:  # no thread to be had, or Ctrl-C as it started
            (self._pump.give_up if self._thread.is_alive() else self._pump.end)()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.close()
        except BaseException:  # a lock is held, or Ctrl-C
            self._pump.give_up()
            raise

    @waits
    def flush(self, timeout: float = 5.0) -> None:
        """Wait until all that was posted before has been sent, dropped or given up.

        Raises NetlinkTimeout after ``timeout`` seconds, above 0, which says how much is held and
        who is full; it is still held.  ClosedError; LocalProtocolError for no timeout, in
        ``on_undelivered``, and in the child of a fork.
        """
        self._check_not_the_pump()
        result(self._pump.flush(checked_timeout(timeout)), Poll())

    @waits
    def close(self, timeout: float = 5.0) -> None:
        """Refuse posts, wait until all has been sent, and after ``timeout`` seconds give up.

        They are above 0; ``math.inf`` waits for ever.
        What is held then is tried once more, and else is undelivered, counted, and told to
        ``on_undelivered``, in which this raises LocalProtocolError, as it does for no timeout.
        Harmless when done twice, and in a forked child, where it does nothing.
        """
        check_blocking_wait()
        limit = checked_timeout(timeout)
        if self._forks != forks():
            return
        self._check_not_the_pump()
        result(self._pump.close(limit), Poll())
        if self._pump.is_over:
            self._thread.join(GRACE)

    def _check_not_the_pump(self) -> None:
        if threading.current_thread() is self._thread:
            raise LocalProtocolError("on_undelivered, called by the pump, cannot wait for it")


def _run(pump: Pump) -> None:
    try:
        carried(pump.run(), Poll())
    finally:  # where it never ran, or was interrupted as it ended
        pump.end()
