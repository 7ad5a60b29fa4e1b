"""Faults on demand, real ones: what the library promises to survive, for your own tests.

::

    with faults.lose(NLMSG_DONE):              # the first story: a dump without an end
        with pytest.raises(NetlinkTimeout):
            collect_blocking(timeout=0.5)

Most of them concern the library's own sockets to the kernel, those of every thread, as long as the
body lasts: those that it opens meanwhile, and those that it has and uses meanwhile.
They are made by the kernel itself, with a socket filter or a queue that is really full, so that
what is tested is what happens.

May call ``testing.filters``, ``transport``, ``wire`` and ``errors``.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import threading
import weakref
from typing import TYPE_CHECKING, Final

from netlink_safe.errors import LocalProtocolError, NotSupported
from netlink_safe.testing.filters import DEAF, attach, checked, detach, losing
from netlink_safe.transport.kernel import InFront

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from netlink_safe.testing.filters import Program
    from netlink_safe.transport.bursts import BurstBuffer
    from netlink_safe.transport.kernel import End, Received
    from netlink_safe.wire.datagram import Burst

#: What setsockopt makes the smallest buffer that there is (``net/core/sock.c``: SOCK_MIN_RCVBUF).
SMALLEST: Final = 1
FAIL_NTH: Final = "/proc/thread-self/fail-nth"
LOOPBACK: Final = "devices/virtual/net/lo/uevent"


def lose(
    message_type: int, *, sockets: int | None = None
) -> contextlib.AbstractContextManager[None]:
    """Lose the datagrams whose first message is of this type, such as NLMSG_DONE or NLMSG_ERROR.

    ``message_type`` is from 0 to 65535.
    ``sockets`` is how many sockets are concerned, from 0, the first ones that are used; all of them
    unless it is said.
    Raises LocalProtocolError for no such numbers.
    """
    return filtered(losing(message_type), sockets=sockets)


def deaf(*, sockets: int | None = None) -> contextlib.AbstractContextManager[None]:
    """Lose every datagram; ``sockets`` as in ``lose``, LocalProtocolError for no such number."""
    return filtered(DEAF, sockets=sockets)


def filtered(
    program: Program, *, sockets: int | None = None
) -> contextlib.AbstractContextManager[None]:
    """Have a socket filter of your own look at every datagram; ``sockets`` as in ``lose``.

    ``program`` is as in ``filters.attach``, whose OSError is raised where a socket is used.
    Raises LocalProtocolError for what is no program, and for no number of sockets.
    """
    return _Filtering(checked(program), sockets).in_place()


def lose_after(
    datagrams: int, *, sockets: int | None = None
) -> contextlib.AbstractContextManager[None]:
    """Let so many datagrams reach a socket, and lose all that come behind them.

    With 1 a dump gives its first rows and then neither more nor an end.  ``sockets`` as in
    ``lose``.
    Raises LocalProtocolError for no number of them, from 0.
    """
    _check("datagrams", datagrams)
    return _LosingAfter(datagrams, sockets).in_place()


def _check(name: str, number: int) -> None:
    if isinstance(number, bool) or not isinstance(number, int) or number < 0:
        raise LocalProtocolError(f"{name}={number!r} is no whole number from 0 on")


class Stall:
    """A call that the kernel holds up: ``entered`` is set once one is, ``release`` lets all go."""

    def __init__(self) -> None:
        self.entered: threading.Event = threading.Event()
        self.release: threading.Event = threading.Event()


@contextlib.contextmanager
def held_up() -> Iterator[Stall]:
    """Hold up every opening of a socket and every request, as a module's loading or rtnl_lock may.

    The kernel gives no way to do this to it, so that it is done just before the system call, where
    the library cannot tell the difference; and of every one as if it were the first of its kind in
    this process, since others come back at once.
    """
    stall = Stall()
    with _HoldingUp(stall).in_place():
        try:
            yield stall
        finally:
            stall.release.set()


@contextlib.contextmanager
def overrun(sysfs: str = "/sys") -> Iterator[Callable[[int], None]]:
    """Open every socket with the smallest receive buffer there is, and yield a storm of uevents.

    It is a function of how many events, by default 50, which returns when they have been sent.
    A storm of 50 leaves a listener that does not read meanwhile two events and a loss.
    It takes the right to write to ``devices/virtual/net/lo/uevent`` in ``sysfs``, which is to be
    that of the network namespace that is listened in: OSError, of the storm, where there is none.
    """

    def storm(events: int = 50) -> None:
        for _ in range(events):
            with open(os.path.join(sysfs, LOOPBACK), "w", encoding="ascii") as file:
                file.write("add")

    with _Shrinking().in_place():
        yield storm


@contextlib.contextmanager
def blocked_allocation(number: int = 1) -> Iterator[None]:
    """Have the ``number``-th allocation of the calling thread in the kernel fail, from 1 on.

    Raises NotSupported where the kernel was built without CONFIG_FAULT_INJECTION, as most are, and
    PermissionError without CAP_SYS_RESOURCE (``lib/fault-inject.c``: should_fail_ex).
    """
    try:
        descriptor = os.open(FAIL_NTH, os.O_WRONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise NotSupported(errno.ENOENT, "fault injection (CONFIG_FAULT_INJECTION)") from error
    try:
        os.write(descriptor, str(number).encode())
        yield
    finally:
        with contextlib.closing(os.fdopen(descriptor, "wb", buffering=0)) as file:
            file.write(b"0")


class _Reaching(InFront):
    """Does something once to each socket that is used, as many as are concerned.

    A thread that is in here as the fault ends goes on behind it, and finds it over.
    """

    def __init__(self, sockets: int | None) -> None:
        super().__init__()
        if sockets is not None:
            _check("sockets", sockets)
        self._left = sockets
        self._is_over = False
        self._lock = threading.RLock()  # a signal handler may use a socket in here
        self._met: weakref.WeakSet[End] = weakref.WeakSet()
        self._reached: weakref.WeakSet[End] = weakref.WeakSet()

    def reach(self, end: End) -> None:
        """Do it."""
        raise NotImplementedError

    def opened(self, end: End) -> None:
        super().opened(end)
        self._meet(end)

    def send(self, end: End, data: bytes) -> None:
        self._meet(end)
        super().send(end, data)

    def receive(self, end: End, size: int) -> Received:
        self._meet(end)
        return super().receive(end, size)

    def receive_burst(self, end: End, buffer: BurstBuffer) -> list[Burst]:
        self._meet(end)
        return super().receive_burst(end, buffer)

    def _meet(self, end: End) -> None:
        with self._lock:
            if self._is_over or end in self._met:
                return
            self._met.add(end)
            if self._left == 0:
                return
            if self._left is not None:
                self._left -= 1
            self._reached.add(end)
            self.reach(end)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """The same, and undo it at the end for what is still open."""
        with super().in_place():
            try:
                yield
            finally:
                with self._lock:
                    self._is_over = True
                    reached = list(self._reached)
                for end in reached:
                    with contextlib.suppress(OSError):  # closed, or nothing to be undone
                        detach(end)


class _Filtering(_Reaching):
    def __init__(self, program: Program, sockets: int | None) -> None:
        super().__init__(sockets)
        self._program = program

    def reach(self, end: End) -> None:
        attach(end, self._program)


class _LosingAfter(_Reaching):
    """A chunk of a dump is made by the receive of the one before it, and is to pass until then.

    So a socket is made deaf just before the last receive that is to have something.
    """

    def __init__(self, datagrams: int, sockets: int | None) -> None:
        super().__init__(sockets)
        self._datagrams = datagrams
        self._to_come: weakref.WeakKeyDictionary[End, int] = weakref.WeakKeyDictionary()

    def reach(self, end: End) -> None:
        self._to_come[end] = self._datagrams
        if not self._datagrams:
            attach(end, DEAF)

    def receive(self, end: End, size: int) -> Received:
        self._meet(end)
        left = self._to_come.get(end, 0)
        with self._lock:
            if left == 1 and not self._is_over:
                attach(end, DEAF)
        received = super().receive(end, size)
        if left:
            self._to_come[end] = left - 1
        return received


class _HoldingUp(InFront):
    def __init__(self, stall: Stall) -> None:
        super().__init__()
        self._stall = stall

    def may_stall(self) -> bool:
        return True

    def open(self, protocol: int) -> End:
        self._hold_up()
        return super().open(protocol)

    def send(self, end: End, data: bytes) -> None:
        self._hold_up()
        super().send(end, data)

    def _hold_up(self) -> None:
        self._stall.entered.set()
        self._stall.release.wait()


class _Shrinking(InFront):
    def opened(self, end: End) -> None:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALLEST)
        super().opened(end)
