"""Open vSwitch in the kernel: ports that must not be pulled, and a table followed."""

from __future__ import annotations

import socket
from typing import Any, Final

import attrs
import pytest

import netlink_safe as nls
from netlink_safe.families import ovs, ovs_records
from netlink_safe.wire.attributes import build_attribute, build_text, build_u32
from surfaces import Surface, on_every_surface
from vm.guest.openvswitch import DATAPATH, datapath
from vm.guest.shell import run

pytestmark = pytest.mark.usefixtures("network")


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


def raw(request: Any, attributes: bytes) -> Any:
    """The same order, with these bytes for its attributes."""
    return attrs.evolve(request, attributes=attributes)


NO_PORT: Final = ovs.vport("nothing")
NO_DATAPATH: Final = ovs.datapath("nothing")
#: What is asked, what the error must say, and the path that it must give.
WRONG: list[tuple[Any, str, tuple[int, ...], str | None]] = [
    (
        raw(NO_PORT, build_text(ovs.NAME, "x" * 16)),
        "failed policy validation",
        (3,),
        "OVS_VPORT_ATTR_NAME",
    ),
    (
        raw(NO_PORT, build_attribute(ovs.NAME, b"unterminated")),
        "failed policy validation",
        (3,),
        "OVS_VPORT_ATTR_NAME",
    ),
    (
        raw(NO_PORT, build_attribute(ovs_records.TYPE, b"12")),
        "failed policy validation",
        (2,),
        "OVS_VPORT_ATTR_TYPE",
    ),
    (
        raw(NO_PORT, build_attribute(ovs_records.PORT_NO, b"")),
        "failed policy",
        (1,),
        "OVS_VPORT_ATTR_PORT_NO",
    ),
    (
        raw(NO_PORT, build_attribute(ovs_records.IFINDEX, b"1")),
        "failed policy validation",
        (8,),
        "8",
    ),
    (raw(NO_PORT, b""), "EINVAL", (), None),
    (
        raw(NO_DATAPATH, build_text(ovs_records.DP_NAME, "x" * 16)),
        "failed policy validation",
        (1,),
        "OVS_DP_ATTR_NAME",
    ),
    (
        raw(NO_DATAPATH, build_attribute(ovs_records.DP_USER_FEATURES, b"12")),
        "failed policy validation",
        (5,),
        "OVS_DP_ATTR_USER_FEATURES",
    ),
    (raw(NO_DATAPATH, build_u32(9, 0xFFFFFFFF)), "integer out of range", (9,), "9"),
]


@pytest.mark.parametrize("number", range(len(WRONG)))
@on_every_surface
async def test_a_wrong_request_is_answered_with_what_is_wrong(
    surface: Surface, number: int
) -> None:
    """The kernel's message, and the path of the attribute that it means."""
    request, text, path, attribute = WRONG[number]
    async with surface.open_generic() as genl:
        with pytest.raises(nls.KernelError, match=text) as refused:
            await genl.request(request)
        assert (refused.value.path, refused.value.attribute) == (path, attribute)
        assert attribute is None or f"attribute {attribute}" in str(refused.value)
