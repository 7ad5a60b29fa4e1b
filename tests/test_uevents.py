"""Listeners of uevents on the real kernel: what is heard, and what is there already."""

from __future__ import annotations

import os
import pathlib
from typing import TYPE_CHECKING, Any

import pytest

import kernel
import netlink_safe as nls
import uevents
from links import Links, names
from netlink_safe import blocking
from netlink_safe.transport.buffers import FLOOR
from surfaces import Surface, on_every_surface
from uevents import Belief, until_silent

if TYPE_CHECKING:
    from pathlib import Path

from uevents import LO, path


@on_every_surface
async def test_what_the_kernel_says_arrives(surface: Surface, links: Links) -> None:
    """A veth pair made, one end renamed, both deleted: each event once, in the kernel's order."""
    async with surface.open_uevents(subsystem="net") as events:
        links.make("a", "b")
        links.rename("a", "c")
        links.delete("b")
        told = [await events.receive() for _ in range(5)]
        statistics = events.statistics()
    assert [(event.action, event.devpath) for event in told[:3]] == [
        ("add", path("b")),
        ("add", path("a")),
        ("move", path("c")),
    ]
    # In which order the kernel lets go of both, is its own affair.
    assert sorted((event.action, event.devpath) for event in told[3:]) == [
        ("remove", path("b")),
        ("remove", path("c")),
    ]
    added = told[1]
    assert added.origin is nls.Origin.KERNEL
    assert added.subsystem == "net"
    assert added.properties["INTERFACE"] == "a"
    assert added.properties["SEQNUM"] == str(added.seqnum)
    assert (added.devtype, added.devname, added.driver, added.major, added.minor) == (None,) * 5
    assert told[2].properties["DEVPATH_OLD"] == path("a")
    assert statistics.last_seqnum == told[-1].seqnum
    assert (statistics.events, statistics.drops, statistics.duplicates) == (5, 0, 0)


@on_every_surface
async def test_only_what_fits_is_handed_out(surface: Surface, links: Links) -> None:
    """Keywords narrow; of several matches one will do; each by text, pattern or property."""
    either = [
        nls.UeventMatch(devpath="*/b"),
        {"properties": {"INTERFACE": ["x*", "a"]}, "action": "remove"},
    ]
    async with (
        surface.open_uevents(subsystem="net", match=either) as some,
        surface.open_uevents(action=["remove"], subsystem={"net", "queues"}) as removals,
        surface.open_uevents(subsystem="usb") as none,
        surface.open_uevents(devtype="disk") as disks,
    ):
        links.make("a", "b")
        links.delete("a")
        told = {(event.action, event.devpath) for event in [await some.receive() for _ in "123"]}
        assert told == {("add", path("b")), ("remove", path("b")), ("remove", path("a"))}
        for _ in range(6):
            assert (await removals.receive()).action == "remove"
        for silent in (none, disks, some, removals):
            with pytest.raises(nls.NetlinkTimeout):
                await silent.receive(timeout=0.05)


@on_every_surface
async def test_coldplug_tells_of_what_is_there_and_of_nothing_twice(
    surface: Surface, links: Links, sysfs: Path
) -> None:
    """Subscribed first, looked second: who was there before the listener is told, once."""
    links.make("a", "b")
    async with surface.open_uevents(subsystem="net", coldplug=True) as events:
        told = [await events.receive() for _ in range(3)]
        assert [event.origin for event in told] == [nls.Origin.COLDPLUG] * 3
        assert {event.devpath for event in told} == uevents.devices(sysfs, "net")
        by_path = {event.devpath: event for event in told}
        assert by_path[path("a")].properties["INTERFACE"] == "a"
        assert by_path[path("a")].seqnum is None
        links.delete("a")
        assert {(await events.receive()).action for _ in "12"} == {"remove"}
        with pytest.raises(nls.NetlinkTimeout):
            await events.receive(timeout=0.05)


@on_every_surface
async def test_coldplug_tells_of_every_device_and_only_of_devices(
    surface: Surface, sysfs: Path
) -> None:
    """Whoever has a class or a bus, parents first; modules and drivers for who asks by name."""
    there = set()
    for below, _, files in os.walk(sysfs / "devices"):
        if "uevent" in files and (pathlib.Path(below) / "subsystem").is_symlink():
            there.add(below.removeprefix(str(sysfs)))
    belief = Belief()
    async with surface.open_uevents(coldplug=True) as events:
        await until_silent(events, belief)
    assert set(belief.devices) == there
    assert belief.added == sorted(belief.added)
    async with surface.open_uevents(coldplug=True, subsystem="module") as events:
        assert (await events.receive()).devpath.startswith("/module/")


@on_every_surface
async def test_events_that_somebody_asked_for_always_pass(surface: Surface, sysfs: Path) -> None:
    """``udevadm trigger`` is for listeners who know the device already (SYNTH_UUID)."""
    async with surface.open_uevents(subsystem="net", coldplug=True) as events:
        assert (await events.receive()).devpath == LO
        for action in ("add", "add", "remove", "change"):
            (sysfs / "class/net/lo/uevent").write_text(action)
        told = [await events.receive() for _ in range(4)]
        assert [event.action for event in told] == ["add", "add", "remove", "change"]
        assert {event.properties["SYNTH_UUID"] for event in told} == {"0"}
        assert events.statistics().duplicates == 0


@on_every_surface
async def test_another_namespace_is_heard_and_its_own_sysfs_looked_at(surface: Surface) -> None:
    """A sysfs mount shows the namespace that it was mounted in, and /sys is none of this one."""
    with kernel.named_namespace("other") as where:

        def make(left: str, right: str) -> None:
            def inside() -> None:
                with Links() as links:
                    links.make(left, right)

            kernel.in_namespace(where, inside)

        make("here", "here2")
        for netns in ("other", where):
            async with surface.open_uevents(
                subsystem="net", coldplug=True, netns=netns, receive_buffer=FLOOR
            ) as events:
                belief = Belief()
                await until_silent(events, belief)
                assert {path("here"), path("here2"), LO} <= set(belief.devices)
                before = len(belief.devices)
                for left, right in names(range(60)):
                    make(f"{left}{before}", f"{right}{before}")
                await until_silent(events, belief)
                assert belief.overruns == 1
                assert len(belief.devices) == before + 120


@on_every_surface
async def test_a_size_below_the_floor_is_refused_with_the_story(surface: Surface) -> None:
    """The first mistake cannot be copied."""
    with pytest.raises(nls.LocalProtocolError, match="copied SO_RCVBUF 1024"):
        async with surface.open_uevents(receive_buffer=1024):
            pass


@on_every_surface
async def test_the_default_buffer_scales_with_the_machine_and_is_read_back(
    surface: Surface,
) -> None:
    """A 128th of the memory, at most 128 MiB; forced past rmem_max where that is allowed."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    async with surface.open_uevents() as events:
        statistics = events.statistics()
    assert statistics.requested_receive_buffer == max(FLOOR, min(1 << 27, memory // 128))
    expected = statistics.requested_receive_buffer
    if not kernel.may_force_buffers():
        expected = min(expected, kernel.rmem_max())
    assert statistics.receive_buffer == 2 * expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": "dbus"}, "neither 'kernel' nor 'udev'"),
        ({"heartbeat": 0}, "above 0"),
        ({"idle_timeout": -1}, "above 0"),
        ({"timeout": None}, "math.inf"),
        ({"match": 5}, "is no"),
        ({"match": []}, "is no UeventMatch"),
        ({"match": {5: 1, "x": 2}}, "nothing matches by 5"),
        ({"match": {"properties": {5: "x"}}}, "no name of a property"),
        ({"subsystem": [["usb"]]}, "neither a text"),
        ({"subsystem": ""}, "empty name"),
        ({"subsystem": "a\0b"}, "zero byte"),
        ({"subsystem": "\ud800"}, "cannot be a text"),
        ({"heartbeat": None}, "heartbeat=None"),
        ({"idle_timeout": "x"}, "idle_timeout='x'"),
        ({"netns": "\0"}, "names no network namespace"),
        ({"match": [5]}, "is no UeventMatch"),
        ({"match": {"vendor": "x"}}, "nothing matches by vendor"),
        ({"subsystem": []}, "leave it out"),
        ({"subsystem": 5}, "neither a text"),
        ({"match": {"properties": "x"}}, "no mapping"),
        ({"netns": ""}, "names no network namespace"),
    ],
)
def test_nonsense_is_refused_at_once(options: dict[str, Any], message: str) -> None:
    """On both surfaces, before a socket is opened."""
    for opening in (nls.open_uevents, blocking.open_uevents):
        with pytest.raises(nls.LocalProtocolError, match=message):
            opening(**options)


def test_a_subsystem_is_no_path() -> None:
    """A name with slashes leads nowhere."""
    from netlink_safe.transport.sysfs import look

    for name in ("../bus", "net/lo", ".", "..", ""):
        seen = look(frozenset({name}), {}, True)
        assert not seen.sightings
        assert not seen.covered & {b"..", b"."}
