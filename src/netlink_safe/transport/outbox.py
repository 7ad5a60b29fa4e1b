"""An outbox as posters see it: messages are handed over without waiting, whatever the poster holds.

A post is an ``append`` to the ring, and a look whether the pump is to be woken; see
``protocol.backlog`` for why that needs no lock, and ``transport.pump`` for the other side.

May call ``transport``, ``protocol``, ``wire`` and ``errors``.
"""

from __future__ import annotations

import sys
import time
import warnings
from typing import TYPE_CHECKING, ClassVar, Final, get_args

from netlink_safe.errors import ClosedError, LocalProtocolError
from netlink_safe.protocol.backlog import Backlog, WhenFull
from netlink_safe.protocol.deadline import checked_timeout
from netlink_safe.transport.buffers import FLOOR
from netlink_safe.transport.census import enter_outbox
from netlink_safe.transport.forks import check_not_forked, forks
from netlink_safe.transport.messaging import SendsNow, UserEnd, check_payload, checked_number
from netlink_safe.transport.pump import GRACE, Pump
from netlink_safe.wire.constants import NETLINK_USERSOCK

if TYPE_CHECKING:
    from collections.abc import Callable

    from netlink_safe.protocol.backlog import Message
    from netlink_safe.protocol.figures import OutboxStatistics
    from netlink_safe.protocol.message import Undelivered

LARGEST_PORT: Final = 2**32 - 1


class Posts:
    """The verbs of an outbox that never wait, and so are the same on both surfaces."""

    #: What a surface calls it.
    closed_error: ClassVar[type[ClosedError]] = ClosedError

    def __init__(
        self,
        capacity: int = 1024,
        when_full: WhenFull = "drop_oldest",
        deadline: float = 30.0,
        on_undelivered: Callable[[Undelivered], object] | None = None,
        *,
        user: SendsNow | None = None,
    ) -> None:
        checked_number("capacity", capacity, 1, sys.maxsize)
        checked_timeout(deadline, "deadline")
        if when_full not in get_args(WhenFull):
            choices = ", ".join(get_args(WhenFull))
            raise LocalProtocolError(f"when_full={when_full!r} is none of {choices}")
        if on_undelivered is not None and not callable(on_undelivered):
            raise LocalProtocolError(f"on_undelivered={on_undelivered!r} cannot be called")
        if on_undelivered is not None and _is_awaited(on_undelivered):
            raise LocalProtocolError(
                f"on_undelivered={on_undelivered!r} would have to be awaited; give a plain function"
            )
        if user is not None and not isinstance(user, SendsNow):
            raise LocalProtocolError(f"user={user!r} was not opened by open_user()")
        if not _has_gil():
            raise LocalProtocolError(
                "an Outbox needs no lock because the interpreter has one, which this free-threaded "
                "build has not; run it with PYTHON_GIL=1"
            )
        self._forks = forks()
        self._backlog = Backlog(capacity, when_full)
        end = _opened() if user is None else user._end
        try:
            self._largest = end.largest
            self._pump = Pump(end, user is None, self._backlog, deadline, on_undelivered)
            enter_outbox(self._pump, self._backlog)
        except BaseException:  # whatever it is, no descriptor may outlive it
            if user is None:
                end.end()
                end.release()
            raise

    def post(self, payload: bytes, *, port_id: int) -> None:
        """Hand a message over; never waits, takes no lock, and may be called under any.

        From any thread or task, and from a signal's handler; with an event loop or without, before
        the outbox is entered, too, and in ``on_undelivered``.
        ``payload`` has from 1 byte to SO_SNDBUF less 32 (``net/netlink/af_netlink.c``:
        netlink_sendmsg), ``port_id`` is from 1 to 2**32 - 1.
        Raises OutboxFull if ``when_full`` is ``"raise"``; ClosedError; LocalProtocolError for what
        is no bytes, empty, larger than our send buffer, or no port ID, and in a forked child.
        """
        if (
            payload.__class__ is not bytes
            or not 0 < len(payload) <= self._largest
            or port_id.__class__ is not int
            or not 0 < port_id <= LARGEST_PORT
        ):
            check_payload(payload, self._largest)
            checked_number("port_id", port_id, 1, LARGEST_PORT)
            payload = bytes(payload)  # it may change before it is sent
        backlog = self._backlog
        if len(backlog.ring) >= backlog.room and not self._may_append():
            return
        message = payload, port_id, _now()
        try:
            backlog.ring.append(message)
            if backlog.sleepers:
                self._wake_pump(message)
        finally:  # also where a signal's handler raises in between, for it is posted then
            if backlog.sleepers:
                self._wake_pump(message)

    def statistics(self) -> OutboxStatistics:
        """What became of what was posted."""
        return self._backlog.statistics(_now())

    def __del__(self) -> None:
        if "_pump" not in self.__dict__ or self._pump.is_over or self._forks != forks():
            return
        self._pump.give_up()
        held = self.statistics().held
        warnings.warn(
            f"an outbox was never closed, and held {held} messages",
            ResourceWarning,
            stacklevel=2,
            source=self,
        )

    def _may_append(self) -> bool:
        check_not_forked(self._forks)
        if self._backlog.is_closed:
            raise self.closed_error("this outbox is closed; open a new one")
        return self._backlog.make_room()

    def _wake_pump(self, message: Message) -> None:
        """Have the pump look at the ring; where it has ended meanwhile, nothing was posted."""
        pump = self._pump
        wakeup = pump.wakeup  # held while it is written to: it may go meanwhile
        if wakeup is not None:
            wakeup.wake()
        if pump.is_over and self._backlog.take_back(message):
            raise self.closed_error("this outbox was closed meanwhile; open a new one")


_now = time.monotonic


def _opened() -> UserEnd:
    """A socket of the outbox's own, that nobody is meant to send to."""
    end = UserEnd(NETLINK_USERSOCK, None, (), GRACE, FLOOR, None)
    end.open_here()
    return end


def _is_awaited(function: Callable[..., object]) -> bool:
    from inspect import iscoroutinefunction

    return iscoroutinefunction(function)


def _has_gil() -> bool:
    return bool(getattr(sys, "_is_gil_enabled", lambda: True)())
