"""Open vSwitch followed: through losses, deleted datapaths, and a module that is removed."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest

import netlink_safe as nls
from netlink_safe import blocking
from netlink_safe.families import ctrl, ovs
from printed import running
from surfaces import on_every_surface
from vm.guest.openvswitch import DATAPATH, datapath, follow, stays_out
from vm.guest.shell import run

if TYPE_CHECKING:
    from surfaces import Surface

pytestmark = pytest.mark.usefixtures("network")


@on_every_surface
async def test_a_subscriber_that_sleeps_wakes_to_the_exact_set(surface: Surface) -> None:
    """Hundreds of ports come and go meanwhile; all losses are told, and what is believed is so."""
    async with datapath(surface) as (genl, made):
        for number in range(40):
            run(f"ip link add a{number} type veth peer name b{number}")
        snapshot = ovs.vports(made)
        async with genl.subscribe(snapshot=snapshot, receive_buffer=32 * 1024) as heard:
            believed: dict[Any, str] = {}
            counts = [await follow(heard, believed)]
            assert believed == {(made.index, 0): DATAPATH}
            for wave in range(6):
                for number in range(40):
                    await genl.request(ovs.new_vport(made, f"a{number}"))
                for number in range(40):
                    if (number + wave) % 7:
                        await genl.request(ovs.delete_vport(f"a{number}"))
                for number in range(40):
                    with contextlib.suppress(nls.KernelError):
                        await genl.request(ovs.delete_vport(f"a{number}"))
                await genl.request(ovs.new_vport(made, f"a{wave}"))
                if heard.statistics().drops > 0 and wave == 5:
                    break
                await genl.request(ovs.delete_vport(f"a{wave}"))
            assert heard.statistics().drops > 0
            drops = 0
            while drops < heard.statistics().drops:
                drops += await follow(heard, believed)
            now = {(one.datapath, one.number): one.name async for one in genl.dump(snapshot)}
            assert believed == now
            assert drops == heard.statistics().drops
            assert counts == [0]


@on_every_surface
async def test_a_module_that_goes_and_comes_back(surface: Surface) -> None:
    """Its families have other numbers then; requests go on, and so does a subscription."""
    async with surface.open_generic() as genl:
        before = await genl.family("ovs_datapath")
        async with genl.subscribe(snapshot=ovs.datapaths()) as heard:
            assert await heard.receive() == nls.Resynced(0, 0)
            made = await genl.request(ovs.new_datapath(DATAPATH))
            assert await heard.receive() == nls.Added(made.index, made)
            await genl.request(ovs.delete_datapath(DATAPATH))
            assert isinstance(await heard.receive(), nls.Removed)
            run("modprobe -r openvswitch")
            assert await heard.receive(timeout=30) == nls.Resynced(0, 0)
            await stays_out(heard)
            made = await genl.request(ovs.new_datapath(DATAPATH))
            items = [await heard.receive(timeout=30)]
            while items[-1] != nls.Added(made.index, made):
                items.append(await heard.receive(timeout=30))
            assert all(isinstance(one, nls.Resynced) for one in items[:-1])
        after = await genl.family("ovs_datapath")
        assert after.id != before.id
        await genl.request(ovs.delete_datapath(DATAPATH))


@on_every_surface
async def test_a_datapath_that_is_deleted_takes_its_ports_from_who_follows_them(
    surface: Surface,
) -> None:
    """Of which the kernel tells nothing; those of another datapath stay."""
    run("ip link add veth0 type veth peer name veth1")
    async with datapath(surface) as (genl, kept):
        made = await genl.request(ovs.new_datapath("dp1"))
        await genl.request(ovs.new_vport(made, "veth0"))
        async with (
            genl.subscribe(snapshot=ovs.vports(made)) as heard,
            genl.subscribe(snapshot=ovs.vports(kept)) as other,
        ):
            believed: dict[Any, str] = {}
            await follow(heard, believed)
            assert sorted(believed.values()) == ["dp1", "veth0"]
            await follow(other, {})
            await genl.request(ovs.delete_datapath("dp1"))
            removed = [await heard.receive(timeout=30) for _ in range(2)]
            assert {one.key: one.row.name for one in removed} == believed
            assert {type(one) for one in removed} == {nls.Removed}
            assert await heard.receive(timeout=30) == nls.Resynced(added=0, removed=2)
            with pytest.raises(nls.NetlinkTimeout):
                await other.receive(timeout=0.5)
        with pytest.raises(nls.KernelError, match="ENODEV"):
            async with genl.subscribe(snapshot=ovs.vports(made)):
                pass


@on_every_surface
async def test_a_module_that_goes_takes_the_ports_too(surface: Surface) -> None:
    """All at once, for a subscriber who slept meanwhile; and the module stays out."""
    async with surface.open_generic() as genl:
        made = await genl.request(ovs.new_datapath(DATAPATH))
        async with genl.subscribe(snapshot=ovs.vports(made)) as heard:
            believed: dict[Any, str] = {}
            await follow(heard, believed)
            assert set(believed.values()) == {DATAPATH}
            await genl.request(ovs.delete_datapath(DATAPATH))
            run("modprobe -r openvswitch")
            assert isinstance(await heard.receive(timeout=30), nls.Removed)
            assert await heard.receive(timeout=30) == nls.Resynced(added=0, removed=1)
            await stays_out(heard)


@on_every_surface
async def test_who_hears_plain_notifications_loads_no_module_and_is_told_of_the_gap(
    surface: Surface,
) -> None:
    """The family has another number and other groups when it is back; they are heard."""
    async with surface.open_generic() as genl, genl.subscribe("ovs_datapath") as heard:
        run("modprobe -r openvswitch")
        await stays_out(heard)
        await genl.request(ovs.new_datapath(DATAPATH))
        told = await heard.receive(timeout=30)
        while not isinstance(told, nls.Overrun):  # unless its groups were joined in time
            told = await heard.receive(timeout=30)
        assert told == nls.Overrun(0, "the family was gone and has come back")
        await genl.request(ovs.delete_datapath(DATAPATH))
        commands = [(await heard.receive(timeout=30)).command]
        while commands[-1] != ovs.DEL:
            commands.append((await heard.receive(timeout=30)).command)
        assert set(commands) <= {ovs.NEW, ovs.DEL}


@on_every_surface
async def test_families_are_followed_and_their_groups_are_no_families(surface: Surface) -> None:
    """A module that is loaded adds whole rows; what is told beside them is as it is."""
    NAME, NEWFAMILY, DELFAMILY = 2, 1, 2  # noqa: N806  # the kernel's
    families = nls.generic_request("nlctrl", 3)
    run("modprobe -r openvswitch")
    async with (
        surface.open_generic() as genl,
        genl.subscribe(
            snapshot=families,
            key=lambda row: row.values[NAME],
            commands=[NEWFAMILY],
            removals=[DELFAMILY],
        ) as heard,
    ):
        believed: dict[Any, Any] = {}
        beside = []
        item = await heard.receive(timeout=30)
        while not isinstance(item, nls.Resynced):
            believed[item.key] = item.row
            item = await heard.receive(timeout=30)
        run("modprobe openvswitch")
        now = {row.values[NAME]: row async for row in genl.dump(families)}
        while believed.keys() != now.keys():
            item = await heard.receive(timeout=30)
            if isinstance(item, nls.GenericReply):
                beside.append(item.command)
            else:
                assert isinstance(item, nls.Added)
                believed[item.key] = item.row
        assert believed == now
        assert set(beside) <= {ctrl.NEWMCAST_GRP}
        assert beside


def test_the_example_of_ports_follows_them_to_the_end() -> None:
    """What is there, what comes, and what goes with the datapath."""
    run("ip link add veth0 type veth peer name veth1")
    with blocking.open_generic() as genl:
        made = genl.request(ovs.new_datapath(DATAPATH))
        with running("ovs_ports.py", DATAPATH) as printed:
            assert printed.next() == f"+ 0 {DATAPATH}"
            genl.request(ovs.new_vport(made, "veth0"))
            assert printed.next() == "+ 1 veth0"
            genl.request(ovs.delete_datapath(DATAPATH))
            assert {printed.next(), printed.next()} == {f"- 0 {DATAPATH}", "- 1 veth0"}
