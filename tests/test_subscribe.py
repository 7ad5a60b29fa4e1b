"""Subscriptions on the running kernel: its own list of network devices, followed through losses."""

from __future__ import annotations

import contextlib
from typing import Any

import anyio
import attrs
import pytest

import kernel
import netlink_safe as nls
from links import Links, names
from netlink_safe.transport.families import Families, LoadedFamilies
from subscribed import CAME, GONE, all_queued, devices, heard_by, there, until_whole
from surfaces import ASYNC_SURFACES, Surface, on_every_surface, on_surfaces, taking_at_most

FLOOR = 32 * 1024


pytestmark = pytest.mark.skipif(
    kernel.release() < (6, 3), reason="the family netdev came with Linux 6.3"
)


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
