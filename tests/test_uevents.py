"""Listeners of uevents on the real kernel: what is heard, what is rejected, what is found again."""

from __future__ import annotations

import contextlib
import os
import pathlib
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

import kernel
import netlink_safe as nls
import uevents
from links import Links, names
from netlink_safe import blocking
from netlink_safe.transport.buffers import FLOOR
from netlink_safe.transport.listening import ListeningSocket
from surfaces import ASYNC_SURFACES, Surface, on_every_surface, on_surfaces, taking_at_most
from uevents import Belief, inject, multicast, text, udev_text, until_silent

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LO = "/devices/virtual/net/lo"
FAKE = "/devices/pci0000:00/usb1/1-1"


def path(name: str) -> str:
    return f"/devices/virtual/net/{name}"


@pytest.fixture
def links() -> Iterator[Links]:
    with Links() as made:
        yield made


@pytest.fixture
def sysfs(tmp_path: Path) -> Iterator[Path]:
    with uevents.mounted_sysfs(tmp_path) as where:
        yield where


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
async def test_a_spoofed_event_is_counted_and_not_delivered(surface: Surface) -> None:
    """root may multicast to the group, but not from port 0."""
    async with surface.open_uevents() as events:
        multicast(text("add", FAKE, "usb", SEQNUM=1))
        with pytest.raises(nls.NetlinkTimeout):
            await events.receive(timeout=0.1)
        assert events.statistics().rejected == {"foreign_sender": 1}


@on_every_surface
async def test_an_injected_event_is_marked_or_under_strict_rejected(surface: Surface) -> None:
    """It comes from the kernel's port with a SEQNUM, and with the pid of who sent it."""
    async with (
        surface.open_uevents() as events,
        surface.open_uevents(strict=True) as strict,
    ):
        for action in ("add", "add", "remove"):
            inject(text(action, FAKE, "usb", DEVTYPE="usb_device", BUSNUM="001", DEVNUM="002"))
        told = [await events.receive() for _ in range(3)]
        assert [event.action for event in told] == ["add", "add", "remove"]
        assert {event.origin for event in told} == {nls.Origin.INJECTED}
        assert all(event.seqnum for event in told)
        with pytest.raises(nls.NetlinkTimeout):
            await strict.receive(timeout=0.1)
        assert strict.statistics().rejected == {"injected": 3}


@on_every_surface
async def test_an_injected_lie_does_not_change_what_the_kernel_is_believed(
    surface: Surface, links: Links
) -> None:
    """The kernel's own removal is told, though an injected one came before it."""
    links.make("a", "b")
    async with surface.open_uevents(subsystem="net", coldplug=True) as events:
        for _ in range(3):
            await events.receive()
        inject(text("remove", path("a")))
        links.delete("a")
        told = [await events.receive() for _ in range(3)]
        assert told[0].origin is nls.Origin.INJECTED
        assert {event.devpath for event in told[1:]} == {path("a"), path("b")}
        assert {event.origin for event in told[1:]} == {nls.Origin.KERNEL}


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"add",
        b"add@/x",
        b"add@/x\0ACTION=remove\0DEVPATH=/x\0SUBSYSTEM=usb\0",
        b"add@/x\0ACTION=add\0DEVPATH=/y\0SUBSYSTEM=usb\0",
        b"add@/x\0ACTION=add\0DEVPATH=/x\0",
        b"add@/x\0ACTION=add\0DEVPATH=/x\0SUBSYSTEM=usb\0nothing\0",
        b"libudev\0",
        b"\xff" * 1000,
        bytes(64),
    ],
)
@on_every_surface
async def test_what_follows_no_grammar_is_rejected(surface: Surface, payload: bytes) -> None:
    """An injected text may be anything; the stream goes on."""
    async with surface.open_uevents() as events:
        inject(payload)
        inject(text("add", FAKE, "usb"))
        assert (await events.receive()).devpath == FAKE
        assert sum(events.statistics().rejected.values()) == 1


@on_every_surface
async def test_bytes_that_are_no_text_are_kept(surface: Surface) -> None:
    """A name in Latin-1 comes through as the same bytes."""
    async with surface.open_uevents() as events:
        inject(text("add", FAKE, "usb", NAME="caf\udce9", EMPTY=""))
        event = await events.receive()
        assert os.fsencode(event.properties["NAME"]) == b"caf\xe9"
        assert event.properties["EMPTY"] == ""


@on_every_surface
async def test_a_truncated_event_is_rejected(surface: Surface) -> None:
    """A datagram larger than the receive passes into an empty queue, and its rest is lost."""
    block = text("add", FAKE, "usb", LONG="x" * 100_000).partition(b"\0")[2]
    async with surface.open_uevents(source="udev") as events:
        multicast(udev_text(block), group=2)
        multicast(udev_text(block[:60_000] + b"\0"), group=2)
        assert len((await events.receive()).properties["LONG"]) > 50_000
        assert events.statistics().rejected == {"truncated": 1}


@on_every_surface
async def test_udevd_is_heard_with_the_same_trust(surface: Surface) -> None:
    """Its group carries a header of its own, whose every field is looked at."""
    block = text("add", FAKE, "usb", ID_MODEL="stick", SEQNUM=7).partition(b"\0")[2]
    async with surface.open_uevents(source="udev") as events:
        for changed in (
            {"prefix": b"libudex\0"},
            {"magic": b"\xca\xfe\xfe\xed"},
            {"offset": 39},
            {"offset": 41},
            {"length": len(block) + 1},
            {"length": 0xFFFFFFFF},
            {"size": 0},
        ):
            multicast(udev_text(block, **changed), group=2)
        multicast(udev_text(block)[:30], group=2)
        multicast(udev_text(b"ACTION=add\0"), group=2)
        multicast(udev_text(block), group=2)
        multicast(text("add", FAKE, "usb"), group=1)
        event = await events.receive()
        assert (event.action, event.devpath, event.origin) == ("add", FAKE, nls.Origin.UDEV)
        assert event.properties["ID_MODEL"] == "stick"
        assert event.seqnum == 7
        assert events.statistics().rejected == {
            "udev_prefix": 2,
            "udev_magic": 1,
            "udev_offsets": 5,
            "malformed": 1,
        }


@on_every_surface
async def test_a_stranger_who_is_not_root_is_rejected(
    surface: Surface, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The uid in the credentials is the kernel's word, and must be root's."""
    from netlink_safe.protocol.trust import Roots
    from netlink_safe.transport import following

    monkeypatch.setattr(following, "roots", lambda: Roots(frozenset({4242})))
    async with surface.open_uevents() as events:
        inject(text("add", FAKE, "usb"))
        with pytest.raises(nls.NetlinkTimeout):
            await events.receive(timeout=0.05)
        assert events.statistics().rejected == {"not_root": 1}


@on_every_surface
async def test_without_credentials_nobody_is_believed(
    surface: Surface, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without SO_PASSCRED nothing says who made the kernel speak."""
    monkeypatch.setattr(ListeningSocket, "OPTIONS", ())
    async with surface.open_uevents() as events:
        inject(text("add", FAKE, "usb"))
        with pytest.raises(nls.NetlinkTimeout):
            await events.receive(timeout=0.05)
        assert events.statistics().rejected == {"no_credentials": 1}


@on_every_surface
async def test_a_receive_ends_in_time_and_the_next_goes_on(surface: Surface) -> None:
    """The error says what was waited for; nothing is closed by it."""
    async with surface.open_uevents() as events:
        for _ in range(2):
            with taking_at_most(2), pytest.raises(nls.NetlinkTimeout, match="silence of kernel"):
                await events.receive(timeout=0.05)
        inject(text("add", FAKE, "usb"))
        assert (await events.receive()).devpath == FAKE
        assert events.statistics().timeouts == 2
        for nonsense in (0, -1, True, "1"):
            with pytest.raises(nls.LocalProtocolError):
                await events.receive(timeout=nonsense)


@on_every_surface
async def test_an_idle_stream_ends_if_that_is_wanted(surface: Surface) -> None:
    """``idle_timeout`` counts from item to item, and closes the stream."""
    async with surface.open_uevents(idle_timeout=0.1) as events:
        inject(text("add", FAKE, "usb"))
        with taking_at_most(5), pytest.raises(nls.NetlinkTimeout):
            _ = [event.devpath async for event in events]
        with pytest.raises(nls.ClosedError):
            await events.receive()


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


@on_every_surface
async def test_a_closed_stream_says_so(surface: Surface) -> None:
    """Closing twice is harmless; statistics stay."""
    async with surface.open_uevents() as events:
        inject(text("add", FAKE, "usb"))
        await events.receive()
        await events.aclose()
        await events.aclose()
        with pytest.raises(nls.ClosedError):
            await events.receive()
        assert events.statistics().datagrams == 1


def test_a_fork_may_not_read_what_its_parent_opened() -> None:
    """It would steal the parent's events."""
    with blocking.open_uevents() as events:
        told = kernel.in_child(lambda: next(events))
        assert told.startswith("LocalProtocolError: this netlink socket was opened before a fork")
        inject(text("add", FAKE, "usb"))
        assert getattr(events.receive(), "devpath", None) == FAKE


def test_closing_from_another_thread_ends_the_wait() -> None:
    """With ClosedError, and nothing left behind."""
    events = blocking.open_uevents()
    ended: list[BaseException] = []

    def listen() -> None:
        try:
            for _ in events:
                pass
        except nls.ClosedError as error:
            ended.append(error)

    thread = threading.Thread(target=listen)
    thread.start()
    kernel.until(lambda: events._waiter._waiting == 1)
    with pytest.raises(nls.BusyError):
        next(events)
    events.close()
    thread.join(10)
    assert len(ended) == 1


@on_surfaces(ASYNC_SURFACES)
async def test_a_cancelled_wait_loses_nothing(surface: Surface) -> None:
    """What arrives between two cancelled receives is there for the third."""
    import anyio

    async with surface.open_uevents() as events:
        with anyio.move_on_after(0.05):
            await events.receive(timeout=10)
        told: list[Any] = []
        cancelled = 0
        for number in range(200):
            inject(text("add", f"{FAKE}/{number}", "usb"))
            with anyio.CancelScope() as scope:
                if number % 3 == 0:
                    scope.cancel()
                if number % 2:
                    events._turn._since = 0.0  # its turn is over, so that it waits before it gives
                told.append(await events.receive())
            cancelled += scope.cancelled_caught
        while len(told) < 200:
            told.append(await events.receive())
        assert cancelled > 10
        assert [event.devpath for event in told] == [f"{FAKE}/{number}" for number in range(200)]


@on_surfaces(ASYNC_SURFACES)
async def test_two_tasks_do_not_take_each_others_items(surface: Surface) -> None:
    """The second is told that the first is waiting."""
    import anyio

    async with surface.open_uevents() as events, anyio.create_task_group() as tasks:

        async def wait() -> None:
            with pytest.raises(anyio.ClosedResourceError):
                await events.receive()

        tasks.start_soon(wait)
        while not events._waiter._scopes:
            await anyio.lowlevel.checkpoint()
        with pytest.raises(anyio.BusyResourceError):
            await events.receive()
        await events.aclose()


@on_every_surface
async def test_udevd_is_believed_of_what_it_has_processed(
    surface: Surface, links: Links, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Coldplug shows what its database has, with its properties; the rest comes when it is done."""
    from netlink_safe.transport import udev_database

    links.make("a", "b")
    index = socket.if_nametoindex("a")
    (tmp_path / f"n{index}").write_text("I:123\nE:ID_NET_NAME=a0\nE:ID_BUS=veth\nG:tag\nQ:tag\n")
    monkeypatch.setattr(udev_database, "DATA", str(tmp_path))
    async with surface.open_uevents(source="udev", subsystem="net", coldplug=True) as events:
        known = await events.receive()
        assert (known.devpath, known.origin) == (path("a"), nls.Origin.COLDPLUG)
        assert known.properties["ID_NET_NAME"] == "a0"
        other = socket.if_nametoindex("b")
        for name, number in (("a", index), ("b", other)):
            block = text("add", path(name), IFINDEX=number, SEQNUM=1).partition(b"\0")[2]
            multicast(udev_text(block), group=2)
        assert (await events.receive()).devpath == path("b")
        assert events.statistics().duplicates == 1


def test_a_look_without_descriptors_to_be_had_is_none() -> None:
    """What cannot be opened for want of descriptors has not gone away."""
    import errno
    import resource

    from netlink_safe.transport.sysfs import look

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    results = []
    highest = max(number for number, _ in kernel.descriptors())
    for spare in range(2, 8):
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + spare, hard))
        found: int | None = None
        try:
            found = len(look(frozenset({"net"}), {}, True).sightings)
        except OSError as error:
            found = -error.errno if error.errno else 0
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        results.append(found)
    assert set(results) == {-errno.EMFILE, 1}


def test_a_subsystem_is_no_path() -> None:
    """A name with slashes leads nowhere."""
    from netlink_safe.transport.sysfs import look

    for name in ("../bus", "net/lo", ".", "..", ""):
        seen = look(frozenset({name}), {}, True)
        assert not seen.sightings
        assert not seen.covered & {b"..", b"."}


@on_every_surface
async def test_whoever_sleeps_with_an_item_in_hand_gets_what_was_queued_before_the_overrun(
    surface: Surface, sysfs: Path
) -> None:
    """The queue is found empty anew after each item, however long its consumer took."""
    file = sysfs / "class/net/lo/uevent"
    async with surface.open_uevents(subsystem="net", receive_buffer=FLOOR) as events:
        file.write_text("change")
        assert (await events.receive()).action == "change"
        for _ in range(500):
            file.write_text("change")
        items: list[Any] = []
        while not items or not isinstance(items[-1], nls.Resynced):
            items.append(await events.receive())
        assert [type(item) for item in items[-2:]] == [nls.Overrun, nls.Resynced]
        assert len(items) > 10
        assert items[-2].drops + len(items) - 2 == 500


@on_every_surface
async def test_items_in_hand_are_let_go_at_the_close(surface: Surface) -> None:
    """Whoever closes wants no more, however many had been received."""
    async with surface.open_uevents() as events:
        for _ in range(5):
            inject(text("add", FAKE, "usb"))
        await events.receive()
        await events.aclose()
        with pytest.raises(nls.ClosedError):
            await events.receive()


@on_every_surface
async def test_a_receive_within_an_iteration_does_not_end_it(surface: Surface) -> None:
    """Debouncing: take what comes at once, and go on when it falls silent."""
    seen = []
    async with surface.open_uevents(idle_timeout=0.5) as events:
        inject(text("add", FAKE, "usb"))

        async def debounce() -> None:
            async for event in events:
                seen.append(event.action)
                with contextlib.suppress(nls.NetlinkTimeout):
                    while True:
                        seen.append((await events.receive(timeout=0.05)).action)
                if len(seen) < 4:
                    inject(text("change", FAKE, "usb"))
                    inject(text("remove", FAKE, "usb"))

        with pytest.raises(nls.NetlinkTimeout):
            await debounce()
    assert seen == ["add", "change", "remove", "change", "remove"]


@on_every_surface
async def test_an_iteration_that_was_left_can_be_begun_again(surface: Surface) -> None:
    """``break`` loses nothing of what had been received with the last item."""
    async with surface.open_uevents() as events:
        for number in range(10):
            inject(text("add", f"{FAKE}/{number}", "usb"))
        seen: list[str] = []
        while len(seen) < 10:
            async for event in events:
                seen.append(event.devpath)
                if len(seen) % 3 == 0 or len(seen) == 10:
                    break
    assert seen == [f"{FAKE}/{number}" for number in range(10)]


@on_every_surface
async def test_unwanted_events_do_not_prolong_a_receive(
    surface: Surface, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its time is over also while a stranger's flood is being read."""
    from netlink_safe.transport.listening import ListeningSocket

    receive_many = ListeningSocket.receive_many
    flood = text("change", FAKE, "usb")

    def endless(sock: ListeningSocket) -> Any:
        inject(flood)
        return receive_many(sock)

    monkeypatch.setattr(ListeningSocket, "receive_many", endless)
    async with surface.open_uevents(subsystem="net") as events:
        with taking_at_most(5), pytest.raises(nls.NetlinkTimeout):
            await events.receive(timeout=0.1)


@on_every_surface
async def test_an_idle_timeout_does_not_hide_an_overrun(
    surface: Surface, links: Links, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a look is under way, there is something to be told."""
    from netlink_safe.transport import sightings
    from netlink_safe.transport.sysfs import look

    looks = []

    def slow_look(*arguments: Any) -> Any:
        looks.append(1)
        if len(looks) > 1:
            threading.Event().wait(0.5)
        return look(*arguments)

    monkeypatch.setattr(sightings, "look", slow_look)
    async with surface.open_uevents(
        subsystem="net", receive_buffer=FLOOR, idle_timeout=0.2
    ) as events:
        for left, right in names(range(60)):
            links.make(left, right)
        items: list[Any] = []

        async def take() -> None:
            async for item in events:
                items.append(item)  # noqa: PERF401  # they are to stay when it raises

        with pytest.raises(nls.NetlinkTimeout):
            await take()
        assert [type(item) for item in items if not isinstance(item, nls.Uevent)] == [
            nls.Overrun,
            nls.Resynced,
        ]


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

    looks: list[int] = []

    def failing_once(*arguments: Any) -> Any:
        looks.append(1)
        if len(looks) == 1:
            raise OSError(5, "Input/output error")
        return look(*arguments)

    monkeypatch.setattr(sightings, "look", failing_once)
    async with surface.open_uevents(
        subsystem="net", receive_buffer=FLOOR, heartbeat=0.05
    ) as events:
        links.make("a", "b")
        assert {(await events.receive()).devpath for _ in "12"} == {path("a"), path("b")}
        while len(looks) < 2:
            with pytest.raises(nls.NetlinkTimeout):
                await events.receive(timeout=0.05)
        belief = Belief(LO, path("a"), path("b"))
        for left, right in names(range(60)):
            links.make(left, right)
        await until_silent(events, belief)
        assert belief.overruns == belief.resyncs == 1
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


def test_closing_under_load_takes_nobody_elses_datagrams() -> None:
    """The number of a closed descriptor is another file's at once."""
    for _ in range(30):
        events = blocking.open_uevents()
        for number in range(300):
            inject(text("add", f"{FAKE}/{number}", "usb"))

        def listen(events: blocking.Uevents = events) -> None:
            with contextlib.suppress(nls.ClosedError):
                for _ in events:
                    pass

        thread = threading.Thread(target=listen)
        thread.start()
        events.close()
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(3)]
        for one, other in pairs:
            one.send(b"mine")
            other.send(b"mine")
        thread.join(10)
        for pair in pairs:
            for sock in pair:
                sock.setblocking(False)
                assert sock.recv(10) == b"mine"
                sock.close()


def test_a_busy_error_leaves_the_other_thread_in_its_iteration() -> None:
    """It goes on with the next event, and the one after."""
    seen: list[str] = []

    def listen() -> None:
        with contextlib.suppress(nls.ClosedError):
            for event in events:
                seen.append(getattr(event, "devpath", ""))  # noqa: PERF401  # as it comes

    with blocking.open_uevents() as events:
        thread = threading.Thread(target=listen)
        thread.start()
        for number in range(3):
            kernel.until(lambda: events._waiter._waiting == 1)
            with pytest.raises(nls.BusyError):
                next(events)
            inject(text("add", f"{FAKE}/{number}", "usb"))
            while len(seen) <= number:
                os.sched_yield()
    thread.join(10)
    assert seen == [f"{FAKE}/{number}" for number in range(3)]


def test_a_socket_that_reuses_the_number_is_left_alone_on_asyncio() -> None:
    """A wait that is cancelled takes its number off the loop later than the close returns."""
    import asyncio

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with nls.open_uevents() as events:
            number = events._follower._socket.fileno() if events._follower._socket else -1
            waiting = asyncio.create_task(events.receive())
            while not events._waiter._scopes:  # noqa: ASYNC110  # nothing tells of it
                await asyncio.sleep(0)
            await events.aclose()
            sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(64)]
            for sock in sockets:
                sock.setblocking(False)
                sock.bind(("127.0.0.1", 0))
                if sock.fileno() != number:
                    continue
                sock.sendto(b"mine", sock.getsockname())
                assert await asyncio.wait_for(loop.sock_recv(sock, 10), 5) == b"mine"
            with pytest.raises(nls.ClosedError):
                await waiting
            for sock in sockets:
                sock.close()

    asyncio.run(main())


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
