"""Steps that the kernel may hold up, made in a worker thread that the caller can leave behind.

A message to the kernel is handled inside ``sendmsg``, and each receive of a dump builds its next
chunk; both may walk a large table, wait for rtnl_lock or load a module, and MSG_DONTWAIT bounds
neither (``net/netlink/af_netlink.c``: netlink_unicast_kernel, netlink_dump).  ``offload`` makes
an operation's steps in a thread, and waits for the thread as one waits for a socket: on a
descriptor, an eventfd.

::

    in a worker   the first step; the ones after a slow one; every one that may stall
    in the caller the ones after a quick one: what asks a hashed table for most of it, or for a
                  rarity, goes on as it began, and no thread competes with the caller for Python

The thread owns the operation while it works on it.  A caller that gives up leaves at once; the
thread closes the operation, and so its socket, when the kernel lets it go.  Threads are daemons:
the interpreter's exit does not wait for them.

May call ``transport.kernel``, ``transport.pool`` and ``transport.terms``.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from netlink_safe.transport.kernel import foremost
from netlink_safe.transport.pool import OPENING, answered
from netlink_safe.transport.terms import Wait

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netlink_safe.errors import NetlinkTimeout
    from netlink_safe.protocol.request import Request, Row
    from netlink_safe.transport.pool import SocketPool
    from netlink_safe.transport.terms import Result, Steps, Terms

LIMIT: Final = 64
IDLE_SECONDS: Final = 10.0
#: A step that takes no longer, in seconds, may be followed by one in the caller.
QUICK_SECONDS: Final = 0.001
#: How long rows of slow steps may gather before they are handed over.
GATHER_SECONDS: Final = 0.004
#: The steps know the deadline, and have more to say about it than that a thread is late.
GRACE_SECONDS: Final = 0.05


class _Burst:
    """A few steps of one operation, and who owns it now.

    ``yielded`` holds what the steps gave; then ``error`` or, at the operation's end, ``ended``.
    ``quick`` says that the last step was.
    """

    def __init__(self, steps: Steps[Any, Any], terms: Terms, wakeup: int) -> None:
        self._steps = steps
        self._terms = terms
        self._wakeup = wakeup
        self._lock = threading.RLock()  # the collector may close us in here
        self._abandoned = False
        self._done = False
        self.started: bool = False
        self.quick: bool = False
        self.yielded: list[Wait | list[Any]] = []
        self.ended: bool = False
        self.result: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        """In the worker: make steps until one waits or is quick, rows have gathered, or the end."""
        with self._lock:
            if self._abandoned:
                return
            self.started = True
        try:
            self._make_steps()
        except StopIteration as stop:
            self.ended = True
            self.result = stop.value
        except BaseException as error:  # whatever it is, it is raised again in the caller
            self.error = error
        with self._lock:
            self._done = True
            if not self._abandoned:
                os.eventfd_write(self._wakeup, 1)
                return
        with contextlib.suppress(Exception):  # nobody is left to be told
            self._steps.close()

    def done(self) -> bool:
        """Whether it has ended, and so whether the wakeup has been written."""
        with self._lock:
            return self._done

    def abandon(self) -> None:
        """In the caller: whoever has the operation now closes it."""
        with self._lock:
            self._abandoned = True
            if self.started and not self._done:
                return
        self._steps.close()

    def _make_steps(self) -> None:
        began = now = time.monotonic()
        while not self._abandoned:
            step = next(self._steps)
            before, now = now, time.monotonic()
            if step:  # an empty list of rows says nothing
                self.yielded.append(step)
            self.quick = now - before <= QUICK_SECONDS and not self._terms.may_stall
            if self.quick or isinstance(step, Wait):
                return
            if self.yielded and now - began >= GATHER_SECONDS:
                return


class Workers:
    """Daemon threads, made when needed, at most ``limit`` of them, gone when idle for 10 s."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self.reset()

    def reset(self) -> None:
        """Start with no thread: a fork leaves them behind, and perhaps their lock taken."""
        self._condition = threading.Condition()
        self._waiting: deque[_Burst] = deque()
        self._threads = 0
        self._idle = 0

    def submit(self, burst: _Burst) -> None:
        """Have a thread run it, now, or once one of the ``limit`` comes back from the kernel."""
        with self._condition:
            self._waiting.append(burst)
            if len(self._waiting) <= self._idle:
                self._condition.notify()
                return
            if self._threads >= self._limit:
                return
            self._threads += 1
        try:
            threading.Thread(target=self._work, name="netlink_safe worker", daemon=True).start()
        except BaseException:  # no thread to be had: its place must not stay taken
            with self._condition:
                self._threads -= 1
            self.withdraw(burst)
            raise

    def withdraw(self, burst: _Burst) -> None:
        """Forget one that no thread has begun; its caller has given up."""
        with self._condition, contextlib.suppress(ValueError):
            self._waiting.remove(burst)

    def _work(self) -> None:
        while True:
            with self._condition:
                self._idle += 1
                self._condition.wait_for(lambda: self._waiting, IDLE_SECONDS)
                self._idle -= 1
                if not self._waiting:
                    self._threads -= 1
                    return
                burst = self._waiting.popleft()
            burst.run()
            del burst  # an idle thread must not keep rows alive


WORKERS: Final = Workers()
os.register_at_fork(after_in_child=WORKERS.reset)


def offload(
    steps: Steps[Row, Result], terms: Terms, workers: Workers = WORKERS
) -> Steps[Row, Result]:
    """The same steps, those that may take long made in worker threads.

    Raises NetlinkTimeout at the deadline, or a twentieth of a second later, whatever the thread
    still waits for in the kernel.
    """
    wakeup = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    burst = _Burst(steps, terms, wakeup)
    try:
        while True:
            workers.submit(burst)
            while not burst.done():
                left = terms.deadline.timeout - terms.deadline.spent() + GRACE_SECONDS
                if left <= 0:
                    raise _held_up(terms, burst)
                yield Wait(wakeup, left)
            with contextlib.suppress(BlockingIOError):  # a forked child may have read it
                os.eventfd_read(wakeup)
            yield from burst.yielded
            if burst.error is not None:
                raise burst.error
            if burst.ended:
                return burst.result  # type: ignore[no-any-return]  # a burst knows no types
            quick = burst.quick
            while quick:
                began = time.monotonic()
                try:
                    step = next(steps)
                except StopIteration as stop:
                    return stop.value  # type: ignore[no-any-return]  # it is not generic
                quick = time.monotonic() - began <= QUICK_SECONDS and not terms.may_stall
                yield step
            burst = _Burst(steps, terms, wakeup)
    except (GeneratorExit, KeyboardInterrupt) as left:
        # closed for what ends the caller's wait, such as Ctrl-C or a cancellation: that is told
        terms.tell(left.__context__ if isinstance(left, GeneratorExit) else left)
        raise
    finally:
        workers.withdraw(burst)
        burst.abandon()
        os.close(wakeup)
        del burst  # it holds the error, whose traceback holds this frame


def _held_up(terms: Terms, burst: _Burst) -> NetlinkTimeout:
    return terms.timed_out(
        terms.doing,
        detail=(
            "the kernel has not come back from a system call"
            if burst.started
            else "every worker thread is held up in the kernel"
        ),
    )


def needs_worker(pool: SocketPool, requests: Sequence[Request[Any]]) -> bool:
    """Whether a system call for one of these may take long, or one to open a socket for them.

    So may the first of its kind in a process, since the kernel may load a module for it, and
    whatever is found by a path, which may lie anywhere.
    """
    features = {OPENING, *(request.feature for request in requests)}
    return (
        pool.namespace.label is not None
        or any(request.may_stall for request in requests)
        or any((pool.protocol, feature) not in answered for feature in features)
        or foremost().may_stall()
    )
