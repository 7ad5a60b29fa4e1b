"""Open vSwitch in the kernel: ports that must not be pulled, and a table followed."""

from __future__ import annotations

import contextlib
import socket
from typing import Any, Final

import attrs
import pytest

import netlink_safe as nls
from netlink_safe.families import ovs
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
        raw(NO_PORT, build_attribute(ovs.TYPE, b"12")),
        "failed policy validation",
        (2,),
        "OVS_VPORT_ATTR_TYPE",
    ),
    (
        raw(NO_PORT, build_attribute(ovs.PORT_NO, b"")),
        "failed policy",
        (1,),
        "OVS_VPORT_ATTR_PORT_NO",
    ),
    (raw(NO_PORT, build_attribute(ovs.IFINDEX, b"1")), "failed policy validation", (8,), "8"),
    (raw(NO_PORT, b""), "EINVAL", (), None),
    (
        raw(NO_DATAPATH, build_text(ovs.DP_NAME, "x" * 16)),
        "failed policy validation",
        (1,),
        "OVS_DP_ATTR_NAME",
    ),
    (
        raw(NO_DATAPATH, build_attribute(ovs.DP_USER_FEATURES, b"12")),
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
            made = await genl.request(ovs.new_datapath(DATAPATH))
            items = [await heard.receive(timeout=30)]
            while items[-1] != nls.Added(made.index, made):
                items.append(await heard.receive(timeout=30))
            assert all(isinstance(one, nls.Resynced) for one in items[:-1])
        after = await genl.family("ovs_datapath")
        assert after.id != before.id
        await genl.request(ovs.delete_datapath(DATAPATH))
