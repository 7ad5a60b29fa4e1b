"""Losses of uevents, and the looks at sysfs that find again what they hid."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Any

import pytest

import netlink_safe as nls
import uevents
from links import Links, names
from netlink_safe.transport.buffers import FLOOR
from netlink_safe.transport.listening import ListeningSocket
from surfaces import Surface, on_every_surface
from uevents import Belief, until_silent

if TYPE_CHECKING:
    from pathlib import Path

from uevents import LO, path


@on_every_surface
async def test_an_overrun_is_told_and_then_what_it_hid(
    surface: Surface, links: Links, sysfs: Path
) -> None:
    """What was queued, Overrun, the difference from the leaves up and the root down, Resynced."""
    links.make("gone", "gone2")
    links.make("stays", "stays2")
    async with surface.open_uevents(subsystem="net", coldplug=True, receive_buffer=FLOOR) as events:
        belief = Belief()
        await until_silent(events, belief)
        for left, right in names(range(100)):
            links.make(left, right)
        links.delete("gone")
        items: list[Any] = []
        while not items or not isinstance(items[-1], nls.Resynced):
            items.append(await events.receive())
            belief.take(items[-1])
        kinds = [type(item) for item in items]
        overrun = kinds.index(nls.Overrun)
        assert kinds.count(nls.Overrun) == kinds.count(nls.Resynced) == 1
        assert {item.origin for item in items[:overrun]} == {nls.Origin.KERNEL}
        difference = items[overrun + 1 : -1]
        assert {item.origin for item in difference} == {nls.Origin.RESYNC}
        removed = [item.devpath for item in difference if item.action == "remove"]
        assert sorted(removed) == [path("gone"), path("gone2")]
        assert items[-1] == nls.Resynced(added=len(difference) - 2, removed=2)
        assert set(belief.devices) == uevents.devices(sysfs, "net")
        statistics = events.statistics()
        assert statistics.drops == items[overrun].drops > 0
        assert (statistics.overruns, statistics.resyncs) == (1, 1)
        links.delete("stays")
        assert {(await events.receive()).action for _ in "12"} == {"remove"}


@on_every_surface
async def test_without_coldplug_a_difference_is_one_all_the_same(
    surface: Surface, links: Links, sysfs: Path
) -> None:
    """The look at the start is silent, so that a device that was there is later missed."""
    links.make("gone", "gone2")
    async with surface.open_uevents(subsystem="net", receive_buffer=FLOOR) as events:
        for left, right in names(range(100)):
            links.make(left, right)
        links.delete("gone")
        belief = Belief(LO, path("gone"), path("gone2"))
        await until_silent(events, belief)
        assert belief.overruns == belief.resyncs == 1
        assert {path("gone"), path("gone2")} <= set(belief.removed)
        assert set(belief.devices) == uevents.devices(sysfs, "net")
        assert LO not in belief.added


@on_every_surface
async def test_a_device_replaced_during_the_loss_is_removed_and_added(
    surface: Surface, links: Links
) -> None:
    """The same name, another device: IFINDEX tells them apart."""
    links.make("same", "same2")
    before = str(socket.if_nametoindex("same"))
    async with surface.open_uevents(subsystem="net", coldplug=True, receive_buffer=FLOOR) as events:
        belief = Belief()
        await until_silent(events, belief)
        for left, right in names(range(60)):
            links.make(left, right)
        links.delete("same")
        links.make("same", "same2")
        belief.added.clear()
        await until_silent(events, belief)
        assert belief.overruns == 1
        assert {path("same"), path("same2")} <= set(belief.removed)
        assert {path("same"), path("same2")} <= set(belief.added)
        assert belief.devices[path("same")] == str(socket.if_nametoindex("same")) != before


@on_every_surface
async def test_however_often_it_overruns_the_picture_converges(
    surface: Surface, links: Links, sysfs: Path
) -> None:
    """Two thousand pairs come and go while the consumer sleeps: nothing is lost in silence."""
    async with surface.open_uevents(subsystem="net", coldplug=True, receive_buffer=FLOOR) as events:
        belief = Belief()
        await until_silent(events, belief)
        for _ in range(4):
            for number, (left, right) in enumerate(names(range(500))):
                links.make(left, right)
                if number % 20 == 0:
                    links.delete(left)
                if number % 40 == 0:
                    links.make(left, right)
                if number % 50 == 0 and number % 20:
                    links.rename(right, f"new{number}")
            await until_silent(events, belief)
            assert set(belief.devices) == uevents.devices(sysfs, "net")
            links.delete_all()
        await until_silent(events, belief)
        assert set(belief.devices) == uevents.devices(sysfs, "net") == {LO}
        assert belief.drops == events.statistics().drops
        assert belief.overruns == belief.resyncs >= 4


@on_every_surface
async def test_events_during_the_look_come_behind_it_once(
    surface: Surface, links: Links, sysfs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Devices come and go between the kernel's number and the walk, and behind it."""
    from netlink_safe.transport import sightings
    from netlink_safe.transport.sysfs import look

    made: list[int] = []

    def busy_look(*arguments: Any) -> Any:
        number = len(made)
        made.append(number)
        with Links() as there:
            there.make(f"early{number}", f"early{number}x")
            if number:
                there.delete(f"early{number - 1}")
            seen = look(*arguments)
            there.make(f"late{number}", f"late{number}x")
            if number % 2:
                there.delete(f"late{number}x")
            else:
                there.delete(f"early{number}")
                there.make(f"early{number}", f"new{number}")
        return seen

    monkeypatch.setattr(sightings, "look", busy_look)
    async with surface.open_uevents(subsystem="net", coldplug=True, receive_buffer=FLOOR) as events:
        belief = Belief()
        await until_silent(events, belief)
        assert set(belief.devices) == uevents.devices(sysfs, "net")
        for turn in range(3):
            for left, right in names(range(60)):
                links.make(f"{turn}{left}", f"{turn}{right}")
            await until_silent(events, belief)
            assert set(belief.devices) == uevents.devices(sysfs, "net")
        assert len(made) >= 4
        assert belief.drops == events.statistics().drops


@on_every_surface
async def test_the_heartbeat_finds_a_loss_that_nothing_told_of(
    surface: Surface, links: Links, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With NETLINK_NO_ENOBUFS the kernel says nothing; the drops still count."""
    options = (*ListeningSocket.OPTIONS, (270, 5))
    monkeypatch.setattr(ListeningSocket, "OPTIONS", options)
    async with surface.open_uevents(subsystem="net", receive_buffer=FLOOR, heartbeat=0.1) as events:
        for left, right in names(range(60)):
            links.make(left, right)
        belief = Belief(LO)
        await until_silent(events, belief)
        assert belief.overruns == belief.resyncs == 1
        assert belief.drops == events.statistics().drops


@on_every_surface
async def test_what_moved_with_its_parent_is_removed_under_its_new_path(
    surface: Surface, links: Links
) -> None:
    """The kernel tells of the parent's move alone, and of the queues' removals afterwards."""
    links.make("a", "b")
    async with surface.open_uevents(subsystem="queues", coldplug=True) as events:
        known = [await events.receive()]
        with contextlib.suppress(nls.NetlinkTimeout):
            while True:
                known.append(await events.receive(timeout=0.1))
        links.rename("a", "c")
        links.delete("c")
        removed = {(await events.receive()).devpath for _ in range(4)}
        assert removed == {
            event.devpath.replace("/a/", "/c/") for event in known if "/lo/" not in event.devpath
        }


@on_every_surface
async def test_what_is_raised_in_a_look_hides_no_loss(
    surface: Surface, links: Links, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupt, say: the next receive begins anew and tells the overrun."""
    from netlink_safe.transport import sightings
    from netlink_safe.transport.sysfs import look

    looks: list[int] = []

    def interrupted(*arguments: Any) -> Any:
        looks.append(1)
        return 1 // 0 if len(looks) == 2 else look(*arguments)

    monkeypatch.setattr(sightings, "look", interrupted)
    async with surface.open_uevents(subsystem="net", receive_buffer=FLOOR) as events:
        for left, right in names(range(60)):
            links.make(left, right)
        item: Any = None

        async def until_raised() -> None:
            while True:
                assert not isinstance(await events.receive(), nls.Overrun)

        with pytest.raises(ZeroDivisionError):
            await until_raised()
        while not isinstance(item, nls.Overrun):
            item = await events.receive()
        assert item.drops == events.statistics().drops
        assert isinstance(await events.receive(), nls.Uevent | nls.Resynced)
