"""Looks at sysfs that fail, hang or find nothing: what a listener of uevents does then."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

import kernel
import netlink_safe as nls
import uevents
from links import Links, names
from netlink_safe.families.uevents import UeventReader
from netlink_safe.transport.buffers import FLOOR
from surfaces import Surface, on_every_surface, taking_at_most
from uevents import Belief, until_silent

if TYPE_CHECKING:
    from pathlib import Path

from uevents import LO, path


@on_every_surface
async def test_where_there_is_no_sysfs_the_overrun_comes_alone(
    surface: Surface, links: Links, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says why; coldplug is refused."""
    from netlink_safe.transport import sightings
    from netlink_safe.transport.sysfs import NoSysfsError

    def no_look(*_: object) -> None:
        raise NoSysfsError("there is none here")

    monkeypatch.setattr(sightings, "look", no_look)
    with pytest.raises(nls.LocalProtocolError, match="coldplug takes sysfs: there is none"):
        async with surface.open_uevents(coldplug=True):
            pass
    async with surface.open_uevents(subsystem="net", receive_buffer=FLOOR) as events:
        for left, right in names(range(60)):
            links.make(left, right)
        items = [await events.receive()]
        while not isinstance(items[-1], nls.Overrun):
            items.append(await events.receive())
        assert items[-1].unresynced == "there is none here"
        with pytest.raises(nls.NetlinkTimeout):
            await events.receive(timeout=0.05)


@on_every_surface
async def test_a_look_that_failed_is_made_again(
    surface: Surface, links: Links, sysfs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The overrun is told at once, the difference when it can be had."""
    from netlink_safe.transport import sightings
    from netlink_safe.transport.sysfs import look

    looks = []

    def failing_once(*arguments: Any) -> Any:
        looks.append(arguments)
        if len(looks) == 2:
            raise OSError(5, "Input/output error")
        return look(*arguments)

    monkeypatch.setattr(sightings, "look", failing_once)
    async with surface.open_uevents(subsystem="net", receive_buffer=FLOOR, heartbeat=0.1) as events:
        for left, right in names(range(60)):
            links.make(left, right)
        belief = Belief(LO)
        while True:
            item = await events.receive()
            if isinstance(item, nls.Overrun):
                assert "Input/output error; it is tried again" in str(item.unresynced)
                belief.drops += item.drops
                break
            belief.take(item)
        while not belief.resyncs:
            belief.take(await events.receive())
        assert set(belief.devices) == uevents.devices(sysfs, "net")


@on_every_surface
async def test_a_look_that_sysfs_holds_up_ends_at_the_deadline(
    surface: Surface, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opening does not wait for ever for a sysfs that does not answer."""
    from netlink_safe.transport import sightings

    release = threading.Event()
    monkeypatch.setattr(sightings, "look", lambda *_: release.wait(30))
    try:
        with taking_at_most(5), pytest.raises(nls.NetlinkTimeout, match="opening of a listening"):
            async with surface.open_uevents(timeout=0.2):
                pass
    finally:
        release.set()


def test_a_look_without_descriptors_to_be_had_is_none() -> None:
    """What cannot be opened for want of descriptors has not gone away."""
    import errno
    import resource

    from netlink_safe.transport.sysfs import look

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    results = []
    for limit in list(kernel.limits_with_room(7)):
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
        found: int | None = None
        try:
            found = len(look(frozenset({"net"}), {}, True).sightings)
        except OSError as error:
            found = -error.errno if error.errno else 0
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        results.append(found)
    assert set(results) == {-errno.EMFILE, 1}


@on_every_surface
async def test_a_device_that_cannot_be_read_is_there_all_the_same(
    surface: Surface, links: Links, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A driver that answers EIO does not blind the listener to all others."""
    from netlink_safe.transport import sysfs as looking

    read = looking._read

    def failing(name: str, directory: int) -> bytes:
        text = read(name, directory)
        if b"INTERFACE=a\n" in text:
            raise OSError(5, "Input/output error")
        return text

    monkeypatch.setattr(looking, "_read", failing)
    links.make("a", "b")
    async with surface.open_uevents(subsystem="net", coldplug=True) as events:
        told = {(await events.receive()).devpath for _ in range(3)}
    assert told == {LO, path("a"), path("b")}


@on_every_surface
async def test_a_first_look_that_fails_is_made_later(
    surface: Surface, links: Links, sysfs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was to be silent, so that nobody need know; what comes meanwhile is told."""
    from netlink_safe.transport import sightings
    from netlink_safe.transport.sysfs import look

    adopted = threading.Event()
    failures = iter([OSError(5, "Input/output error")])
    adopt = UeventReader.adopt

    def failing_once(*arguments: Any) -> Any:
        for failure in failures:
            raise failure
        return look(*arguments)

    def telling_when(*arguments: Any) -> Any:
        adopted.set()
        return adopt(*arguments)

    monkeypatch.setattr(sightings, "look", failing_once)
    monkeypatch.setattr(UeventReader, "adopt", telling_when)
    async with surface.open_uevents(
        subsystem="net", receive_buffer=FLOOR, heartbeat=0.05
    ) as events:
        links.make("a", "b")
        assert {(await events.receive()).devpath for _ in "12"} == {path("a"), path("b")}
        while not adopted.is_set():
            with pytest.raises(nls.NetlinkTimeout):
                await events.receive(timeout=0.05)
        belief = Belief(LO, path("a"), path("b"))
        for left, right in names(range(60)):
            links.make(left, right)
        await until_silent(events, belief)
        assert belief.overruns == belief.resyncs == 1
        assert set(belief.devices) == uevents.devices(sysfs, "net")


@on_every_surface
async def test_what_is_lost_during_a_first_look_that_comes_late_is_not_said_to_be_found_again(
    surface: Surface, links: Links, sysfs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That look has seen it, and was silent; what is lost later is found again."""
    from netlink_safe.transport import sightings
    from netlink_safe.transport.sysfs import look

    begun, may_go_on = threading.Event(), threading.Event()
    failures = iter([OSError(5, "Input/output error")])

    def failing_and_slow(*arguments: Any) -> Any:
        for failure in failures:
            raise failure
        begun.set()
        assert may_go_on.wait(30)
        return look(*arguments)

    monkeypatch.setattr(sightings, "look", failing_and_slow)
    async with surface.open_uevents(
        subsystem="net", receive_buffer=FLOOR, heartbeat=0.05
    ) as events:
        while not begun.is_set():
            with pytest.raises(nls.NetlinkTimeout):
                await events.receive(timeout=0.05)
        for left, right in names(range(60)):
            links.make(left, right)
        may_go_on.set()
        overrun = await events.receive()
        assert overrun.drops > 0
        assert overrun.unresynced == "there was no look before it"
        belief = Belief(LO)
        belief.drops = overrun.drops
        await until_silent(events, belief)
        assert (belief.overruns, belief.resyncs) == (0, 1)
        assert set(belief.devices) < uevents.devices(sysfs, "net")
        belief.devices |= dict.fromkeys(uevents.devices(sysfs, "net"))
        for left, right in names(range(60, 120)):
            links.make(left, right)
        await until_silent(events, belief)
        assert (belief.overruns, belief.resyncs) == (1, 2)
        assert set(belief.devices) == uevents.devices(sysfs, "net")


@on_every_surface
async def test_what_is_lost_behind_a_first_look_that_comes_late_is_found(
    surface: Surface, links: Links, sysfs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has not seen it, so that another look is made, and the difference told."""
    from netlink_safe.transport import sightings
    from netlink_safe.transport.sysfs import look

    looked, may_go_on = threading.Event(), threading.Event()
    failures = iter([OSError(5, "Input/output error")])

    def failing_and_slow(*arguments: Any) -> Any:
        for failure in failures:
            raise failure
        seen = look(*arguments)
        looked.set()
        assert may_go_on.wait(30)
        return seen

    monkeypatch.setattr(sightings, "look", failing_and_slow)
    async with surface.open_uevents(
        subsystem="net", receive_buffer=FLOOR, heartbeat=0.05
    ) as events:
        while not looked.is_set():
            with pytest.raises(nls.NetlinkTimeout):
                await events.receive(timeout=0.05)
        for left, right in names(range(60)):
            links.make(left, right)
        may_go_on.set()
        overrun = await events.receive()
        assert overrun.unresynced == "there was no look before it"
        belief = Belief(LO)
        belief.drops = overrun.drops
        while not belief.resyncs:
            belief.take(await events.receive())
        assert set(belief.devices) == uevents.devices(sysfs, "net")


@on_every_surface
async def test_a_look_that_hangs_is_not_made_again_meanwhile(
    surface: Surface, links: Links, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One stuck sysfs does not take every worker of the process."""
    from netlink_safe.transport import sightings
    from netlink_safe.transport.sysfs import look

    release = threading.Event()
    looks: list[int] = []

    def hanging(*arguments: Any) -> Any:
        looks.append(1)
        if len(looks) == 2:
            assert release.wait(30)
        return look(*arguments)

    monkeypatch.setattr(sightings, "look", hanging)
    try:
        async with surface.open_uevents(
            subsystem="net", receive_buffer=FLOOR, heartbeat=0.02, timeout=1
        ) as events:
            for left, right in names(range(60)):
                links.make(left, right)
            item = await events.receive(timeout=5)
            while not isinstance(item, nls.Overrun):
                item = await events.receive(timeout=5)
            assert "it is tried again" in str(item.unresynced)
            for _ in range(5):
                with pytest.raises(nls.NetlinkTimeout):
                    await events.receive(timeout=0.05)
            assert len(looks) == 2
            release.set()
            while not isinstance(item, nls.Resynced):
                item = await events.receive(timeout=5)
    finally:
        release.set()
