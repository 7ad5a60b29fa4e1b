"""Links that are ports of Open vSwitch, or have one above or beyond them: how they are deleted."""

from __future__ import annotations

import os
import socket
import struct
from typing import TYPE_CHECKING, Any, Final

import anyio
import pytest

import netlink_safe as nls
from netlink_safe.families import ovs
from netlink_safe.families.link_stack import GOES_WITH_ITS_LINK
from netlink_safe.wire.attributes import build_attribute, build_nested, build_u32
from surfaces import Surface, on_every_surface, taking_at_most
from vm.guest.openvswitch import DATAPATH, datapath, exists
from vm.guest.shell import run
from vm.guest.traffic import first, monitored, traffic

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.usefixtures("network")


@pytest.fixture
def _blue() -> Iterator[None]:
    """A network namespace of this name, gone behind the test."""
    run("ip netns add blue")
    yield
    run("ip netns del blue")


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


@pytest.mark.usefixtures("_blue")
@on_every_surface
async def test_nor_one_whose_peer_has_a_port_on_it_in_another_namespace(surface: Surface) -> None:
    """A VLAN on the other end goes too, and blue's datapath would lose it."""
    run("ip link add veth0 type veth peer name veth1 netns blue")
    run("ip -n blue link add link veth1 name veth1.7 type vlan id 7")
    async with datapath(surface, netns="blue") as (genl, made):
        await genl.request(ovs.new_vport(made, "veth1.7"))
        with pytest.raises(nls.LinkInUseError, match=r"veth1\.7 in the .* blue is port 1"):
            await surface.delete_link("veth0")
        assert exists("veth0")
        await surface.delete_link("veth0", detach=True)
        assert not exists("veth0")
        assert [one.name async for one in genl.dump(ovs.vports(made))] == [DATAPATH]


@pytest.mark.usefixtures("_blue")
@pytest.mark.parametrize(
    "command",
    [
        "ip link add link veth0 name above type macvlan && ip link set above netns blue",
        "ip link add link veth0 name above netns blue type macvlan",
        "ip link add above type vxlan id 7 dev veth0 dstport 4789 && ip link set above netns blue",
    ],
    ids=["moved", "made there", "vxlan"],
)
@on_every_surface
async def test_nor_one_with_a_port_on_it_in_another_namespace(
    surface: Surface, command: str
) -> None:
    """Whether that namespace has a number here, or is to be found by its name alone."""
    run(f"ip link add veth0 type veth peer name veth1 && {command}")
    async with datapath(surface, netns="blue") as (genl, made):
        await genl.request(ovs.new_vport(made, "above"))
        for wanted in ("veth0", "veth1"):
            with pytest.raises(nls.LinkInUseError, match=r"above in the .* blue is port 1"):
                await surface.delete_link(wanted)
        await surface.delete_link("veth1", detach=True)
        assert not exists("veth0")
        assert [one.name async for one in genl.dump(ovs.vports(made))] == [DATAPATH]


@on_every_surface
async def test_a_tunnel_that_leaves_by_a_link_stays_a_port(surface: Surface) -> None:
    """It outlives the link, and so is neither in the way nor taken out."""
    run("ip link add veth0 type veth peer name veth1")
    run("ip link add gt1 type gretap local 192.0.2.1 remote 192.0.2.2 dev veth0")
    async with datapath(surface) as (genl, made):
        await genl.request(ovs.new_vport(made, "gt1"))
        await surface.delete_link("veth0", detach=True)
        assert not exists("veth1")
        assert (await genl.request(ovs.vport("gt1"))).number == 1


#: How one of each kind is made over veth0; virt_wifi, rmnet, amt and lowpan are in neither kernel.
KINDS: Final = {
    "vlan": "link veth0 type vlan id 7",
    "macvlan": "link veth0 type macvlan",
    "macvtap": "link veth0 type macvtap",
    "ipvlan": "link veth0 type ipvlan",
    "ipvtap": "link veth0 type ipvtap",
    "macsec": "link veth0 type macsec",
    "vxlan": "type vxlan id 7 dev veth0 dstport 4789",
    "gretap": "type gretap local 192.0.2.1 remote 192.0.2.2 dev veth0",
    "ip6gretap": "type ip6gretap local 2001:db8::1 remote 2001:db8::2 dev veth0",
    "ip6tnl": "type ip6tnl local 2001:db8::1 remote 2001:db8::2 dev veth0",
    "ipip": "type ipip local 192.0.2.1 remote 192.0.2.2 dev veth0",
    "sit": "type sit local 192.0.2.1 remote 192.0.2.2 dev veth0",
    "vti": "type vti local 192.0.2.1 remote 192.0.2.2 key 7 dev veth0",
    "xfrm": "type xfrm dev veth0 if_id 7",
}


@pytest.mark.parametrize("kind", KINDS)
@on_every_surface
async def test_the_kernel_takes_the_kinds_along_that_are_said_to_go(
    surface: Surface, kind: str
) -> None:
    """And leaves the others there."""
    run(f"ip link add veth0 type veth peer name veth1 && ip link add name upper {KINDS[kind]}")
    async with surface.open_route() as route:
        assert (await route.request(nls.link("upper"))).kind == kind
    await surface.delete_link("veth1")
    assert exists("upper") != (kind in GOES_WITH_ITS_LINK)


@on_every_surface
async def test_detaching_keeps_the_order_while_traffic_flows(surface: Surface) -> None:
    """Down, out of the datapath, and only then away, while the port sends; notifications prove it.

    The port has several queues, and so each frame's is chosen (net/core/dev.c: skb_tx_hash), which
    is where a processor is lost when a port goes away unseen.
    """
    run("ip link add veth0 numtxqueues 4 type veth peer name veth1 numrxqueues 4")
    run("ip link add veth2 type veth peer name veth3")
    run("for one in veth0 veth1 veth2 veth3; do ip link set $one up; done")
    assert "numtxqueues 4" in run("ip -d link show veth0")
    with traffic("veth3"), monitored() as told:
        async with datapath(surface) as (genl, made):
            out = await genl.request(ovs.new_vport(made, "veth0"))
            into = await genl.request(ovs.new_vport(made, "veth2"))
            await genl.request(new_flow(into, out))
            with anyio.fail_after(60):
                for more in (1, 20):
                    before = await sent(genl)
                    while await sent(genl) < before + more:
                        await anyio.lowlevel.checkpoint()
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


async def sent(genl: Any) -> int:
    """How many frames the port veth0 has sent."""
    counts = (await genl.request(ovs.vport("veth0"))).counts
    assert counts is not None
    return int(counts.transmit_packets)


def new_flow(into: ovs.Vport, out: ovs.Vport) -> Any:
    """An order that the flood's frames that come in at one port leave by the other.

    From ``include/uapi/linux/openvswitch.h``: OVS_FLOW_ATTR_KEY with IN_PORT, ETHERNET (source
    first) and ETHERTYPE; OVS_FLOW_ATTR_ACTIONS with OUTPUT.
    """
    key = (
        build_u32(3, into.number)
        + build_attribute(4, b"\x02" * 6 + b"\xff" * 6)
        + build_attribute(6, b"\x88\xb5")
    )
    attributes = build_nested(1, key) + build_nested(2, build_u32(1, out.number))
    header = struct.pack("=i", into.datapath)
    return nls.generic_request("ovs_flow", ovs.NEW, attributes, header=header)


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
