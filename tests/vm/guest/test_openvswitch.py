"""Open vSwitch in the kernel: ports that must not be pulled, and a table followed."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import netlink_safe as nls
from netlink_safe import blocking
from netlink_safe.families import ctrl, ovs
from printed import running
from surfaces import Surface, on_every_surface, taking_at_most
from vm.guest.shell import run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

pytestmark = pytest.mark.usefixtures("network")

DATAPATH = "dp0"


@pytest.fixture
def _blue() -> Iterator[None]:
    """A network namespace of this name, gone behind the test."""
    run("ip netns add blue")
    yield
    run("ip netns del blue")


@contextlib.asynccontextmanager
async def datapath(surface: Surface, **options: Any) -> AsyncIterator[tuple[Any, ovs.Datapath]]:
    """Generic netlink, and a datapath that is there as long as the body."""
    async with surface.open_generic(**options) as genl:
        made = await genl.request(ovs.new_datapath(DATAPATH))
        try:
            yield genl, made
        finally:
            await genl.request(ovs.delete_datapath(DATAPATH))


def exists(name: str) -> bool:
    """Whether there is a link of this name."""
    return name in {name for _, name in socket.if_nameindex()}


@on_every_surface
async def test_a_datapath_and_its_ports_are_what_ip_says(surface: Surface) -> None:
    """Records, notifications' keys, and errors that name what is meant."""
    run("ip link add veth0 type veth peer name veth1")
    async with datapath(surface) as (genl, made):
        assert made.name == DATAPATH
        assert made.index == socket.if_nametoindex(DATAPATH)
        port = await genl.request(ovs.new_vport(made, "veth0"))
        assert (port.name, port.datapath, port.number) == ("veth0", made.index, 1)
        assert port.type is ovs.VportType.NETDEV
        assert port.index == socket.if_nametoindex("veth0")
        assert port.upcall_ports == ()
        assert [one.name async for one in genl.dump(ovs.datapaths())] == [DATAPATH]
        ports = [(one.number, one.name) async for one in genl.dump(ovs.vports(made))]
        assert sorted(ports) == [(0, DATAPATH), (1, "veth0")]
        assert await genl.request(ovs.vport("veth0")) == port
        with pytest.raises(nls.KernelError, match="EEXIST"):
            await genl.request(ovs.new_datapath(DATAPATH))
        with pytest.raises(nls.KernelError, match="ENODEV"):
            await genl.request(ovs.vport("veth1"))
        assert "openvswitch_slave" in run("ip -d link show veth0")
        await genl.request(ovs.delete_vport("veth0"))
        assert [one.name async for one in genl.dump(ovs.vports(made))] == [DATAPATH]


@on_every_surface
async def test_a_link_that_is_a_port_is_not_deleted(surface: Surface) -> None:
    """Nor is its peer: the error names datapath, port and the command that helps."""
    run("ip link add veth0 type veth peer name veth1")
    async with datapath(surface) as (genl, made):
        await genl.request(ovs.new_vport(made, "veth0"))
        for wanted in ("veth0", "veth1"):
            with pytest.raises(nls.LinkInUseError, match="port 1 of the datapath dp0") as refused:
                await surface.delete_link(wanted)
            error = refused.value
            assert (error.link, error.port, error.datapath, error.number) == (
                wanted,
                "veth0",
                DATAPATH,
                1,
            )
            assert (error.netns, error.owner) == (None, None)
            assert error.command == "ovs-dpctl del-if dp0 veth0"
            assert exists(wanted)
        await genl.request(ovs.delete_vport("veth0"))
        await surface.delete_link("veth1")
        assert not exists("veth0")


@pytest.mark.usefixtures("_blue")
@on_every_surface
async def test_nor_is_one_whose_peer_is_a_port_in_another_namespace(surface: Surface) -> None:
    """The namespace is found by its name; the command says where to type it."""
    run("ip link add veth0 type veth peer name veth1 netns blue")
    async with datapath(surface, netns="blue") as (genl, made):
        await genl.request(ovs.new_vport(made, "veth1"))
        with pytest.raises(nls.LinkInUseError, match="network namespace blue is port 1") as refused:
            await surface.delete_link("veth0")
        assert (refused.value.port, refused.value.netns) == ("veth1", "blue")
        assert refused.value.command == "ip netns exec blue ovs-dpctl del-if dp0 veth1"
        with pytest.raises(nls.LinkInUseError, match="veth1 was not deleted: it is port 1"):
            await surface.delete_link("veth1", netns="blue")
        assert exists("veth0")
        await surface.delete_link("veth0", detach=True)
        assert not exists("veth0")
        with pytest.raises(nls.KernelError, match="ENODEV"):
            await genl.request(ovs.vport("veth1"))


@on_every_surface
async def test_what_stands_on_a_link_keeps_it(surface: Surface) -> None:
    """A VLAN of it goes with it, and so the port that the VLAN is."""
    run("ip link add veth0 type veth peer name veth1")
    run("ip link add link veth0 name veth0.7 type vlan id 7")
    async with datapath(surface) as (genl, made):
        await genl.request(ovs.new_vport(made, "veth0.7"))
        for wanted in ("veth0", "veth1", "veth0.7"):
            with pytest.raises(nls.LinkInUseError, match=r"port 1 of the datapath dp0"):
                await surface.delete_link(wanted)
        await surface.delete_link("veth1", detach=True)
        assert not exists("veth0.7")


@on_every_surface
async def test_detaching_keeps_the_order_while_traffic_flows(surface: Surface) -> None:
    """Down, out of the datapath, and only then away: the notifications prove it."""
    run(
        "ip link add veth0 type veth peer name veth1 && ip link add veth2 type veth peer name veth3"
    )
    run("for one in veth0 veth1 veth2 veth3; do ip link set $one up; done")
    with traffic("veth1"), monitored() as told:
        async with datapath(surface) as (genl, made):
            for name in ("veth0", "veth2"):
                await genl.request(ovs.new_vport(made, name))
            async with genl.subscribe("ovs_vport") as heard:
                with taking_at_most(30):
                    await surface.delete_link("veth1", detach=True, timeout=20)
                gone = await heard.receive()
                assert gone.command == ovs.DEL
                assert gone.values[ovs.NAME].rstrip(b"\0") == b"veth0"
            assert not exists("veth0")
            assert not exists("veth1")
            assert exists("veth2")
    down = first(told, lambda line: ": veth1@" in line and ",UP" not in line.split(">")[0])
    freed = first(told, lambda line: ": veth0@" in line and "master" not in line)
    deleted = first(told, lambda line: line.startswith("Deleted") and "veth" in line)
    assert down < freed < deleted, told


@on_every_surface
async def test_a_port_that_somebody_serves_is_left_alone(surface: Surface) -> None:
    """Whoever has its upcall port would put it back; force goes on all the same."""
    run("ip link add veth0 type veth peer name veth1 && ip link set veth1 up")
    async with datapath(surface) as (genl, made):
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16) as server:
            server.bind((0, 0))
            number = server.getsockname()[0]
            await genl.request(ovs.new_vport(made, "veth0", upcall_ports=[number]))
            with pytest.raises(nls.LinkInUseError, match="would put back") as refused:
                await surface.delete_link("veth1", detach=True)
            assert refused.value.owner == os.getpid()
            assert refused.value.command == "ovs-vsctl del-port veth0"
            assert "UP" in run("ip link show veth1")
        await surface.delete_link("veth1", detach=True)
        assert not exists("veth0")


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


async def follow(heard: Any, believed: dict[Any, str]) -> int:
    """Take changes in until the picture is whole again; the drops that were told on the way."""
    drops = 0
    while True:
        match await heard.receive(timeout=20):
            case nls.Added(key=key, row=row) | nls.Changed(key=key, row=row):
                believed[key] = row.name
            case nls.Removed(key=key):
                del believed[key]
            case nls.Overrun(drops=lost):
                drops += lost
            case nls.Resynced():
                return drops


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


async def stays_out(heard: Any) -> None:
    """A subscriber that goes on listening has the module loaded by nobody."""
    with contextlib.suppress(nls.NetlinkTimeout):
        while True:
            assert isinstance(await heard.receive(timeout=1), nls.Resynced)
    assert not is_loaded()


def is_loaded() -> bool:
    """Whether Open vSwitch's module is."""
    lines = Path("/proc/modules").read_text("ascii").splitlines()
    return "openvswitch" in {line.split()[0] for line in lines}


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


#: Frames through a device, as fast as they go, until it is gone.
FLOOD = """
import errno, socket, sys
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
    sender.bind((sys.argv[1], 0))
    print("sending", flush=True)
    while True:
        try:
            sender.send(b"\\xff" * 6 + b"\\x02" * 6 + b"\\x88\\xb5" + bytes(500))
        except OSError as error:
            if error.errno not in (errno.ENETDOWN, errno.ENOBUFS):
                break
"""


@contextlib.contextmanager
def traffic(device: str) -> Iterator[None]:
    """Frames through a device until the body ends."""
    with subprocess.Popen([sys.executable, "-c", FLOOD, device], stdout=subprocess.PIPE) as sender:
        try:
            assert sender.stdout is not None
            assert sender.stdout.readline() == b"sending\n"
            yield
        finally:
            sender.kill()


@contextlib.contextmanager
def monitored() -> Iterator[list[str]]:
    """What ``ip monitor link`` says during the body; complete behind it."""
    told: list[str] = []
    run("ip link add mark0 type dummy")
    command = ["ip", "-o", "monitor", "link"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watcher:
        assert watcher.stdout is not None
        try:
            while not select.select([watcher.stdout], [], [], 0.1)[0]:
                run("ip link set mark0 mtu 1400 && ip link set mark0 mtu 1500")
            yield told
            run("ip link add mark1 type dummy")
            for line in watcher.stdout:
                if "mark1" in line:
                    break
                told.append(line)
        finally:
            watcher.kill()


def first(lines: list[str], fits: Any) -> int:
    """The place of the first line that fits."""
    return next(number for number, line in enumerate(lines) if fits(line))
