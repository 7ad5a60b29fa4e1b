"""Locks that enter themselves in the table of what is held, and are otherwise as they were.

May call ``transport.locks`` and ``errors``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from netlink_safe.errors import LocalProtocolError
from netlink_safe.transport.locks import (
    Holding,
    current_task,
    forget,
    held,
    released,
    taken,
    this_thread,
    tokens,
    where,
)

if TYPE_CHECKING:
    from collections.abc import Callable


def watch_lock(lock: Any, *, name: str | None = None) -> Any:
    """The lock, watched: used as before, and named in the error.

    Takes a lock of threading (Lock or RLock), trio, anyio or asyncio, or a Condition of trio or
    anyio; a Condition of threading, asyncio or anyio may be made of a watched lock.
    Raises LocalProtocolError for what is none, and for what is watched already.
    """
    given = name or f"{type(lock).__name__} made at {where()}"
    kind = type(lock)
    home = kind.__module__.partition(".")[0]
    is_condition = hasattr(lock, "notify_all")
    inner = getattr(lock, "_lock", None) if is_condition else None
    if isinstance(lock, _Watched) or isinstance(inner, _Watched):
        raise LocalProtocolError(f"{lock!r} is watched already")
    # Semaphores and limiters count; some of anyio's say so in their class alone.
    counts = hasattr(lock, "_value") or hasattr(kind, "value") or hasattr(kind, "total_tokens")
    if counts or not hasattr(lock, "acquire"):
        raise LocalProtocolError(f"{lock!r} is no lock that can be watched")
    if is_condition and home not in {"trio", "anyio"}:
        raise LocalProtocolError(f"watch the lock of {lock!r}: Condition(watch_lock(lock))")
    if hasattr(lock, "__aenter__"):
        if is_condition:
            return _WatchedAsyncCondition(lock, given)
        return (_WatchedAsyncioLock if home == "asyncio" else _WatchedAsyncLock)(lock, given)
    if hasattr(lock, "_is_owned") and hasattr(lock, "_release_save"):
        return _WatchedRLock(lock, given)
    if hasattr(lock, "locked") and hasattr(lock, "__enter__"):
        return _WatchedLock(lock, given)
    raise LocalProtocolError(f"{lock!r} is no lock that can be watched")


class _Watched:
    """What all of them have in common."""

    def __init__(self, lock: Any, name: str) -> None:
        self._lock = lock
        self._name = name
        self._token = next(tokens)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lock, name)

    def __repr__(self) -> str:
        return f"<watched {self._name}: {self._lock!r}>"

    def __del__(self) -> None:
        if "_token" in self.__dict__:
            forget(self._token)

    def release(self) -> None:
        """Release it."""
        # The entry goes first: as soon as the lock is free, another may take it and be entered.
        # Whatever comes between, a signal's handler perhaps, the lock itself is released.
        before = {key: holding.count for key, holding in held.items() if key[0] == self._token}
        kept = {key: held[key] for key in before}
        try:
            released(self._token)
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
        is_taken = bool(self._lock.acquire(blocking, timeout))
        if is_taken:
            self._enter()
        return is_taken

    def __enter__(self) -> bool:
        self._lock.acquire()
        self._enter()
        return True

    def __exit__(self, *_: object) -> None:
        self.release()

    def _enter(self) -> None:
        try:
            taken(self._token, self._name)
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
        forget(self._token)
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
        taken(self._token, self._name)
        return result

    def acquire_nowait(self) -> None:
        """Take it now, or raise what the lock raises."""
        self._lock.acquire_nowait()
        taken(self._token, self._name)

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
        return self._acquire(current_task(), where())

    async def _acquire(self, task: object | None, line: str) -> Any:
        result = await self._lock.acquire()
        held[self._token, id(task)] = Holding(self._name, this_thread(), task, line)
        return result


class _WatchedAsyncCondition(_WatchedAsyncLock):
    """A condition with the lock that is its own."""

    async def wait(self) -> Any:
        """Let go, wait to be notified, and take it again."""
        key = self._token, id(current_task())
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
