"""Locks that enter themselves in the table of what is held, and are otherwise as they were.

May call ``transport.locks``, ``transport.one_call`` and ``errors``.
"""

from __future__ import annotations

from functools import partial
from itertools import takewhile
from operator import call
from typing import TYPE_CHECKING, Any, Self
from weakref import finalize

from netlink_safe.errors import LocalProtocolError
from netlink_safe.transport.locks import current_task, held, new_holding, tokens, where
from netlink_safe.transport.one_call import Attribute, Leaving, for_each, in_turn, unless

if TYPE_CHECKING:
    from collections.abc import Callable

    from netlink_safe.transport.locks import Holding


def watch_lock(lock: Any, *, name: str | None = None) -> Any:
    """The lock, watched: used as before, and named in the error.

    Takes a lock of threading (Lock or RLock), trio, anyio or asyncio, or a Condition of trio or
    anyio; a Condition of threading, asyncio or anyio may be made of a watched lock.
    ``name`` is by default its type and the line that this is called in.
    A verb that may wait while it is held raises LockHeldError, or warns with LockHeldWarning, or
    does neither, as the environment's ``NETLINK_SAFE_LOCKS`` says: ``raise``, ``warn`` or ``off``;
    any other word there is a LocalProtocolError of the verb.
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
        # A release that raises, since it was not taken or is another's, changes nothing.
        self.release: Callable[[], None] = in_turn(lock.release, self._forgetting())
        # What nobody can release any more is held by nobody.
        finalize(self.release, held.pop, self._token, None).atexit = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lock, name)

    def __repr__(self) -> str:
        return f"<watched {self._name}: {self._lock!r}>"

    def _forgetting(self) -> Callable[[], object]:
        return partial(held.pop, self._token, None)

    def _enter(self) -> None:
        held[self._token] = (new_holding(self._name),)


class _WatchedLock(_Watched):
    """A lock of threading, as safe from what a signal's handler raises as it is itself.

    A block that such an error leaves has released it, and none begins without it; where the error
    comes behind ``acquire()``, before its caller has gone on, it is taken, and in the table.
    """

    def __init__(self, lock: Any, name: str) -> None:
        super().__init__(lock, name)
        self._leave = Leaving(self.release).__exit__

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take it."""
        take = partial(self._lock.acquire, blocking, timeout)
        enter = partial(held.__setitem__, self._token, self._holdings())
        # Python makes no call behind the one that takes it, so that no handler comes after it.
        return True in [*takewhile(bool, map(call, (take, enter)))]

    __enter__ = acquire

    __exit__ = Attribute("_leave")

    def _holdings(self) -> tuple[Holding, ...]:
        return (new_holding(self._name),)

    def _release_save(self) -> Any:
        """Let go of it for a Condition that waits; what comes back is the call that takes it."""
        return self._saved(self._lock.release, self._lock.acquire)

    #: Makes the call that it is given.
    _acquire_restore: Any = staticmethod(call)

    def _saved(self, release: Callable[[], object], take: Callable[[], object]) -> Any:
        mine = held.get(self._token)
        restore = in_turn(take, partial(held.update, {} if mine is None else {self._token: mine}))
        return [restore, *map(call, (release, self._forgetting()))][0]  # as in acquire()


class _WatchedRLock(_WatchedLock):
    """A lock of threading that its owner may take again.

    It counts itself: whichever tasks of a thread took it, all hold it until nobody owns it.
    """

    def _forgetting(self) -> Callable[[], object]:
        return for_each(partial(held.pop, self._token), unless(self._lock._is_owned))

    def _holdings(self) -> tuple[Holding, ...]:
        one = new_holding(self._name)
        before = held.get(self._token)
        if before is None or before[0].thread is not one.thread:
            return (one,)
        tasks = [id(other.task) for other in before]
        return before if id(one.task) in tasks else (*before, one)

    def _release_save(self) -> Any:
        state: list[Any] = []
        release = partial(state.extend, map(call, (self._lock._release_save,)))
        return self._saved(release, for_each(self._lock._acquire_restore, state))


class _WatchedAsyncLock(_Watched):
    """A lock of trio or anyio, which belongs to the task that takes it."""

    async def acquire(self) -> Any:
        """Take it."""
        result = await self._lock.acquire()
        self._enter()
        return result

    def acquire_nowait(self) -> None:
        """Take it now, or raise what the lock raises."""
        self._lock.acquire_nowait()
        self._enter()

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
        return self._acquire(new_holding(self._name))

    async def _acquire(self, asked: Holding) -> Any:
        result = await self._lock.acquire()
        held[self._token] = (asked,)
        return result


class _WatchedAsyncCondition(_WatchedAsyncLock):
    """A condition with the lock that is its own."""

    async def wait(self) -> Any:
        """Let go, wait to be notified, and take it again."""
        mine = held.get(self._token)
        if mine is None or mine[0].task is not current_task():
            return await self._lock.wait()  # which raises
        del held[self._token]
        try:
            return await self._lock.wait()
        finally:  # it is taken again also where the wait was cancelled
            held[self._token] = mine

    async def wait_for(self, predicate: Callable[[], Any]) -> Any:
        """Wait until something is so."""
        while not (result := predicate()):
            await self.wait()
        return result
