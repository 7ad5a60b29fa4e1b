"""Open vSwitch in the kernel: what it says of its ports, and those that must not be pulled."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import netlink_safe as nls
from netlink_safe.families import ovs
from surfaces import Surface, on_every_surface, taking_at_most
from vm.guest.datapaths import DATAPATH, datapath
from vm.guest.shell import run

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.usefixtures("network")


@pytest.fixture
def _blue() -> Iterator[None]:
    """A network namespace of this name, gone behind the test."""
    run("ip netns add blue")
    yield
    run("ip netns del blue")


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
