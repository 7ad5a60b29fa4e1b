"""What the library tells of its own sockets: right, never less than before, and nothing kept."""

from __future__ import annotations

import contextlib
import gc
import re
import subprocess
import sys
import threading
import warnings
import weakref
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest
from prometheus_client import CollectorRegistry, generate_latest

import faults
import kernel
import netlink_safe as nls
from links import Links, names
from netlink_safe import blocking
from netlink_safe.collectors.prometheus import NetlinkSelfCollector
from netlink_safe.transport import census as census_room
from netlink_safe.transport.roll import MANY, Roll
from netlink_safe.transport.socket import KernelSocket
from netlink_safe.wire.constants import NLMSG_DONE, NLMSG_ERROR
from surfaces import ASYNC_SURFACES, Surface, on_every_surface, on_surfaces, taking_at_most
from test_outbox import LARGE, NOBODY, filled, sleeper
from test_tcp_metrics import documented, values

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from netlink_safe.transport.socket import Memory

FLOOR: Final = 32 * 1024
PREFIX: Final = "netlink_safe_"
BUFFER: Final = PREFIX + "socket_receive_buffer_bytes"
QUEUE: Final = PREFIX + "socket_receive_queue_bytes"
KINDS: Final = {"sock_diag", "route", "generic", "uevents", "notifications", "user"}
#: The metrics that this collector has, and no other one.
OWN: Final = re.compile(PREFIX + "(open|socket|outbox)_")

__all__ = ["sleeper"]  # a fixture


def samples(collector: NetlinkSelfCollector) -> dict[tuple[str, ...], float]:
    """Every sample by its name and the values of its labels."""
    return {
        (each.name, *each.labels.values()): each.value
        for metric in collector.collect()
        for each in metric.samples
    }


class Growth:
    """How far the samples have grown since this was made: a process has other tests behind it."""

    def __init__(self) -> None:
        self.collector = NetlinkSelfCollector()
        self._before = samples(self.collector)

    def __call__(self, name: str, *labels: str) -> float:
        key = (PREFIX + name, *labels)
        return samples(self.collector).get(key, 0) - self._before.get(key, 0)


@pytest.fixture
def growth() -> Growth:
    return Growth()


@contextlib.contextmanager
def forgetting() -> Iterator[None]:
    """In the body objects are dropped that nobody closed, of which Python tells."""
    with warnings.catch_warnings(action="ignore"):
        yield
        gc.collect()


async def count(diag: Any) -> int:
    """How many TCP sockets there are."""
    return len([row async for row in diag.dump(nls.tcp_sockets())])


async def opened_and_lost(surface: Surface) -> int:
    """Dump once, and lose the object; how many datagrams it had seen."""
    diag = surface.open_sock_diag()
    await count(diag)
    return int(diag.statistics().datagrams)


@on_every_surface
async def test_every_open_socket_is_told_with_its_buffer(surface: Surface) -> None:
    """Of each kind, from its opening to its close."""
    growth = Growth()
    async with contextlib.AsyncExitStack() as opened:
        enter = opened.enter_async_context
        diag = await enter(surface.open_sock_diag())
        route = await enter(surface.open_route(receive_buffer=100_000))
        generic = await enter(surface.open_generic())
        one = await enter(surface.open_uevents(receive_buffer=FLOOR))
        other = await enter(surface.open_uevents(receive_buffer=2 * FLOOR))
        heard = await enter(generic.subscribe("nlctrl"))
        user = await enter(surface.open_user(port_id=77))
        await enter(surface.outbox())
        expected = {"sock_diag": 1, "route": 1, "uevents": 2, "notifications": 1, "user": 2}
        assert {kind: growth("open_sockets", kind) for kind in expected} == expected
        assert growth("open_sockets", "generic") == 2, "its own, and the subscription's questions"
        metrics = growth.collector.collect()
        for kind, objects in {
            "sock_diag": [diag],
            "route": [route],
            "uevents": [one, other],
            "notifications": [heard],
        }.items():
            told = values(metrics, BUFFER, kind=kind).values()
            assert sorted(told) == sorted(each.statistics().receive_buffer for each in objects)
        assert values(metrics, BUFFER, kind="user")["77"] == user.statistics().receive_buffer
        assert set(values(metrics, QUEUE).values()) == {0}
    assert {kind: growth("open_sockets", kind) for kind in KINDS} == dict.fromkeys(KINDS, 0)
    assert values(growth.collector.collect(), BUFFER) == {}


@on_every_surface
async def test_a_dump_without_an_end_is_a_timeout_and_retries(surface: Surface) -> None:
    """As the object's own statistics have them; they stay when it is closed."""
    growth = Growth()
    async with surface.open_sock_diag(timeout=0.5) as diag:
        diag._pool.discard(diag._pool.acquire())  # it was opened without a filter
        with faults.filtered(faults.losing(NLMSG_DONE)), pytest.raises(nls.NetlinkTimeout):
            await count(diag)
        statistics = diag.statistics()
        assert statistics.timeouts == 1
        assert statistics.retries in {1, 2}, "two, unless the machine is very busy"
        for _ in ("open", "closed"):
            assert growth("socket_timeouts_total", "sock_diag") == 1
            assert growth("socket_retries_total", "sock_diag") == statistics.retries
            assert growth("socket_timeouts_total", "route") == 0
            await diag.aclose()


@on_every_surface
async def test_drops_that_nobody_has_looked_at_are_counted_at_the_close(
    surface: Surface, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind it they are not to be had any more."""
    memory = KernelSocket.memory
    monkeypatch.setattr(KernelSocket, "memory", lambda sock: attrs.evolve(memory(sock), drops=7))
    growth = Growth()
    for _ in range(2):
        async with surface.open_sock_diag(), surface.open_user():
            pass
    assert growth("socket_drops_total", "sock_diag") == 14
    assert growth("socket_drops_total", "user") == 14


@on_every_surface
async def test_a_listener_that_overruns_is_seen_before_it_knows_itself(surface: Surface) -> None:
    """Its drops and what is queued are the kernel's; overrun and resync come when it reads on."""
    growth = Growth()
    with Links() as links:
        async with surface.open_uevents(subsystem="net", receive_buffer=FLOOR) as events:
            for pair in names(range(100)):
                links.make(*pair)
            drops = growth("socket_drops_total", "uevents")
            (queued,) = values(growth.collector.collect(), QUEUE, kind="uevents").values()
            assert drops > 0
            assert 0 < queued <= 2 * FLOOR
            assert growth("socket_overruns_total", "uevents") == 0
            while not isinstance(await events.receive(), nls.Resynced):
                pass
            statistics = events.statistics()
            assert statistics.drops == drops
            assert set(values(growth.collector.collect(), QUEUE, kind="uevents").values()) == {0}
    assert growth("socket_drops_total", "uevents") == drops, "counted once, whoever looked"
    assert growth("socket_datagrams_total", "uevents") == statistics.datagrams
    assert growth("socket_overruns_total", "uevents") == 1
    assert growth("socket_resyncs_total", "uevents") == 1


@on_every_surface
async def test_what_is_not_believed_is_told_by_reason(surface: Surface) -> None:
    """A stranger's datagram, which was there before the reply."""
    growth = Growth()
    async with surface.open_sock_diag() as diag:
        (sock,) = diag._pool._idle
        faults.spoof(sock.port_id, b"believe me")
        assert growth("socket_rejected_total", "sock_diag", "foreign_sender") == 0
        await count(diag)
        rejected = diag.statistics().rejected
    assert rejected == {"foreign_sender": 1}
    assert growth("socket_rejected_total", "sock_diag", "foreign_sender") == 1


@on_every_surface
async def test_an_outbox_is_told_as_it_tells_itself(
    surface: Surface, sleeper: socket.socket
) -> None:
    """Its figures while it is open, and what became of its messages for ever."""
    growth = Growth()
    totals = ("posted", "sent", "refused")
    async with surface.outbox(capacity=3) as box:
        box.post(b"x", port_id=NOBODY)
        await box.flush()
        await filled(box, sleeper)
        for _ in range(4):
            box.post(LARGE, port_id=sleeper.getsockname()[0])
        now = box.statistics()
        assert (now.held, now.dropped["oldest"], now.undelivered) == (3, 2, 1)
        assert growth("open_outboxes") == 1
        assert growth("outbox_capacity") == 3
        assert growth("outbox_held") == 3
        age = growth("outbox_oldest_age_seconds")
        assert now.oldest_age <= age <= box.statistics().oldest_age
        for name in totals:
            assert growth(f"outbox_{name}_total") == getattr(now, name)
        assert growth("outbox_dropped_total", "oldest") == 2
        assert growth("outbox_undelivered_total", "no_such_peer") == 1
        await box.aclose(timeout=0.05)
        assert growth("open_outboxes") == growth("outbox_capacity") == growth("outbox_held") == 0
    end = box.statistics()
    del box
    gc.collect()
    assert {name: growth(f"outbox_{name}_total") for name in totals} == {
        name: getattr(end, name) for name in totals
    }
    assert growth("outbox_dropped_total", "oldest") == 2
    assert growth("outbox_undelivered_total", "closed") == 3
    assert (PREFIX + "outbox_oldest_age_seconds",) not in samples(growth.collector)


def test_posts_that_are_refused_or_dropped_at_once_are_told(
    growth: Growth, sleeper: socket.socket
) -> None:
    """By what is to happen when the outbox is full."""
    port_id = sleeper.getsockname()[0]
    for when_full in ("raise", "drop_newest"):
        box = nls.Outbox(capacity=2, when_full=when_full)
        with contextlib.suppress(nls.OutboxFull):
            for _ in range(3):
                box.post(b"x", port_id=port_id)
        box._pump.end()
    assert growth("outbox_refused_total") == 1
    assert growth("outbox_dropped_total", "newest") == 1
    assert growth("outbox_posted_total") == 5
    assert growth("outbox_sent_total") == 4


@on_surfaces(ASYNC_SURFACES)
async def test_messages_of_an_outbox_that_nobody_entered_are_not_lost_in_silence(
    surface: Surface,
) -> None:
    """Nobody will ever send them, once it is gone."""
    growth = Growth()
    with forgetting():
        box = surface.outbox()
        for _ in range(3):
            box.post(b"x", port_id=NOBODY)
        assert growth("outbox_held") == 3
        del box
    assert growth("outbox_held") == growth("open_outboxes") == 0
    assert growth("outbox_posted_total") == 3
    assert growth("outbox_undelivered_total", "closed") == 3


@on_every_surface
async def test_what_was_counted_stays_whether_closed_or_forgotten(surface: Surface) -> None:
    """And nothing is counted twice, however many there were."""
    growth = Growth()
    expected = 0
    for number in range(2 * MANY + 5):
        if number % 10:
            async with surface.open_sock_diag() as diag:
                await count(diag)
                expected += diag.statistics().datagrams
            await diag.aclose()
        else:
            with forgetting():
                expected += await opened_and_lost(surface)
        if number % 40 == 0:
            assert growth("socket_datagrams_total", "sock_diag") == expected
    assert growth("socket_datagrams_total", "sock_diag") == expected
    assert growth("open_sockets", "sock_diag") == 0


def test_who_never_asks_pays_with_no_memory() -> None:
    """Those that are gone are folded by those that come, and what is kept has a bound."""
    roll = census_room._sockets["sock_diag"]
    there = len(roll._entries)
    for _ in range(10 * MANY):
        blocking.open_sock_diag().close()
    gc.collect()
    assert len(roll._entries) <= there + MANY


@on_every_surface
async def test_nothing_is_kept_alive(surface: Surface) -> None:
    """Neither objects nor sockets, nor, once somebody has looked, what outboxes held."""
    growth = Growth()
    alive = weakref.WeakSet[Any]()
    with forgetting():
        diag, events, box = surface.open_sock_diag(), surface.open_uevents(), surface.outbox()
        async with diag, events, box:
            alive.update([diag._pool, box._pump])
            alive.update(each() for each in _entries("uevents"))
        backlog = weakref.ref(box._backlog)
        del diag, events, box
    kernel.until(lambda: gc.collect() >= 0 and not alive)
    growth("open_outboxes")
    assert backlog() is None


def _entries(kind: Any) -> list[Any]:
    return census_room._sockets[kind].read()[1]


@on_every_surface
async def test_an_opening_that_fails_leaves_what_it_counted_and_no_socket(
    surface: Surface,
) -> None:
    """Whether it timed out or was refused."""
    growth = Growth()
    with pytest.raises(OSError, match="port ID 99 of netlink protocol 2 is taken"):
        async with surface.open_user(port_id=99), surface.open_user(port_id=99):
            pass
    with pytest.raises(FileNotFoundError):
        async with surface.open_uevents(netns="missing"):
            pass
    async with surface.open_generic() as generic:
        with faults.filtered(faults.losing(NLMSG_ERROR)), pytest.raises(nls.NetlinkTimeout):
            async with generic.subscribe("nlctrl", timeout=0.2):
                pass
    assert growth("socket_timeouts_total", "notifications") == 1
    assert {kind: growth("open_sockets", kind) for kind in KINDS} == dict.fromkeys(KINDS, 0)


@on_every_surface
async def test_what_a_deletion_asks_on_the_way_counts_as_route(surface: Surface) -> None:
    """Its sockets belong to no opened object."""
    growth = Growth()
    with pytest.raises(nls.KernelError):
        await surface.delete_link("missing")
    assert growth("socket_datagrams_total", "route") > 0
    assert growth("open_sockets", "route") == growth("open_sockets", "generic") == 0


def test_a_forked_child_begins_at_zero(growth: Growth) -> None:
    """What its parent has open and has counted is no affair of its."""
    with blocking.open_sock_diag() as diag, blocking.open_user(), blocking.Outbox() as box:
        list(diag.dump(blocking.tcp_sockets()))
        box.post(b"x", port_id=NOBODY)
        box.flush()

        def in_the_child() -> str:
            collector = NetlinkSelfCollector()
            before = {*map(float, samples(collector).values())}
            with blocking.open_sock_diag() as own:
                list(own.dump(blocking.tcp_sockets()))
                told = samples(collector)
                expected = own.statistics().datagrams
            is_right = (
                told[PREFIX + "socket_datagrams_total", "sock_diag"] == expected
                and told[PREFIX + "open_sockets", "sock_diag"] == 1
                and told[PREFIX + "open_sockets", "user"] == 0
            )
            return f"{before} {is_right}"

        assert kernel.in_child(in_the_child) == "{0.0} True"
        assert growth("open_sockets", "user") == 2
        assert growth("outbox_undelivered_total", "no_such_peer") == 1


def test_what_can_be_counted_is_there_from_the_beginning() -> None:
    """With zeros, for every kind: what begins at 1 has not grown, as Prometheus sees it."""

    def in_the_child() -> str:
        told = samples(NetlinkSelfCollector())
        kinds = {key[1] for key in told if key[0] == PREFIX + "socket_drops_total"}
        names = {key[0].removeprefix(PREFIX) for key in told}
        missing = names_of_counters() - {"socket_rejected_total"} - names
        return f"{kinds == KINDS} {missing} {PREFIX + 'socket_receive_buffer_bytes' in names}"

    assert kernel.in_child(in_the_child) == "True set() False"


def names_of_counters() -> set[str]:
    return {
        metric.name.removeprefix(PREFIX) + "_total"
        for metric in NetlinkSelfCollector().describe()
        if metric.type == "counter"
    }


def test_threads_that_open_and_close_while_another_collects_lose_no_count(growth: Growth) -> None:
    """What only grows never falls, and comes to what the objects have counted themselves."""
    together = threading.Barrier(9)
    expected: list[int] = []
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            together.wait(30)
            for _ in range(40):
                with blocking.open_sock_diag() as diag:
                    list(diag.dump(blocking.tcp_sockets()))
                    expected.append(diag.statistics().datagrams)
                if number < 2:
                    with blocking.Outbox() as box:
                        box.post(b"x", port_id=NOBODY)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    together.wait(30)
    seen: dict[tuple[str, ...], float] = {}
    rounds = 0
    while any(thread.is_alive() for thread in threads):
        told = {
            key: value for key, value in samples(growth.collector).items() if "_total" in key[0]
        }
        fallen = {key for key, value in told.items() if value < seen.get(key, 0)}
        assert fallen == set()
        assert seen.keys() <= told.keys()
        seen, rounds = told, rounds + 1
    for thread in threads:
        thread.join(60)
    gc.collect()
    assert failures == []
    assert rounds > 10
    assert len(expected) == 320
    assert growth("socket_datagrams_total", "sock_diag") == sum(expected)
    assert growth("open_sockets", "sock_diag") == growth("open_sockets", "user") == 0
    assert growth("outbox_posted_total") == 80
    assert growth("outbox_undelivered_total", "no_such_peer") == 80


def test_a_socket_that_is_closed_meanwhile_is_left_out(
    growth: Growth, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing is raised."""
    look = KernelSocket.memory

    def closed_first(sock: KernelSocket) -> Memory:
        sock.close()
        return look(sock)

    with blocking.open_sock_diag(), blocking.open_user():
        assert growth("open_sockets", "sock_diag") == 1
        monkeypatch.setattr(KernelSocket, "memory", closed_first)
        assert growth("open_sockets", "sock_diag") == growth("open_sockets", "user") == 0
        assert values(growth.collector.collect(), BUFFER) == {}


def test_sockets_beyond_the_limit_share_a_series() -> None:
    """The sums are of all; who has a series keeps it, and a free one goes to the fullest."""

    class Narrow(NetlinkSelfCollector):
        SOCKETS = 2

    collector = Narrow()
    with contextlib.ExitStack() as held:
        users = {
            port_id: held.enter_context(blocking.open_user(port_id=port_id, receive_buffer=FLOOR))
            for port_id in range(1, 6)
        }
        held.enter_context(blocking.open_uevents())
        users[1].send_nowait(bytes(100), port_id=4)
        users[1].send_nowait(bytes(9000), port_id=5)
        metrics = collector.collect()
        assert set(values(metrics, BUFFER, kind="user")) == {"4", "5", "other"}
        assert set(values(metrics, BUFFER, kind="uevents")) == {"other"}
        assert sum(values(metrics, BUFFER, kind="user").values()) == 5 * 2 * FLOOR
        assert values(metrics, PREFIX + "open_sockets")["user"] == 5
        users[1].send_nowait(bytes(500), port_id=3)
        users[4].receive()
        assert set(values(collector.collect(), QUEUE, kind="user")) == {"4", "5", "other"}
        users[5].close()
        queues = values(collector.collect(), QUEUE, kind="user")
        assert set(queues) == {"4", "3", "other"}
        assert queues["4"] == queues["other"] == 0 < queues["3"]


def test_sockets_of_two_namespaces_that_have_one_port_id_are_told_as_one() -> None:
    """Prometheus would refuse the same series twice."""
    with (
        kernel.named_namespace("other"),
        blocking.open_user(port_id=5) as here,
        blocking.open_user(port_id=5, netns="other"),
    ):
        told = values(NetlinkSelfCollector().collect(), BUFFER, kind="user")
        assert told == {"5": 2 * here.statistics().receive_buffer}


def test_other_protocols_have_a_kind_when_there_are_some(growth: Growth) -> None:
    """Such as a program opens that builds something of its own."""
    from netlink_safe.lowlevel import Namespace, SocketPool

    audit = 9
    namespace = Namespace(None)
    pool = SocketPool(audit, FLOOR, namespace)
    pool.open()
    assert growth("open_sockets", "other") == 1
    pool.close()


def test_registering_opens_no_socket_and_says_all_that_there_may_be() -> None:
    """A scrape has what was described, down to kind and meaning, and all of it."""
    opened: list[socket.socket] = []
    collector = NetlinkSelfCollector()
    registry = CollectorRegistry()
    with faults.on_open(opened.append):
        registry.register(collector)
        described = collector.describe()
        generate_latest(registry)
    assert opened == []
    assert not any(metric.samples for metric in described)
    known = {(metric.name, metric.type, metric.documentation) for metric in described}
    box = nls.Outbox()
    with blocking.open_sock_diag() as diag:
        (sock,) = diag._pool._idle
        faults.spoof(sock.port_id, b"believe me")
        list(diag.dump(blocking.tcp_sockets()))
        box.post(b"x", port_id=NOBODY)
        scraped = collector.collect()
    box._pump.end()
    assert {(metric.name, metric.type, metric.documentation) for metric in scraped} == known


def test_the_reference_names_every_metric() -> None:
    """With its kind and its labels, and none that there is not."""
    described = {
        metric.name + ("_total" if metric.type == "counter" else ""): (
            metric.type,
            frozenset(getattr(metric, "_labelnames")),  # noqa: B009  # untyped
        )
        for metric in NetlinkSelfCollector().describe()
    }
    assert described == {name: row for name, row in documented().items() if OWN.match(name)}


def test_it_waits_for_nothing() -> None:
    """So that it may be asked under any lock, and takes a timeout only as others do."""
    collector = NetlinkSelfCollector()
    with nls.no_waiting():
        assert collector.collect(timeout=0.001)
    with pytest.raises(nls.LocalProtocolError, match="above 0 seconds"):
        collector.collect(timeout=0)


def test_without_prometheus_client_it_says_what_to_install() -> None:
    """And nothing else of the library needs it."""
    program = """
import sys
sys.modules["prometheus_client"] = None
import netlink_safe.collectors.tcpstat, netlink_safe.blocking
from netlink_safe.collectors.prometheus import NetlinkSelfCollector
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 1
    assert "pip install 'netlink-safe[prometheus]'" in ended.stderr.splitlines()[-1]


class Thing:
    """Something to put on a roll."""


def summed(total: int, counts: Any) -> int:
    return total + sum(sum(each) for each in counts)


def told(roll: Roll[Thing, list[int], int]) -> int:
    """The total of all that is and was on a roll."""
    past, entries = roll.read()
    return summed(past, [entry.counts for entry in entries])


@pytest.mark.parametrize("interrupted", ["_forget", "_add"])
def test_a_fold_that_is_interrupted_counts_nothing_twice(interrupted: str) -> None:
    """Wherever an exception of a signal's handler comes; the next one goes on."""
    roll = Roll[Thing, list[int], int](0, summed)
    things = [Thing() for _ in range(5)]
    for number, thing in enumerate(things):
        roll.enter(thing, [10**number])
    del thing
    things[:3] = []
    original, calls = getattr(roll, interrupted), []

    def raising(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == (2 if interrupted == "_forget" else 1):
            raise KeyboardInterrupt
        return original(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(roll, interrupted, raising)
        with pytest.raises(KeyboardInterrupt):
            roll.read()
    assert told(roll) == 11111
    things[:] = []
    assert told(roll) == 11111
    assert roll._entries == {}
    assert told(roll) == 11111


@pytest.mark.parametrize("inside", ["_forget", "_add"])
def test_a_look_inside_a_fold_is_right_and_waits_for_nobody(inside: str) -> None:
    """A destructor, say, that opens something while those that are gone are folded."""
    roll = Roll[Thing, list[int], int](0, summed)
    for number in range(3):
        roll.enter(Thing(), [10**number])
    original, seen = getattr(roll, inside), list[int]()
    is_inside = False

    def looking(*arguments: Any) -> Any:
        nonlocal is_inside
        if not is_inside:
            is_inside = True
            seen.append(told(roll))
            is_inside = False
        return original(*arguments)

    with pytest.MonkeyPatch.context() as patch, taking_at_most(5):
        patch.setattr(roll, inside, looking)
        assert told(roll) == 111
    assert seen == [111] * (2 if inside == "_forget" else 1)


def test_who_reads_while_somebody_folds_reads_once_more() -> None:
    """Or it would miss one that is on the roll no more, and was not yet in the total."""
    roll = Roll[Thing, list[int], int](0, summed)
    things = [Thing(), Thing()]
    for number, thing in enumerate(things):
        roll.enter(thing, [10**number])
    del thing

    class Meanwhile(dict[Any, Any]):
        """The first who asks for the entries finds that somebody has just folded one."""

        def values(self) -> Any:
            if len(things) == 2:
                things.pop()
                roll._fold()
            return super().values()

    roll._entries = Meanwhile(roll._entries)
    assert told(roll) == 11
    assert len(roll._entries) == 1
