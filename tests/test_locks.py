"""Watched locks: no wait of the library begins under one without being told."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import re
import signal
import socket
import sys
import threading
import traceback
from functools import partial
from importlib import import_module
from itertools import pairwise
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import trio

import kernel
import netlink_safe as nls
from netlink_safe import aio, blocking
from netlink_safe.collectors import tcpstat
from netlink_safe.collectors.prometheus import TcpStatCollector
from netlink_safe.collectors.tcp_fold import StateFold
from netlink_safe.transport import locks
from surfaces import ASYNC_SURFACES, Surface, on_every_surface, on_surfaces
from test_imports import loaded_by

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from types import FrameType

#: Verbs that have something to do, or to hear, in this order.
WORKING = (
    "dump",
    "fold",
    "read_proc_net",
    "collect",
    "user.send",
    "user.receive",
    "Outbox",
    "outbox.flush",
    "outbox.close",
    "open_generic",
    "family",
    "families",
    "policy",
    "policies",
    "Family.policy",
    "genl.request",
    "genl.dump",
    "subscribe",
    "open_route",
)
NLCTRL = nls.generic_request("nlctrl", 3, {2: "nlctrl"})
HERE = "netlink_safe."
TWINS = {"__anext__": "__next__", "__aenter__": "__init__", "aclose": "close"}
LISTENERS = nls.tcp_sockets(states=["listen"], families="inet")


@pytest.fixture(autouse=True)
def _nothing_held_at_the_end() -> Iterator[None]:
    """Whatever a test took, it has released."""
    yield
    left = dict(locks.held)
    locks.held.clear()  # that one failure does not become all of them
    assert left == {}


class Opened:
    """One object of each kind, on one surface; each verb by its name."""

    def __init__(
        self,
        surface: Surface,
        diag: Any,
        events: Any,
        user: Any,
        box: Any,
        genl: Any,
        heard: Any,
        family: Any,
    ) -> None:
        self._surface = surface
        self.verbs: dict[str, Callable[[], Awaitable[object]]] = {
            "dump": self._dump_of(diag),
            "request": lambda: diag.request(nls.tcp_socket(("127.0.0.1", 9)), timeout=1),
            "fold": lambda: diag.fold(LISTENERS, StateFold),
            "read_proc_net": lambda: diag.read_proc_net("snmp"),
            "open_sock_diag": lambda: self._entered(surface.open_sock_diag),
            "open_uevents": lambda: self._entered(surface.open_uevents),
            "open_user": lambda: self._entered(surface.open_user),
            "collect": surface.collect,
            "uevents.receive": lambda: events.receive(timeout=1),
            "uevents.next": lambda: events.__aiter__().__anext__(),
            "user.next": lambda: user.__aiter__().__anext__(),
            "user.receive": lambda: user.receive(timeout=1),
            "user.send": lambda: user.send(b"x", port_id=user.port_id),
            "Outbox": lambda: self._entered(surface.outbox),
            "outbox.flush": box.flush,
            "outbox.close": box.aclose,
            "open_generic": lambda: self._entered(surface.open_generic),
            "family": lambda: genl.family("nlctrl"),
            "families": genl.families,
            "policy": lambda: genl.policy("nlctrl", 3),
            "policies": lambda: genl.policies("nlctrl"),
            "Family.policy": lambda: family.policy(3),
            "genl.request": lambda: genl.request(NLCTRL),
            "genl.dump": lambda: self._dumped(genl.dump(NLCTRL)),
            "subscribe": lambda: self._entered(lambda: genl.subscribe("nlctrl")),
            "heard.receive": lambda: heard.receive(timeout=1),
            "heard.next": lambda: heard.__aiter__().__anext__(),
            "open_route": lambda: self._entered(surface.open_route),
            "delete_link": lambda: surface.delete_link("nothing"),
        }
        if surface.name == "blocking":
            self.verbs["TcpStatCollector.collect"] = self._scrape
        self.diag, self.events, self.user, self.box = diag, events, user, box

    @staticmethod
    async def _scrape() -> None:
        TcpStatCollector().collect()

    @staticmethod
    async def _dumped(dump: Any) -> None:
        async for _ in dump:
            pass

    @staticmethod
    def _dump_of(diag: Any) -> Callable[[], Awaitable[object]]:
        async def dump() -> None:
            async for _ in diag.dump(LISTENERS):
                pass

        return dump

    @staticmethod
    async def _entered(opening: Callable[[], Any]) -> None:
        async with opening():
            pass


@contextlib.asynccontextmanager
async def opened(surface: Surface) -> Any:
    async with (
        surface.open_sock_diag() as diag,
        surface.open_uevents(subsystem="nothing") as events,
        surface.open_user() as user,
        surface.outbox() as box,
        surface.open_generic() as genl,
        genl.subscribe("nlctrl") as heard,
    ):
        family = await genl.family("nlctrl")
        yield Opened(surface, diag, events, user, box, genl, heard, family)


async def refused(verb: Callable[[], Awaitable[object]], name: str) -> nls.LockHeldError:
    with pytest.raises(nls.LockHeldError, match="may wait, and") as caught:
        await verb()
    assert caught.value.lock == name
    assert __file__ in caught.value.where
    return caught.value


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


def lock_of(surface: Surface) -> Any:
    """The lock of the event loop that a surface runs on."""
    return trio.Lock() if surface.backend == "trio" else asyncio.Lock()


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


@on_surfaces(ASYNC_SURFACES)
async def test_a_lock_that_another_task_holds_is_its_own_affair(surface: Surface) -> None:
    """Of threading or of the loop: a task is asked for what it took itself."""
    for lock in (threading.Lock(), lock_of(surface), anyio.Lock()):
        watched = nls.watch_lock(lock, name="another's")
        taken, done = anyio.Event(), anyio.Event()

        async def hold(
            watched: Any = watched, taken: anyio.Event = taken, done: anyio.Event = done
        ) -> None:
            if hasattr(watched, "__aenter__"):
                await watched.acquire()
            else:
                watched.acquire()
            taken.set()
            await done.wait()
            watched.release()

        async with opened(surface) as it, anyio.create_task_group() as tasks:
            tasks.start_soon(hold)
            await taken.wait()
            for name in WORKING:
                await it.verbs[name]()
            done.set()


@on_every_surface
async def test_a_lock_that_another_thread_holds_is_its_own_affair(surface: Surface) -> None:
    """The third story needs one thread that waits under the lock; this is not it."""
    watched = nls.watch_lock(threading.Lock(), name="another's")
    taken, done = threading.Event(), threading.Event()

    def hold() -> None:
        with watched:
            taken.set()
            assert done.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    assert taken.wait(30)
    try:
        async with opened(surface) as it:
            for name in WORKING:
                await it.verbs[name]()
    finally:
        done.set()
        thread.join()


@on_surfaces(ASYNC_SURFACES)
async def test_child_tasks_do_not_inherit(surface: Surface) -> None:
    """The parent waits for them under its lock, which is the parent's affair."""
    watched = nls.watch_lock(threading.Lock(), name="the parent's")
    async with opened(surface) as it:
        with watched:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(it.verbs["collect"])
            await refused(it.verbs["collect"], "the parent's")


@on_surfaces(ASYNC_SURFACES)
async def test_a_blocking_wait_asks_for_the_whole_thread(surface: Surface) -> None:
    """Whichever task took the lock: none of them runs while their thread waits."""
    watched = nls.watch_lock(lock_of(surface), name="a task's")
    taken, done = anyio.Event(), anyio.Event()

    async def hold() -> None:
        async with watched:
            taken.set()
            await done.wait()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hold)
        await taken.wait()
        with pytest.raises(nls.LockHeldError, match="a task's is held"):
            tcpstat.collect_blocking()
        done.set()


def test_a_lock_taken_outside_any_task_is_held_by_all_of_its_thread() -> None:
    """What was taken before the loop began is released after it has ended."""
    watched = nls.watch_lock(threading.Lock(), name="the program's")
    for backend in ("trio", "asyncio"):
        with watched, pytest.raises(nls.LockHeldError, match="the program's"):
            anyio.run(tcpstat.collect, backend=backend)
        anyio.run(tcpstat.collect, backend=backend)


def test_an_rlock_counts() -> None:
    """It is held until the outermost release."""
    watched = nls.watch_lock(threading.RLock(), name="counted")
    with watched:
        with watched:
            pass
        with pytest.raises(nls.LockHeldError):
            tcpstat.collect_blocking()
    tcpstat.collect_blocking()


def test_a_release_elsewhere_clears_it() -> None:
    """A lock of threading may be released by another thread than took it."""
    watched = nls.watch_lock(threading.Lock(), name="handed over")
    watched.acquire()
    thread = threading.Thread(target=watched.release)
    thread.start()
    thread.join()
    tcpstat.collect_blocking()
    assert not watched.locked()


def test_a_lock_that_was_not_taken_is_not_held() -> None:
    """Neither by an acquire that failed, nor by a release that was nobody's."""
    watched = nls.watch_lock(threading.Lock(), name="busy")
    with watched:
        assert not watched.acquire(blocking=False)
        assert not watched.acquire(timeout=0.01)
        assert len(locks.held) == 1
    with pytest.raises(RuntimeError):
        watched.release()
    tcpstat.collect_blocking()


@pytest.mark.parametrize("kind", [threading.Lock, threading.RLock])
def test_a_condition_of_threading_takes_the_wrapper(kind: Callable[[], Any]) -> None:
    """While it waits the lock is not held; once notified it is again."""
    condition = threading.Condition(nls.watch_lock(kind(), name="its lock"))
    woken: list[str] = []

    def wait() -> None:
        with condition:
            assert condition.wait(30)
            with pytest.raises(nls.LockHeldError, match="its lock"):
                tcpstat.collect_blocking()
            woken.append("once")

    thread = threading.Thread(target=wait)
    thread.start()
    while not condition._waiters:  # type: ignore[attr-defined]
        pass
    with condition:
        with pytest.raises(nls.LockHeldError):
            tcpstat.collect_blocking()
        condition.notify()
    thread.join(30)
    assert woken == ["once"]


@pytest.mark.parametrize(
    ("backend", "new"),
    [
        ("trio", lambda: nls.watch_lock(trio.Condition(), name="its lock")),
        ("trio", lambda: anyio.Condition(nls.watch_lock(anyio.Lock(), name="its lock"))),
        ("trio", lambda: nls.watch_lock(anyio.Condition(), name="its lock")),
        ("asyncio", lambda: anyio.Condition(nls.watch_lock(anyio.Lock(), name="its lock"))),
        ("asyncio", lambda: asyncio.Condition(nls.watch_lock(asyncio.Lock(), name="its lock"))),
    ],
)
def test_conditions_of_the_event_loops(backend: str, new: Callable[[], Any]) -> None:
    """They take the wrapper, or are wrapped themselves."""

    async def main() -> None:
        condition = new()
        waiting, woken = anyio.Event(), anyio.Event()

        async def wait() -> None:
            async with condition:
                waiting.set()
                await condition.wait()
                with pytest.raises(nls.LockHeldError, match="its lock"):
                    await tcpstat.collect()
                woken.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await waiting.wait()
            await tcpstat.collect()
            async with condition:
                with pytest.raises(nls.LockHeldError, match="its lock"):
                    await tcpstat.collect()
                condition.notify()
            await woken.wait()
        await tcpstat.collect()

    anyio.run(main, backend=backend)


@on_every_surface
async def test_no_waiting_says_the_same_of_any_stretch(surface: Surface) -> None:
    """Of this thread, and within a task of this task."""
    async with opened(surface) as it:
        with nls.no_waiting():
            error = await refused(it.verbs["collect"], "no_waiting()")
            with nls.no_waiting():
                pass
            await refused(it.verbs["collect"], "no_waiting()")
        assert "test_no_waiting_says_the_same" in error.where
        await it.verbs["collect"]()


def test_the_environment_says_whether_to_raise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Raise unless it says warn, or off; anything else is a mistake."""
    with nls.no_waiting():
        monkeypatch.setenv("NETLINK_SAFE_LOCKS", "warn")
        with pytest.warns(nls.LockHeldWarning, match="no_waiting"):
            tcpstat.collect_blocking()
        monkeypatch.setenv("NETLINK_SAFE_LOCKS", "off")
        tcpstat.collect_blocking()
        monkeypatch.setenv("NETLINK_SAFE_LOCKS", "maybe")
        with pytest.raises(nls.LocalProtocolError, match="none of raise, warn, off"):
            tcpstat.collect_blocking()


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


@pytest.mark.parametrize(
    "thing",
    [
        None,
        5,
        threading.Event(),
        object(),
        trio.Event,
        threading.Semaphore(2),
        asyncio.Semaphore(2),
        trio.CapacityLimiter(2),
    ],
)
def test_what_is_no_lock_cannot_be_watched(thing: object) -> None:
    """It is said at once."""
    with pytest.raises(nls.LocalProtocolError, match="no lock that can be watched"):
        nls.watch_lock(thing)


@pytest.mark.parametrize("new", [lambda: anyio.Semaphore(1), lambda: anyio.CapacityLimiter(1)])
def test_what_counts_in_anyio_cannot_be_watched_wherever_it_was_made(
    new: Callable[[], object],
) -> None:
    """Within either event loop, and outside."""

    async def refuse() -> None:
        test_what_is_no_lock_cannot_be_watched(new())

    anyio.run(refuse, backend="trio")
    anyio.run(refuse, backend="asyncio")
    test_what_is_no_lock_cannot_be_watched(new())


@pytest.mark.parametrize(
    "lock",
    [
        nls.watch_lock(threading.Lock()),
        nls.watch_lock(threading.RLock()),
        nls.watch_lock(asyncio.Lock()),
        nls.watch_lock(trio.Condition()),
        anyio.Condition(nls.watch_lock(anyio.Lock())),
    ],
)
def test_a_lock_is_watched_once(lock: Any) -> None:
    """Twice would enter it twice; a condition made of a watched lock is watched by that."""
    with pytest.raises(nls.LocalProtocolError, match="is watched already"):
        nls.watch_lock(lock)


def test_a_watched_lock_is_used_as_before() -> None:
    """What it has beside acquire and release is there as well."""
    watched = nls.watch_lock(trio.Lock(), name="a lock")
    assert not watched.locked()
    assert watched.statistics().tasks_waiting == 0
    assert repr(watched).startswith("<watched a lock: ")

    async def main() -> None:
        watched.acquire_nowait()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(another)
        watched.release()

    async def another() -> None:
        with pytest.raises(trio.WouldBlock):
            watched.acquire_nowait()
        assert len(locks.held) == 1

    trio.run(main)


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


def test_watching_loads_no_event_loop() -> None:
    """A program of threads stays one."""
    program = """
import threading
from netlink_safe.blocking import LockHeldError, no_waiting, watch_lock
from netlink_safe.collectors.tcpstat import collect_blocking
with watch_lock(threading.Lock()):
    try:
        collect_blocking()
    except LockHeldError:
        print("told")
"""
    assert loaded_by(program) == set()


def test_a_condition_of_threading_is_made_of_a_watched_lock() -> None:
    """Its own lock would be taken and released behind the wrapper's back."""
    for condition in (threading.Condition(), asyncio.Condition()):
        with pytest.raises(nls.LocalProtocolError, match=r"Condition\(watch_lock\(lock\)\)"):
            nls.watch_lock(condition)


def test_a_lock_of_asyncio_belongs_to_who_asked_for_it() -> None:
    """Before Python 3.12 wait_for() takes it in a task of its own."""

    async def main() -> None:
        watched = nls.watch_lock(asyncio.Lock(), name="waited for")
        await asyncio.wait_for(watched.acquire(), 5)
        with pytest.raises(nls.LockHeldError, match="waited for"):
            await tcpstat.collect()
        watched.release()
        await tcpstat.collect()

    asyncio.run(main())


def test_a_wait_on_a_condition_that_is_not_held_leaves_nothing() -> None:
    """The mistake is raised, and nobody is taken for its holder."""

    async def main() -> None:
        condition = nls.watch_lock(trio.Condition(), name="not held")
        with pytest.raises(RuntimeError):
            await condition.wait()
        await tcpstat.collect()

    trio.run(main)


def test_a_lock_that_is_gone_is_held_by_nobody() -> None:
    """Its entry goes with it."""
    watched = nls.watch_lock(threading.Lock(), name="gone")
    watched.acquire()
    del watched
    gc.collect()
    tcpstat.collect_blocking()


def test_a_release_that_fails_changes_nothing() -> None:
    """Another thread may not release an RLock; its owner holds it as often as before."""
    watched = nls.watch_lock(threading.RLock(), name="mine")
    failed: list[BaseException] = []

    def release() -> None:
        try:
            watched.release()
        except RuntimeError as error:
            failed.append(error)

    with watched:
        with watched:
            thread = threading.Thread(target=release)
            thread.start()
            thread.join()
            assert len(failed) == 1
        with pytest.raises(nls.LockHeldError):
            tcpstat.collect_blocking()
    tcpstat.collect_blocking()


def test_a_child_holds_what_its_own_thread_held() -> None:
    """The other threads are not there any more."""
    watched = nls.watch_lock(threading.Lock(), name="another thread's")
    taken, done = threading.Event(), threading.Event()

    def hold() -> None:
        with watched:
            taken.set()
            assert done.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    assert taken.wait(30)
    assert kernel.in_child(lambda: len(locks.held)) == "0"
    with nls.no_waiting():
        assert kernel.in_child(lambda: len(locks.held)) == "1"
    done.set()
    thread.join()


@on_every_surface
async def test_a_refused_wait_does_not_end_an_iteration(surface: Surface) -> None:
    """The rows come when the lock is released, all of them."""
    with contextlib.ExitStack() as made:
        for _ in range(5):
            made.enter_context(socket.create_server(("127.0.0.1", 0)))
        async with surface.open_sock_diag() as diag:
            rows = diag.dump(LISTENERS).__aiter__()
            with nls.no_waiting(), pytest.raises(nls.LockHeldError):
                await rows.__anext__()
            assert len([row async for row in rows]) == 5


class Interrupted(BaseException):
    """What a signal's handler raises."""


def raising_at(event: int, used: Callable[[], None]) -> bool:
    """Raise where the library's so-many-th function or line begins; False where there is none."""
    left = event

    def trace(frame: FrameType, kind: str, _: object) -> Any:
        nonlocal left
        if not frame.f_globals.get("__name__", "").startswith(HERE):
            return None
        if kind in {"call", "line"}:
            left -= 1
            if left < 0:
                sys.settrace(before)
                raise Interrupted
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        used()
    except Interrupted:
        return True
    finally:
        sys.settrace(before)
    return False


def by_block(lock: Any) -> None:
    with lock:
        assert not free(lock)


def by_name(lock: Any) -> None:
    lock.acquire()
    try:
        assert not free(lock)
    finally:
        lock.release()


def twice(lock: Any) -> None:
    with lock:
        by_block(lock) if hasattr(lock, "_is_owned") else None
        assert not free(lock)


def by_condition(lock: Any) -> None:
    condition = threading.Condition(lock)
    with condition:
        condition.wait(0)
        assert not free(lock)


def free(lock: Any) -> bool:
    return not (lock._is_owned() if hasattr(lock, "_is_owned") else lock.locked())


@pytest.mark.parametrize("used", [by_block, by_name, twice, by_condition])
@pytest.mark.parametrize("new", [threading.Lock, threading.RLock])
def test_whatever_is_raised_in_the_wrapper_the_lock_is_free(
    new: Callable[[], Any], used: Callable[[Any], None]
) -> None:
    """Wherever it is raised; nothing is left in the table, and no block runs without the lock."""
    watched = nls.watch_lock(new())
    event = 0
    while raising_at(event, partial(used, watched)):
        assert free(watched)
        assert locks.held == {}
        event += 1
    assert event > 10


def test_whatever_is_raised_in_no_waiting_its_stretch_has_ended() -> None:
    """An entry that stays would forbid every wait from then on."""

    def stretch() -> None:
        with nls.no_waiting():
            assert locks.held

    event = 0
    while raising_at(event, stretch):
        assert locks.held == {}
        event += 1
    assert event > 10


@pytest.mark.parametrize("watch", [lambda lock: lock, nls.watch_lock], ids=["plain", "watched"])
@pytest.mark.parametrize("new", [threading.Lock, threading.RLock])
def test_an_alarm_whose_handler_raises_leaves_no_lock_taken(
    new: Callable[[], Any], watch: Callable[[Any], Any]
) -> None:
    """Whenever it comes: a lock that is watched is as safe from it as the lock itself."""

    def handler(*_: object) -> None:
        raise Interrupted

    lock = watch(new())
    alarms = left = stale = 0
    gc.disable()  # what is raised in a callback of the collector reaches nobody
    before = signal.signal(signal.SIGALRM, handler)
    try:
        for number in range(1000):
            try:
                try:
                    signal.setitimer(signal.ITIMER_REAL, (2 + number % 97) * 1e-6)
                    for _ in range(100_000):
                        with lock:
                            pass
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
            except Interrupted:
                alarms += 1
            if not free(lock):
                left += 1
                lock.release()
            stale += bool(locks.held)
    finally:
        signal.signal(signal.SIGALRM, before)
        gc.enable()
    assert (left, stale) == (0, 0)
    assert alarms > 900


@pytest.mark.parametrize("new", [threading.Lock, threading.RLock])
def test_a_watched_lock_is_entered_by_an_exit_stack(new: Callable[[], Any]) -> None:
    """Which asks its class for what with calls; so does one of no_waiting()."""
    watched = nls.watch_lock(new(), name="the table")
    for guard, name in ((watched, "the table"), (nls.no_waiting(), "no_waiting()")):
        with contextlib.ExitStack() as stack:
            stack.enter_context(guard)
            with pytest.raises(nls.LockHeldError) as caught:
                tcpstat.collect_blocking()
            assert caught.value.lock == name
            assert "test_a_watched_lock_is_entered" in caught.value.where
        assert locks.held == {}
    assert free(watched)


def test_an_error_of_the_block_comes_out_of_it() -> None:
    """Leaving keeps nothing back."""
    for guard in (nls.watch_lock(threading.Lock()), nls.no_waiting()):
        with pytest.raises(ValueError, match="the block's"), guard:
            raise ValueError("the block's")


def test_a_lock_that_only_its_block_knows_is_held_in_it() -> None:
    """Its entry does not go with the last name of it."""
    with nls.watch_lock(threading.Lock(), name="nameless"):
        gc.collect()
        with pytest.raises(nls.LockHeldError, match="nameless"):
            tcpstat.collect_blocking()


def test_no_waiting_is_entered_once_at_a_time() -> None:
    """The inner block would end the outer one's stretch."""
    stretch = nls.no_waiting()
    for _ in range(2):
        with stretch, pytest.raises(nls.LocalProtocolError, match="entered already"), stretch:
            pass


@on_surfaces(ASYNC_SURFACES)
async def test_an_rlock_is_held_by_every_task_that_took_it(surface: Surface) -> None:
    """Those of one thread do not exclude each other; it is free when the last has released it."""
    watched = nls.watch_lock(threading.RLock(), name="shared")
    taken, done = anyio.Event(), anyio.Event()

    async def hold() -> None:
        with watched:
            taken.set()
            await done.wait()
            await refused(surface.collect, "shared")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hold)
        await taken.wait()
        await surface.collect()
        with watched:
            await refused(surface.collect, "shared")
        done.set()
    await surface.collect()
