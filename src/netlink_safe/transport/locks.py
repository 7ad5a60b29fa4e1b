"""Locks that are watched: whoever would wait while holding one is told so, the first time.

A daemon took a lock, waited for the room in a queue, and the thread that could have made room
waited for the lock.  That takes a full queue on a bad day; that a wait began under a lock is seen
in the first test run.  It is to Python's locks what ``might_sleep()`` is to the kernel's.

::

    a blocking wait   must not begin while its thread holds a watched lock
    an async wait     must not begin while its task does, or its thread by what it took outside any
                      task; what another task of the thread holds is that task's affair

What is held stands in one table, which is empty most of the time: to look at it is the whole cost.
A release clears its entry, whoever makes it.  Entries come and go in the same call into C that
takes the lock or releases it, so that whatever a signal's handler raises finds both or neither.

May call ``transport.one_call`` and ``errors``.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import attrs

from netlink_safe.errors import NO_WAITING, LocalProtocolError, LockHeldError
from netlink_safe.transport.one_call import Attribute, Leaving, in_turn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

#: The environment variable, and what it may say: raise, unless it says something else.
SWITCH: Final = "NETLINK_SAFE_LOCKS"
CHOICES: Final = ("raise", "warn", "off")

#: Conditions, groups of tasks and the like, whose lines say nothing of who wanted the lock.
TAKING_FOR_OTHERS: Final = frozenset({"threading", "asyncio", "anyio", "trio", "contextlib"})

PACKAGE: Final = __name__.partition(".")[0] + "."

#: Verbs that are not called by name, as their user knows them.
SPECIAL_VERBS: Final = {
    "__init__": "{}()",
    "__aenter__": "entering {}",
    "__exit__": "leaving {}",
    "__aexit__": "leaving {}",
    "__next__": "iteration over {}",
    "__anext__": "iteration over {}",
}

Verb = TypeVar("Verb", bound="Callable[..., Any]")


class LockHeldWarning(RuntimeWarning):
    """What LockHeldError says, where ``NETLINK_SAFE_LOCKS`` is ``warn``."""


@attrs.frozen(slots=True, eq=False)
class Holding:
    """One lock that is held: by which thread, in which task, since which line."""

    name: str
    thread: object
    task: object | None
    where: str


#: By the token of what was taken: an RLock may be taken by several tasks of its thread.
held: Final[dict[int, tuple[Holding, ...]]] = {}

#: The verbs that may wait, by room and qualified name; a test holds it against the surfaces.
WAITING_VERBS: Final[set[str]] = set()

tokens: Final = itertools.count()
_local: Final = threading.local()


def this_thread() -> object:
    """What no other thread has, now or later; its number may be another's once it has ended."""
    try:
        return _local.marker
    except AttributeError:
        _local.marker = object()
        return _local.marker


def _forget_other_threads() -> None:
    """In a forked child there is none of them."""
    thread = this_thread()
    for token in [token for token, (one, *_) in held.items() if one.thread is not thread]:
        del held[token]


os.register_at_fork(after_in_child=_forget_other_threads)


def waits(verb: Verb) -> Verb:
    """Enter a verb into the registry of those that may wait."""
    WAITING_VERBS.add(f"{verb.__module__}.{verb.__qualname__}")
    return verb


def check_blocking_wait() -> None:
    """Raise LockHeldError, or warn, where this thread holds a watched lock."""
    if held:
        thread = this_thread()
        _complain(one for one in _holdings() if one.thread is thread)


def check_async_wait() -> None:
    """Raise LockHeldError, or warn, where this task holds a watched lock, or its thread did."""
    if held:
        thread, task = this_thread(), current_task()
        _complain(
            one
            for one in _holdings()
            if one.thread is thread and (one.task is None or one.task is task)
        )


class no_waiting:  # noqa: N801  # used as a function is; as a decorator it would guard no coroutine
    """Say of a stretch of code, by ``with``, that nothing in it may wait.

    A verb that may wait raises LockHeldError in it: a blocking one in the same thread, an async one
    in the same task.  ``NETLINK_SAFE_LOCKS`` has it warn or pass, see ``watch_lock``.
    Entering one twice at a time raises LocalProtocolError.
    """

    def __init__(self) -> None:
        self._token = next(tokens)
        self._leave = Leaving(in_turn(partial(held.pop, self._token, None))).__exit__

    def __enter__(self) -> None:
        if self._token in held:
            raise LocalProtocolError("this no_waiting() was entered already; make one for each")
        held[self._token] = (new_holding(NO_WAITING),)

    __exit__: Attribute = Attribute("_leave")


def new_holding(name: str) -> Holding:
    """An entry for what the running task is about to take."""
    return Holding(name, this_thread(), current_task(), where())


def _holdings() -> list[Holding]:
    return [one for several in list(held.values()) for one in several]


def current_task() -> object | None:
    """The task that runs; None outside any.  Neither event loop is imported for that."""
    for module, path in (("trio", "lowlevel"), ("asyncio", None)):
        loop = sys.modules.get(module)
        home = getattr(loop, path, None) if path else loop
        with contextlib.suppress(RuntimeError, AttributeError):  # no such loop runs here
            if (task := home.current_task()) is not None:  # type: ignore[union-attr]  # AttributeError passes
                return task  # type: ignore[no-any-return]  # a module found by name has no types
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
    import warnings

    warnings.warn_explicit(str(error), LockHeldWarning, caller.f_code.co_filename, caller.f_lineno)


def _frames_of_ours() -> Iterator[FrameType]:
    """From here out, as long as they are the library's, or contextlib's, which enters for us."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and (_is_ours(frame) or _module(frame) == "contextlib"):
        yield frame
        frame = frame.f_back


def _verb() -> str:
    """What was called, of the class that its user has."""
    *_, called = filter(_is_ours, _frames_of_ours())
    name = called.f_code.co_name
    owner = called.f_locals.get("self")
    if owner is None:
        return called.f_code.co_qualname
    return SPECIAL_VERBS.get(name, f"{{}}.{name}").format(type(owner).__qualname__)


def _is_ours(frame: FrameType) -> bool:
    return _module(frame).startswith(PACKAGE)


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def where() -> str:
    """The line of the user's: neither ours, nor that of a library that takes locks for others."""
    *_, outermost = _frames_of_ours()
    caller = found = outermost.f_back
    while caller is not None:
        if _module(caller).partition(".")[0] not in TAKING_FOR_OTHERS:
            found = caller
            break
        caller = caller.f_back
    if found is None:
        return "an unknown place"
    return f"{found.f_code.co_filename}:{found.f_lineno} in {found.f_code.co_qualname}"
