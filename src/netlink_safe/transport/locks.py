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
import itertools
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

#: Conditions, groups of tasks and the like, whose lines say nothing of who wanted the lock.
TAKING_FOR_OTHERS: Final = frozenset({"threading", "asyncio", "anyio", "trio", "contextlib"})

PACKAGE: Final = __name__.partition(".")[0] + "."


Verb = TypeVar("Verb", bound="Callable[..., Any]")


class LockHeldWarning(RuntimeWarning):
    """What LockHeldError says, where ``NETLINK_SAFE_LOCKS`` is ``warn``."""


@attrs.define(slots=True)
class Holding:
    """One lock that is held: by which thread, in which task, since which line, how often."""

    name: str
    thread: object
    task: object | None
    where: str
    count: int = 1


#: By the token of what was taken, and the task that took it: an RLock may be taken by several.
held: Final[dict[tuple[int, int], Holding]] = {}

#: The verbs that may wait, by room and qualified name; a test holds it against the surfaces.
WAITING_VERBS: Final[set[str]] = set()

_tokens: Final = itertools.count()
_local: Final = threading.local()


def _this_thread() -> object:
    """What no other thread has, now or later; its number may be another's once it has ended."""
    try:
        return _local.marker
    except AttributeError:
        _local.marker = object()
        return _local.marker


def _forget_other_threads() -> None:
    """In a forked child there is none of them."""
    thread = _this_thread()
    for key in [key for key, holding in held.items() if holding.thread is not thread]:
        del held[key]


os.register_at_fork(after_in_child=_forget_other_threads)


def waits(verb: Verb) -> Verb:
    """Enter a verb into the registry of those that may wait."""
    WAITING_VERBS.add(f"{verb.__module__}.{verb.__qualname__}")
    return verb


def check_blocking_wait() -> None:
    """Raise LockHeldError, or warn, where this thread holds a watched lock."""
    if held:
        thread = _this_thread()
        _complain(one for one in list(held.values()) if one.thread is thread)


def check_async_wait() -> None:
    """Raise LockHeldError, or warn, where this task holds a watched lock, or its thread did."""
    if held:
        thread, task = _this_thread(), _current_task()
        _complain(
            one
            for one in list(held.values())
            if one.thread is thread and (one.task is None or one.task is task)
        )


def watch_lock(lock: Any, *, name: str | None = None) -> Any:
    """The lock, watched: used as before, and named in the error.

    Takes a lock of threading (Lock or RLock), trio, anyio or asyncio, or a Condition of trio or
    anyio; a Condition of threading, asyncio or anyio may be made of a watched lock.
    Raises LocalProtocolError for what is none.
    """
    given = name or f"{type(lock).__name__} made at {_where()}"
    home = type(lock).__module__.partition(".")[0]
    is_condition = hasattr(lock, "notify_all")
    if hasattr(lock, "_value") or hasattr(lock, "total_tokens") or not hasattr(lock, "acquire"):
        raise LocalProtocolError(f"{lock!r} is no lock that can be watched")
    if is_condition and home not in {"trio", "anyio"}:
        raise LocalProtocolError(f"watch the lock of {lock!r}: Condition(watch_lock(lock))")
    if hasattr(lock, "__aenter__"):
        kinds = {"asyncio": _WatchedAsyncioLock}
        kind = _WatchedAsyncCondition if is_condition else kinds.get(home, _WatchedAsyncLock)
        return kind(lock, given)
    if hasattr(lock, "_is_owned") and hasattr(lock, "_release_save"):
        return _WatchedRLock(lock, given)
    if hasattr(lock, "locked") and hasattr(lock, "__enter__"):
        return _WatchedLock(lock, given)
    raise LocalProtocolError(f"{lock!r} is no lock that can be watched")


class no_waiting:  # noqa: N801  # used as a function is; as a decorator it would guard no coroutine
    """Say of a stretch of code, by ``with``, that nothing in it may wait."""

    def __enter__(self) -> None:
        self._token = next(_tokens)
        _taken(self._token, "no_waiting()")

    def __exit__(self, *_: object) -> None:
        _released(self._token)


class _Watched:
    """What all of them have in common."""

    def __init__(self, lock: Any, name: str) -> None:
        self._lock = lock
        self._name = name
        self._token = next(_tokens)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lock, name)

    def __repr__(self) -> str:
        return f"<watched {self._name}: {self._lock!r}>"

    def __del__(self) -> None:
        if "_token" in self.__dict__:
            _forget(self._token)

    def release(self) -> None:
        """Release it."""
        # The entry goes first: as soon as the lock is free, another may take it and be entered.
        # Whatever comes between, a signal's handler perhaps, the lock itself is released.
        before = {key: holding.count for key, holding in held.items() if key[0] == self._token}
        kept = {key: held[key] for key in before}
        try:
            _released(self._token)
        finally:
            try:
                self._lock.release()
            except RuntimeError:  # it was not taken, or is another's
                for key, holding in kept.items():
                    holding.count = before[key]
                    held[key] = holding
                raise


class _WatchedLock(_Watched):
    """A lock of threading."""

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take it."""
        taken = bool(self._lock.acquire(blocking, timeout))
        if taken:
            self._enter()
        return taken

    def __enter__(self) -> bool:
        self._lock.acquire()
        self._enter()
        return True

    def __exit__(self, *_: object) -> None:
        self.release()

    def _enter(self) -> None:
        try:
            _taken(self._token, self._name)
        except BaseException:  # a signal's handler: who asked for the lock does not get it
            self._lock.release()
            raise


class _WatchedRLock(_WatchedLock):
    """A lock of threading that its owner may take again; Condition asks it for more."""

    def release(self) -> None:
        """Release it."""
        if self._lock._is_owned():
            super().release()
        else:
            self._lock.release()  # which raises

    def _release_save(self) -> Any:
        kept = {key: holding for key, holding in held.items() if key[0] == self._token}
        _forget(self._token)
        return kept, self._lock._release_save()

    def _acquire_restore(self, saved: Any) -> None:
        kept, state = saved
        self._lock._acquire_restore(state)
        held.update(kept)

    def _is_owned(self) -> bool:
        return bool(self._lock._is_owned())


class _WatchedAsyncLock(_Watched):
    """A lock of trio or anyio, which belongs to the task that takes it."""

    async def acquire(self) -> Any:
        """Take it."""
        result = await self._lock.acquire()
        _taken(self._token, self._name)
        return result

    def acquire_nowait(self) -> None:
        """Take it now, or raise what the lock raises."""
        self._lock.acquire_nowait()
        _taken(self._token, self._name)

    async def __aenter__(self) -> Self:
        await self.acquire()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.release()


class _WatchedAsyncioLock(_WatchedAsyncLock):
    """A lock of asyncio, which belongs to nobody.

    Who asks for it has it: before Python 3.12 ``wait_for(lock.acquire(), …)`` runs in another task.
    """

    def acquire(self) -> Any:
        """Take it; a coroutine."""
        return self._acquire(_current_task(), _where())

    async def _acquire(self, task: object | None, where: str) -> Any:
        result = await self._lock.acquire()
        held[self._token, id(task)] = Holding(self._name, _this_thread(), task, where)
        return result


class _WatchedAsyncCondition(_WatchedAsyncLock):
    """A condition with the lock that is its own."""

    async def wait(self) -> Any:
        """Let go, wait to be notified, and take it again."""
        key = self._token, id(_current_task())
        holding = held.pop(key, None)
        try:
            return await self._lock.wait()
        finally:
            if holding is not None:  # it is taken again also where the wait was cancelled
                held[key] = holding

    async def wait_for(self, predicate: Callable[[], Any]) -> Any:
        """Wait until something is so."""
        while not (result := predicate()):
            await self.wait()
        return result


def _taken(token: int, name: str) -> None:
    task = _current_task()
    key = token, id(task)
    holding = held.get(key)
    if holding is not None and holding.thread is _this_thread():
        holding.count += 1
    else:
        held[key] = Holding(name, _this_thread(), task, _where())


def _released(token: int) -> None:
    """One release: of this task's own entry, or else of whoever's there is."""
    if not held:
        return
    own = token, id(_current_task())
    key = own if own in held else next((key for key in list(held) if key[0] == token), None)
    holding = None if key is None else held.get(key)
    if key is None or holding is None:
        return
    if holding.count > 1:
        holding.count -= 1
    else:
        held.pop(key, None)


def _forget(token: int) -> None:
    for key in [key for key in list(held) if key[0] == token]:
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
    choice = os.environ.get(SWITCH) or CHOICES[0]
    if choice not in CHOICES:
        raise LocalProtocolError(f"{SWITCH}={choice} is none of {', '.join(CHOICES)}")
    if choice == "off":
        return
    error = LockHeldError(_verb(), holding.name, holding.where)
    if choice == "raise":
        raise error
    *_, outermost = _frames_of_ours()
    caller = outermost.f_back or outermost
    warnings.warn_explicit(str(error), LockHeldWarning, caller.f_code.co_filename, caller.f_lineno)


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
    """The line of the user's: neither ours, nor that of a library that takes locks for others."""
    *_, outermost = _frames_of_ours()
    caller = found = outermost.f_back
    while caller is not None:
        if caller.f_globals.get("__name__", "").partition(".")[0] not in TAKING_FOR_OTHERS:
            found = caller
            break
        caller = caller.f_back
    if found is None:
        return "an unknown place"
    return f"{found.f_code.co_filename}:{found.f_lineno} in {found.f_code.co_qualname}"
