"""Counts of closed, forgotten and forked sockets stay right whoever folds and looks meanwhile."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import pytest

import kernel
from netlink_safe import blocking
from netlink_safe.collectors.prometheus import NetlinkSelfCollector
from netlink_safe.transport import census as census_room
from netlink_safe.transport.roll import MANY, Roll
from outboxes import NOBODY
from self_metrics import PREFIX, Growth, count, forgetting, growth, samples
from surfaces import Surface, on_every_surface, taking_at_most

__all__ = ["growth"]  # a fixture


class Thing:
    """Something to put on a roll."""


def summed(total: int, counts: Any) -> int:
    return total + sum(sum(each) for each in counts)


def told(roll: Roll[Thing, list[int], int]) -> int:
    """The total of all that is and was on a roll."""
    past, entries = roll.read()
    return summed(past, [entry.counts for entry in entries])


async def opened_and_lost(surface: Surface) -> int:
    """Dump once, and lose the object; how many datagrams it had seen."""
    diag = surface.open_sock_diag()
    await count(diag)
    return int(diag.statistics().datagrams)


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
