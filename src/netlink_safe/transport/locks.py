"""Locks that are watched: whoever would wait while holding one is told so, the first time.

A daemon took a lock, waited for the room in a queue, and the thread that could have made room
waited for the lock.  That takes a full queue on a bad day; that a wait began under a lock is seen
in the first test run.  It is to Python's locks what ``might_sleep()`` is to the kernel's.

::

    a blocking wait   must not begin while its thread holds a watched lock
    an async wait     must not begin while its task does, or its thread by what it took outside any
                      task; what another task of the thread holds is that task's affair

What is held stands in one table, which is empty most of the time: to look at it is the whole cost.
A release clears its entry, whoever makes it.

May call ``errors``.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import warnings
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import attrs

from netlink_safe.errors import LocalProtocolError, LockHeldError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

#: The environment variable, and what it may say: raise, unless it says something else.
SWITCH: Final = "NETLINK_SAFE_LOCKS"
CHOICES: Final = ("raise", "warn", "off")

PACKAGE: Final = __name__.partition(".")[0] + "."


Verb = TypeVar("Verb", bound="Callable[..., Any]")


class LockHeldWarning(RuntimeWarning):
    """What LockHeldError says, where ``NETLINK_SAFE_LOCKS`` is ``warn``."""


@attrs.define(slots=True)
class Holding:
    """One lock that is held: by which thread, in which task, since which line, how often."""

    name: str
    thread: int
    task: object | None
    where: str
    count: int = 1


#: By the identity of what was taken.
held: Final[dict[int, Holding]] = {}

#: The verbs that may wait, by room and qualified name; a test holds it against the surfaces.
WAITING_VERBS: Final[set[str]] = set()


def waits(verb: Verb) -> Verb:
    """Enter a verb into the registry of those that may wait."""
    WAITING_VERBS.add(f"{verb.__module__}.{verb.__qualname__}")
    return verb


def check_blocking_wait() -> None:
    """Raise LockHeldError, or warn, where this thread holds a watched lock."""
    if held:
        thread = threading.get_ident()
        _complain(one for one in list(held.values()) if one.thread == thread)


def check_async_wait() -> None:
    """Raise LockHeldError, or warn, where this task holds a watched lock, or its thread did."""
    if held:
        thread, task = threading.get_ident(), _current_task()
        _complain(
            one
            for one in list(held.values())
            if one.thread == thread and (one.task is None or one.task is task)
        )


def watch_lock(lock: Any, *, name: str | None = None) -> Any:
    """The lock, watched: used as before, and named in the error.

    Takes a lock of threading (Lock or RLock), trio, anyio or asyncio, or a Condition of trio or
    anyio; a Condition of threading, asyncio or anyio may be made of a watched lock.
    Raises LocalProtocolError for what is none.
    """
    given = name or f"{type(lock).__name__} made at {_where()}"
    if hasattr(lock, "__aenter__") and hasattr(lock, "acquire"):
        if hasattr(lock, "notify_all"):
            return _WatchedAsyncCondition(lock, given)
        return _WatchedAsyncLock(lock, given)
    if hasattr(lock, "_is_owned") and hasattr(lock, "_release_save"):
        return _WatchedRLock(lock, given)
    if hasattr(lock, "acquire") and hasattr(lock, "release") and hasattr(lock, "__enter__"):
        return _WatchedLock(lock, given)
    raise LocalProtocolError(f"{lock!r} is no lock that can be watched")


@contextlib.contextmanager
def no_waiting() -> Iterator[None]:
    """Say of a stretch of code that nothing in it may wait."""
    mark = object()
    _taken(id(mark), "no_waiting()")
    try:
        yield
    finally:
        _released(id(mark))


class _Watched:
    """What all of them have in common."""

    def __init__(self, lock: Any, name: str) -> None:
        self._lock = lock
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lock, name)

    def __repr__(self) -> str:
        return f"<watched {self._name}: {self._lock!r}>"

    def release(self) -> None:
        """Release it."""
        # First: as soon as it is free, another may take it and be entered.
        holding = held.get(id(self))
        _released(id(self))
        try:
            self._lock.release()
        except BaseException:
            if holding is not None:  # it was not this one's to release
                held[id(self)] = holding
            raise


class _WatchedLock(_Watched):
    """A lock of threading."""

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take it."""
        taken = bool(self._lock.acquire(blocking, timeout))
        if taken:
            _taken(id(self), self._name)
        return taken

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


class _WatchedRLock(_WatchedLock):
    """A lock of threading that its owner may take again; Condition asks it for more."""

    def _release_save(self) -> Any:
        return held.pop(id(self), None), self._lock._release_save()

    def _acquire_restore(self, saved: Any) -> None:
        holding, state = saved
        self._lock._acquire_restore(state)
        if holding is not None:
            held[id(self)] = holding

    def _is_owned(self) -> bool:
        return bool(self._lock._is_owned())


class _WatchedAsyncLock(_Watched):
    """A lock of trio, anyio or asyncio."""

    async def acquire(self) -> Any:
        """Take it."""
        result = await self._lock.acquire()
        _taken(id(self), self._name)
        return result

    def acquire_nowait(self) -> None:
        """Take it now, or raise what the lock raises."""
        self._lock.acquire_nowait()
        _taken(id(self), self._name)

    async def __aenter__(self) -> Self:
        await self.acquire()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.release()


class _WatchedAsyncCondition(_WatchedAsyncLock):
    """A condition with the lock that is its own."""

    async def wait(self) -> Any:
        """Let go, wait to be notified, and take it again."""
        _released(id(self))
        try:
            return await self._lock.wait()
        finally:
            _taken(id(self), self._name)  # it is taken again also where the wait was cancelled


def _taken(key: int, name: str) -> None:
    thread = threading.get_ident()
    holding = held.get(key)
    if holding is not None and holding.thread == thread:
        holding.count += 1
    else:
        held[key] = Holding(name, thread, _current_task(), _where())


def _released(key: int) -> None:
    holding = held.get(key)
    if holding is None:
        return
    if holding.count > 1:
        holding.count -= 1
    else:
        held.pop(key, None)


def _current_task() -> object | None:
    """The task that runs; None outside any.  Neither event loop is imported for that."""
    for module, path in (("trio", "lowlevel"), ("asyncio", None)):
        loop = sys.modules.get(module)
        home = getattr(loop, path, None) if path else loop
        with contextlib.suppress(RuntimeError, AttributeError):  # no such loop runs here
            if (task := home.current_task()) is not None:  # type: ignore[union-attr]  # suppressed
                return task  # type: ignore[no-any-return]
    return None


def _complain(holdings: Iterator[Holding]) -> None:
    holding = next(holdings, None)
    if holding is None:
        return
    choice = os.environ.get(SWITCH, CHOICES[0])
    if choice not in CHOICES:
        raise LocalProtocolError(f"{SWITCH}={choice} is none of {', '.join(CHOICES)}")
    if choice == "off":
        return
    error = LockHeldError(_verb(), holding.name, holding.where)
    if choice == "raise":
        raise error
    warnings.warn(str(error), LockHeldWarning, stacklevel=5)


def _frames_of_ours() -> Iterator[FrameType]:
    """From here out, as long as they are the library's; the last one is what its user called."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if not name.startswith(PACKAGE) and name != "contextlib":
            return
        yield frame
        frame = frame.f_back


def _verb() -> str:
    *_, outermost = _frames_of_ours()
    return outermost.f_code.co_qualname


def _where() -> str:
    *_, outermost = _frames_of_ours()
    caller = outermost.f_back
    if caller is None:
        return "an unknown place"
    return f"{caller.f_code.co_filename}:{caller.f_lineno} in {caller.f_code.co_qualname}"
