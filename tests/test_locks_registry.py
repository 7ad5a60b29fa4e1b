"""Every verb that may wait is in the registry, and refuses under a lock."""

from __future__ import annotations

import contextlib
import inspect
import re
import threading
import traceback
from importlib import import_module
from itertools import pairwise
from pkgutil import iter_modules

import anyio
import pytest

import netlink_safe as nls
from netlink_safe import aio, blocking
from netlink_safe.collectors import tcpstat
from netlink_safe.transport import locks
from surfaces import ASYNC_SURFACES, Surface, on_every_surface, on_surfaces
from verbs import opened
from watching_locks import HERE, WORKING, lock_of, refused

pytestmark = pytest.mark.usefixtures("nothing_held_at_the_end")


TWINS = {"__anext__": "__next__", "__aenter__": "__init__", "aclose": "close"}


@on_every_surface
async def test_every_verb_that_may_wait_raises_under_a_lock_of_threading(surface: Surface) -> None:
    """And works once the lock is released; the objects are as they were."""
    for lock in (threading.Lock(), threading.RLock()):
        watched = nls.watch_lock(lock, name="the table")
        async with opened(surface) as it:
            for verb in it.verbs.values():
                with watched:
                    error = await refused(verb, "the table")
                assert error.verb
            for name in WORKING:
                await it.verbs[name]()


@on_surfaces(ASYNC_SURFACES)
async def test_every_verb_raises_under_a_lock_of_the_event_loop(surface: Surface) -> None:
    """Taken by this task, by ``async with`` or by acquire()."""
    for lock in (lock_of(surface), anyio.Lock()):
        watched = nls.watch_lock(lock, name="the table")
        async with opened(surface) as it:
            for verb in it.verbs.values():
                async with watched:
                    await refused(verb, "the table")
                await watched.acquire()
                try:
                    await refused(verb, "the table")
                finally:
                    watched.release()


@on_surfaces(ASYNC_SURFACES)
async def test_a_verb_looks_before_it_gives_others_a_turn(
    surface: Surface, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No other task runs under the lock, and nobody is cancelled there instead of being told."""
    monkeypatch.setattr("netlink_safe.aio.waiting.TURN", 0.0)
    watched = nls.watch_lock(threading.Lock(), name="the table")
    counting, turns = anyio.Event(), 0

    async def count() -> None:
        nonlocal turns
        counting.set()
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    async with opened(surface) as it, anyio.create_task_group() as tasks:
        tasks.start_soon(count)
        await counting.wait()
        for verb in it.verbs.values():
            with watched:
                before = turns
                await refused(verb, "the table")
                assert turns == before
        tasks.cancel_scope.cancel()


@on_every_surface
async def test_what_never_waits_is_allowed_under_any_lock(surface: Surface) -> None:
    """Sending now, posting, looking at statistics, closing a socket."""
    watched = nls.watch_lock(threading.Lock(), name="the table")
    async with opened(surface) as it:
        with watched:
            it.box.post(b"x", port_id=it.user.port_id)
            it.box.statistics()
            it.user.send_nowait(b"x", port_id=it.user.port_id)
            it.user.multicast_nowait(b"x", group=1)
            for one in (it.diag, it.events, it.user):
                one.statistics()
                await one.aclose()


def test_the_error_names_verb_lock_and_line() -> None:
    """What was called, what is held, and where it was taken."""
    watched = nls.watch_lock(threading.Lock())
    with watched, pytest.raises(nls.LockHeldError) as caught:
        tcpstat.collect_blocking()
    error = caught.value
    assert error.verb == "collect_blocking"
    assert error.lock.startswith("lock made at ")
    assert __file__ in error.lock
    assert "test_the_error_names_verb_lock_and_line" in error.where
    assert str(error).startswith("collect_blocking may wait, and lock made at")


@on_every_surface
async def test_the_error_names_the_class_that_its_user_has(surface: Surface) -> None:
    """Not the one that the verb stands in; and what is not called by name as it is known."""
    entering = (
        "open_user may wait" if surface.name == "blocking" else "entering User may wait",
        "Outbox() may wait" if surface.name == "blocking" else "entering Outbox may wait",
    )
    async with opened(surface) as it, surface.open_route() as route:
        it.verbs["route.request"] = lambda: route.request(nls.link("lo"))
        told = {
            "dump": "iteration over Dump may wait",
            "request": "SockDiag.request may wait",
            "route.request": "Route.request may wait",
            "uevents.next": "iteration over Uevents may wait",
            "heard.receive": "Subscription.receive may wait",
            "Family.policy": "Family.policy may wait",
            "open_user": entering[0],
            "Outbox": entering[1],
        }
        for name, text in told.items():
            with nls.no_waiting():
                assert str(await refused(it.verbs[name], "no_waiting()")).startswith(text)
                with pytest.raises(nls.LockHeldError, match=re.escape(text)):
                    async with contextlib.AsyncExitStack() as stack:
                        stack.push_async_callback(it.verbs[name])


@on_every_surface
async def test_the_error_says_what_to_do(surface: Surface) -> None:
    """A send has twins that never wait, and nothing else has; no_waiting() cannot be released."""
    watched = nls.watch_lock(threading.Lock(), name="the table")
    twins = ", or call send_nowait or Outbox.post"
    async with opened(surface) as it:
        for name, verb in it.verbs.items():
            with watched:
                text = str(await refused(verb, "the table"))
            assert "the table is held, taken at " in text
            assert "release it first, or leave it to a task or thread that does not" in text
            assert (twins in text) == (name == "user.send")
            with nls.no_waiting():
                text = str(await refused(verb, "no_waiting()"))
            assert "inside no_waiting(), entered at " in text
            assert "release" not in text
            assert (twins in text) == (name == "user.send")


#: What is not awaited, by its name in the registry.
BLOCKING = re.compile(r"blocking|prometheus")


def registered() -> set[str]:
    """The registry, with all of both rooms in it."""
    for room in (aio, blocking):
        for found in iter_modules(room.__path__):
            import_module(f"{room.__name__}.{found.name}")
    return locks.WAITING_VERBS


def called(error: BaseException) -> str:
    """The outermost verb of the library in a traceback, by room and qualified name."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    paths = [f"{frame.f_globals['__name__']}.{frame.f_code.co_qualname}" for frame in frames]
    for path, inner in pairwise([path for path in paths if path.startswith(HERE)]):
        # What opens an object is the object's own making, and that its base's.
        if path.rpartition(".")[2].startswith(("open_", "subscribe")):
            continue
        if not (path.endswith("__init__") and inner.endswith("__init__")):
            return path
    raise AssertionError("no verb of the library raised it")


@on_every_surface
async def test_the_verbs_that_are_tried_here_are_those_in_the_registry(surface: Surface) -> None:
    """None that may wait is untried, and none that is tried is unregistered."""
    tried = set()
    async with opened(surface) as it:
        for verb in it.verbs.values():
            with nls.no_waiting():
                tried.add(called(await refused(verb, "no_waiting()")))
    is_blocking = surface.name == "blocking"
    assert tried == {name for name in registered() if bool(BLOCKING.search(name)) == is_blocking}


def test_every_verb_that_may_wait_is_in_the_registry() -> None:
    """A coroutine of the async surface waits, unless it closes a socket; and so does its twin."""
    names = registered()
    verbs = {f"{tcpstat.__name__}.collect", f"{tcpstat.__name__}.collect_blocking"}
    for found in iter_modules(aio.__path__):
        if found.name == "waiting":
            continue  # what verbs are made of, and no verb
        room = import_module(f"{aio.__name__}.{found.name}")
        for own in vars(room).values():
            if getattr(own, "__module__", None) != room.__name__:
                continue
            for name, verb in vars(own).items() if inspect.isclass(own) else [("", own)]:
                public = not name.startswith("_") or name in {"__aenter__", "__anext__"}
                if not (inspect.iscoroutinefunction(verb) and public) or (
                    (name == "aclose" and own is not nls.Outbox)
                    or (own.__qualname__, name) == ("Dump", "__aenter__")  # not opened by that
                ):
                    continue
                _, _, method = verb.__qualname__.rpartition(".")
                path = f"{room.__name__}.{verb.__qualname__}"
                twin = path.replace(".aio.", ".blocking.").removesuffix(method)
                verbs |= {path, twin + TWINS.get(method, method)}
    assert verbs <= names
