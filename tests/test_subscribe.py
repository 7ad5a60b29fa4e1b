"""Subscriptions on the running kernel: its own list of network devices, followed through losses."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import attrs
import pytest

import kernel
import netlink_safe as nls
from faults import spoof_multicast
from links import Links, names
from netlink_safe.families import ethtool
from netlink_safe.families.generic import following
from netlink_safe.transport.families import Families, LoadedFamilies
from surfaces import ASYNC_SURFACES, Surface, on_every_surface, on_surfaces, taking_at_most

if TYPE_CHECKING:
    from collections.abc import Mapping

FLOOR = 32 * 1024
#: NETDEV_CMD_DEV_GET, and what tells of a device: that it has come, is gone, or has changed.
DEVICES = nls.generic_request("netdev", 1)
CAME, GONE, CHANGED = 2, 3, 4
MGMT = following("netdev", ["mgmt"])

pytestmark = pytest.mark.skipif(
    kernel.release() < (6, 3), reason="the family netdev came with Linux 6.3"
)


def index_of(row: nls.GenericReply) -> int:
    """What a row is about."""
    return int.from_bytes(value, "little") if isinstance(value := row.values[1], bytes) else value


def devices(genl: Any, **options: Any) -> Any:
    """The list of network devices, followed."""
    how = {"key": index_of, "commands": [CAME, CHANGED], "removals": [GONE], **options}
    return genl.subscribe(snapshot=DEVICES, **how)


async def until_whole(heard: Any, believed: dict[Any, Any]) -> int:
    """Take changes in until the picture is whole; the drops that were told on the way."""
    drops = 0
    while True:
        item = await heard.receive(timeout=30)
        match item:
            case nls.Added(key=key, row=row) | nls.Changed(key=key, row=row):
                believed[key] = row
            case nls.Removed(key=key):
                del believed[key]
            case nls.Overrun(drops=lost, unresynced=None):
                drops += lost
            case nls.Resynced():
                return drops
            case _:
                raise AssertionError(item)


async def all_queued(heard: Any) -> list[Any]:
    """What has been told until now; the kernel tells before it acknowledges."""
    items = []
    with contextlib.suppress(nls.NetlinkTimeout):
        while True:
            items.append(await heard.receive(timeout=0.05))
    return items


async def there(genl: Any) -> Mapping[int, Any]:
    """What a dump says now."""
    return {index_of(row): row async for row in genl.dump(DEVICES)}


@on_every_surface
async def test_what_comes_and_goes_is_told_once(surface: Surface) -> None:
    """Behind the devices that are there already."""
    async with surface.open_generic() as genl, devices(genl) as heard:
        believed: dict[Any, Any] = {}
        await until_whole(heard, believed)
        assert believed.keys() == {1}
        with Links() as links:
            links.make("left", "right")
            came = await all_queued(heard)
            links.delete("left")
            went = await all_queued(heard)
        added = [item.key for item in came if isinstance(item, nls.Added)]
        removed = [item.key for item in went if isinstance(item, nls.Removed)]
        assert len(added) == 2
        assert set(added) == set(removed)
        # A device also changes: it learns what it can.
        assert {type(item) for item in (*came, *went)} <= {nls.Added, nls.Changed, nls.Removed}
        with pytest.raises(nls.NetlinkTimeout, match="silence of notifications of netdev"):
            await heard.receive(timeout=0.01)
        now = heard.statistics()
        assert (now.items, now.overruns, now.drops) == (2 + len(came) + len(went), 0, 0)


@on_every_surface
async def test_who_sleeps_through_thousands_wakes_to_what_is_so(surface: Surface) -> None:
    """Four losses; the drops that are told are the kernel's own, and so is the picture."""
    async with (
        surface.open_generic() as genl,
        devices(genl, receive_buffer=FLOOR) as heard,
    ):
        believed: dict[Any, Any] = {}
        told = await until_whole(heard, believed)
        for wave in range(4):
            with Links() as links:
                for pair in names(range(wave * 100, wave * 100 + 300)):
                    links.make(*pair)
                links.delete_all()
                for pair in names(range(wave * 10, wave * 10 + 7)):
                    links.make(*pair)
            while told < heard.statistics().drops:
                told += await until_whole(heard, believed)
            assert believed == await there(genl)
            with Links() as links:
                links.delete_all()
        while told < heard.statistics().drops:
            told += await until_whole(heard, believed)
        now = heard.statistics()
        assert now.overruns >= 4
        assert now.resyncs >= 4
        assert told == now.drops


@on_every_surface
async def test_without_a_snapshot_notifications_are_as_they_are(surface: Surface) -> None:
    """And a loss is told, with nothing to make up for it."""
    async with (
        surface.open_generic() as genl,
        genl.subscribe("netdev", ["mgmt"], receive_buffer=FLOOR) as heard,
    ):
        with Links() as links:
            links.make("left", "right")
            commands = [(await heard.receive()).command for _ in range(2)]
            assert commands == [2, 2]
            for pair in names(range(300)):
                links.make(*pair)
        items = [await heard.receive()]
        while not isinstance(items[-1], nls.Overrun):
            items.append(await heard.receive())
        assert items[-1] == nls.Overrun(heard.statistics().drops, "no snapshot was asked for")
        with Links() as links:
            links.delete("left")
        assert (await heard.receive()).command == GONE


@on_every_surface
async def test_a_codec_reads_notifications_too(surface: Surface) -> None:
    """ethtool's monitor: what is changed by us is told as pyroute2 reads it."""
    with Links() as links:
        links.make("left", "right")
    async with surface.open_generic() as genl:
        codec = nls.pyroute2_codec("ethtool", 2)
        async with genl.subscribe("ethtool", codec=codec) as heard:
            off = {3: {1: {2: b"tx-checksum-ip-generic\0"}}}
            await genl.request(nls.generic_request("ethtool", 12, {1: {2: "left"}, 3: off}))
            message = await heard.receive()
            assert message["cmd"] == 13
            header = message.get_attr("ETHTOOL_A_LINKINFO_HEADER")
            assert header.get_attr("ETHTOOL_A_HEADER_DEV_NAME") == "left"


class Unreadable:
    """A message of a codec that can read nothing."""

    def __init__(self, data: object = None) -> None:
        pass

    def __setitem__(self, name: str, value: object) -> None:
        pass

    def encode(self) -> None:
        pass

    def decode(self) -> None:
        raise KeyError("nothing")


@on_every_surface
async def test_what_a_codec_cannot_read_is_handed_out_plainly(surface: Surface) -> None:
    """A family may tell more than one codec knows, and nothing of it is lost."""
    async with surface.open_generic() as genl, genl.subscribe("netdev", codec=Unreadable) as heard:
        with Links() as links:
            links.make("left", "right")
        told = await heard.receive()
        assert isinstance(told, nls.GenericReply)
        assert told.command == 2
        assert heard.statistics().rejected == {}


@on_every_surface
async def test_a_listener_that_heard_nothing_says_so(surface: Surface) -> None:
    """What the opening asked, and what came before, is no part of a wait."""
    async with surface.open_generic() as genl, genl.subscribe("netdev") as heard:
        with pytest.raises(nls.NetlinkTimeout) as late:
            await heard.receive(timeout=0.01)
        assert late.value.datagrams == 0
        assert str(late.value).endswith("within 0.01 s")
        with Links() as links:
            links.make("left", "right")
        assert len(await all_queued(heard)) >= 2
        with pytest.raises(nls.NetlinkTimeout) as late:
            await heard.receive(timeout=0.01)
        assert late.value.datagrams == 0


@on_every_surface
async def test_a_family_that_came_back_without_the_group_is_an_error(
    surface: Surface, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No look to come would mend it, so that it is raised, and not tried again in silence."""
    async with surface.open_generic() as genl, genl.subscribe("netdev", ["mgmt"]) as heard:
        follower = heard_by(heard)._follower
        follower.reader.is_stale = True
        monkeypatch.setattr(follower._source, "_wanted", attrs.evolve(MGMT, groups=("gone",)))
        for _ in range(2):
            with pytest.raises(nls.LocalProtocolError, match="no multicast group 'gone'"):
                await heard.receive()


@on_every_surface
async def test_looks_that_fail_are_made_no_more_often_than_a_heartbeat(
    surface: Surface, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However stale the picture is meanwhile; it is told once, and one that succeeds mends it."""
    looks = 0

    def refused(*_: object) -> Any:
        nonlocal looks
        looks += 1
        raise OSError("no look")

    async with surface.open_generic() as genl, devices(genl) as heard:
        await until_whole(heard, {})
        follower = heard_by(heard)._follower
        with monkeypatch.context() as broken:
            broken.setattr(follower._source, "look", refused)
            follower.reader.is_stale = True
            assert await heard.receive() == nls.Overrun(0, "no look; it is tried again")
            for _ in range(3):
                with pytest.raises(nls.NetlinkTimeout):
                    await heard.receive(timeout=0.05)
            assert looks == 1
            follower._look_again_at = 0.0
            with pytest.raises(nls.NetlinkTimeout):
                await heard.receive(timeout=0.05)
            assert looks == 2
        follower._look_again_at = 0.0
        assert await heard.receive() == nls.Resynced(0, 0)
        assert not follower.reader.is_stale


def heard_by(heard: Any) -> Any:
    """The subscription itself, of whatever surface."""
    return getattr(heard, "_events", heard)


@on_every_surface
async def test_what_a_stranger_says_is_not_believed(surface: Surface) -> None:
    """Who may send to the group has a port ID of its own; it is counted."""
    async with surface.open_generic() as genl, devices(genl) as heard:
        await until_whole(heard, {})
        family = await genl.family("netdev")
        spoof_multicast(16, family.groups["mgmt"], nls.message(family.id, b"\2\1\0\0"))
        with pytest.raises(nls.NetlinkTimeout):
            await heard.receive(timeout=0.05)
        assert heard.statistics().rejected == {"foreign_sender": 1}


@on_every_surface
async def test_what_a_key_raises_is_raised_once_and_hides_nothing(surface: Surface) -> None:
    """What was ready comes before it, and behind it whatever makes the picture the kernel's."""
    known: set[Any] = set()

    def key(row: nls.GenericReply) -> int:
        index = index_of(row)
        is_the_third = index not in known and len(known) == 2
        known.add(index)
        if is_the_third:
            raise ValueError("nobody expects the third")
        return index

    async with surface.open_generic() as genl, devices(genl, key=key) as heard:
        believed: dict[Any, Any] = {}
        await until_whole(heard, believed)
        with Links() as links:
            links.make("left", "right")
            links.make("more", "still")
        item = await heard.receive()
        believed[item.key] = item.row
        with pytest.raises(ValueError, match="the third"):
            await until_whole(heard, believed)
        assert len(known) == 5
        await until_whole(heard, believed)
        assert believed == await there(genl)
        assert believed.keys() == known
        assert await all_queued(heard) == []


@on_every_surface
async def test_a_family_that_changes_while_it_is_subscribed_to_is_heard(surface: Surface) -> None:
    """Its groups are looked for again once the controller's own is joined."""
    found = Families._found

    def other_groups(*arguments: Any) -> Any:
        now = yield from found(*arguments)
        return attrs.evolve(now, id=1000, groups={"mgmt": 16})

    async with contextlib.AsyncExitStack() as stack:
        genl = await stack.enter_async_context(surface.open_generic())
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Families, "_found", other_groups)
            heard = await stack.enter_async_context(genl.subscribe("netdev", ["mgmt"]))
        with Links() as links:
            links.make("left", "right")
        assert [(await heard.receive()).command for _ in range(2)] == [CAME, CAME]


@on_every_surface
async def test_behind_a_loss_the_family_is_looked_for_without_a_snapshot_too(
    surface: Surface,
) -> None:
    """That it came back may be what was lost."""
    found = LoadedFamilies._found

    def other_number(*arguments: Any) -> Any:
        now = yield from found(*arguments)
        return attrs.evolve(now, id=1000)

    async with (
        surface.open_generic() as genl,
        genl.subscribe("netdev", ["mgmt"], receive_buffer=FLOOR) as heard,
    ):
        with Links() as links:
            for pair in names(range(300)):
                links.make(*pair)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(LoadedFamilies, "_found", other_number)
            item = await heard.receive()
            while not isinstance(item, nls.Overrun):
                item = await heard.receive()
            assert (item.drops, item.unresynced) == (
                heard.statistics().drops,
                "no snapshot was asked for",
            )
            assert await heard.receive() == nls.Overrun(0, "the family was gone and has come back")


@on_every_surface
async def test_nonsense_is_refused(surface: Surface) -> None:
    """At once where that can be seen, and when it is entered where the family must be asked."""
    async with surface.open_generic() as genl:
        for options, text in (
            ({}, "which family"),
            ({"family": ""}, "family="),
            ({"family": "nlctrl", "groups": [5]}, "group=5"),
            ({"family": "nlctrl", "snapshot": DEVICES}, "tells nothing of nlctrl"),
            ({"snapshot": DEVICES}, "key="),
            ({"snapshot": DEVICES, "key": index_of}, "commands="),
            ({"snapshot": DEVICES, "commands": [CAME]}, "key="),
            ({"family": "netdev", "commands": [CAME]}, "snapshot="),
            ({"snapshot": ethtool.link_state()}, "the kernel tells nothing of link state"),
            ({"snapshot": ethtool.rings()}, "does not tell by ethtool which devices come and go"),
            ({"family": "netdev", "key": index_of}, "snapshot="),
            ({"family": "netdev", "receive_buffer": 1024}, "below the floor"),
            ({"family": "netdev", "heartbeat": 0}, "heartbeat="),
            ({"family": "netdev", "codec": 5}, "no codec"),
            ({"family": "netdev", "groups": []}, "groups= is empty"),
            ({"family": "netdev", "groups": 5}, "groups=5"),
            ({"family": "netdev", "removals": 5}, "removals=5"),
            ({"snapshot": DEVICES, "key": 5}, "key=5 is no function"),
            ({"snapshot": DEVICES, "key": index_of, "commands": 5}, "commands=5"),
            ({"snapshot": DEVICES, "key": index_of, "removals": None}, "removals=None"),
            ({"snapshot": DEVICES, "key": index_of, "removals": ["x"]}, "command='x'"),
            ({"snapshot": ethtool.rings()}, "cannot be followed"),
            ({"snapshot": DEVICES, "removals": [3]}, "none is of use without"),
            ({"snapshot": DEVICES, "key": index_of, "codec": object}, "coded_request"),
            ({"snapshot": "netdev"}, "'netdev' is no request to a generic family"),
            ({"snapshot": ethtool.rings("lo")}, "rings of lo is about one thing"),
        ):
            with pytest.raises(nls.LocalProtocolError, match=text):
                async with genl.subscribe(**options):
                    pass
        with pytest.raises(nls.LocalProtocolError, match="no multicast group 'none'; it has: mgmt"):
            async with genl.subscribe("netdev", ["none"]):
                pass
        with pytest.raises(nls.FamilyNotFound):
            async with genl.subscribe("nothing"):
                pass
        with pytest.raises(nls.LocalProtocolError, match="TASKSTATS has no multicast groups"):
            async with genl.subscribe("TASKSTATS"):
                pass


@on_every_surface
async def test_it_goes_on_when_who_opened_it_is_closed(surface: Surface) -> None:
    """A subscription has sockets of its own; and its end leaves nothing behind."""
    async with surface.open_generic() as genl, devices(genl) as heard:
        await genl.aclose()
        await until_whole(heard, {})
        with Links() as links:
            links.make("left", "right")
        assert isinstance(await heard.receive(), nls.Added)
    with pytest.raises(nls.ClosedError):
        await heard.receive()
    with pytest.raises(nls.ClosedError):
        async with devices(genl):
            pass


@on_surfaces(ASYNC_SURFACES)
async def test_a_cancelled_receive_loses_nothing(surface: Surface) -> None:
    """What was to come comes to the next one."""
    async with surface.open_generic() as genl, devices(genl) as heard:
        await until_whole(heard, {})
        with taking_at_most(10), anyio.move_on_after(0.02):
            await heard.receive()
        with Links() as links:
            links.make("left", "right")
        assert [type(await heard.receive()) for _ in range(2)] == [nls.Added] * 2


@on_every_surface
async def test_another_namespace_is_listened_to(surface: Surface) -> None:
    """Notifications, dumps and the family are all of that one."""
    with kernel.named_namespace("other") as path:
        async with surface.open_generic(netns=path) as genl, devices(genl) as heard:
            believed: dict[Any, Any] = {}
            await until_whole(heard, believed)
            with Links() as links:
                links.make("left", "right")

            def make() -> None:
                with Links() as inside:
                    inside.make("in", "out")

            kernel.in_namespace(path, make)
            added = [item for item in await all_queued(heard) if isinstance(item, nls.Added)]
            assert len(added) == 2
            assert (await there(genl)).keys() == {1, *(item.key for item in added)}


def test_a_group_that_takes_rights_is_an_error_by_its_family() -> None:
    """What it is that takes them is in the text."""
    from netlink_safe import blocking

    def child() -> str:
        kernel.drop_all_rights()
        with blocking.open_generic() as genl:
            genl.subscribe("mptcp_pm", ["mptcp_pm_events"])
        return "joined"

    told = kernel.in_child(child)
    assert told.startswith("PermissionError: [Errno 1] Operation not permitted: joining multicast ")
    assert "of netlink protocol 16, for notifications of mptcp_pm, takes rights, mostly" in told


def test_a_forked_child_hears_nothing() -> None:
    """It would take its parent's notifications."""
    from netlink_safe import blocking

    with blocking.open_generic() as genl, genl.subscribe("netdev", ["mgmt"]) as heard:
        with Links() as links:
            links.make("left", "right")
        told = kernel.in_child(lambda: heard.receive(timeout=1))
        assert told.startswith("LocalProtocolError")
        for verb in (genl.family, genl.subscribe):
            told = kernel.in_child(partial(verb, "nlctrl"))
            assert told.startswith("LocalProtocolError")
        assert [heard.receive(timeout=10).command for _ in range(2)] == [CAME, CAME]
