"""Deleting a link: what is looked at first, in which order, and what is undone or told."""

from __future__ import annotations

import errno
import gc
import itertools
import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import attrs
import pytest

import kernel
import netlink_safe as nls
from links import Links
from netlink_safe import blocking
from netlink_safe.errors import KernelError, LinkInUseError
from netlink_safe.families import ovs
from netlink_safe.families.link import (
    RTM_DELLINK,
    RTM_GETNSID,
    RTM_NEWLINK,
    TARGET_NETNSID,
    Link,
)
from netlink_safe.families.link_guard import deletion
from netlink_safe.protocol.plans import HERE, Ask, AskFamily, Done, OtherPlaces, OwnersOf, Pause
from netlink_safe.protocol.plans import Place as Where
from netlink_safe.wire.attributes import Attributes
from surfaces import Surface, on_every_surface

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netlink_safe.protocol.plans import Wish

BLUE = Where("blue", 7)
DATAPATH = ovs.Datapath(9, "dp0", 0, ())


def a_link(index: int, name: str, **more: Any) -> Link:
    """A link that is up, and nothing special."""
    plain = {
        "kind": "veth",
        "is_up": True,
        "operational_state": 6,
        "mtu": 1500,
        "address": None,
        "master": None,
        "slave_kind": None,
        "peer": None,
        "peer_netnsid": None,
    }
    return Link(index, name, **{**plain, **more})


class Box:
    """A machine as a plan sees it: links, ports, and what is refused; and what was done to it."""

    def __init__(self, *links: Link) -> None:
        self.links = {link.index: link for link in links}
        self.elsewhere: dict[int, Link] = {}
        self.ports: dict[str, ovs.Vport] = {}
        self.places: list[Where] = [BLUE]
        self.owners: dict[int, int] = {}
        self.refused: dict[str, int] = {}
        self.slow = 0
        self.did: list[str] = []
        self.told: list[str] = []

    def carry_out(self, plan: Any) -> None:
        """Carry a plan out to its end."""
        answer: Any = None
        error: Exception | None = None
        try:
            while True:
                wish = plan.send(answer) if error is None else plan.throw(error)
                answer = error = None
                try:
                    answer = self.grant(wish)
                except KernelError as refused:
                    error = refused
        except StopIteration:
            return

    def grant(self, wish: Wish) -> Any:
        match wish:
            case Done(what=what):
                return self.told.append(what)
            case Pause():
                self.slow -= 1
                return None
            case OtherPlaces():
                return self.places
            case OwnersOf(port_ids=port_ids):
                return {port: pid for port, pid in self.owners.items() if port in port_ids}
            case AskFamily(request=request):
                return self.ovs(request)
            case Ask(place=place, request=request) if request.type == RTM_GETNSID:
                return [3]
            case Ask(place=place, request=request):
                return self.route(place, request)
        raise AssertionError(wish)

    def check(self, what: str) -> None:
        if what in self.refused:
            raise KernelError(self.refused[what], what)

    def route(self, place: Where, request: Any) -> Any:
        name = request.name
        index = int.from_bytes(request.payload[4:8], sys.byteorder)
        if name == "links":
            return list(self.links.values())
        if request.type == RTM_DELLINK:
            self.check("delete")
            link = self.links.pop(index)
            self.did.append(f"delete {link.name}")
            assert name == f"the deletion of the link {link.name}"
            return []
        if request.type == RTM_NEWLINK:
            assert name == f"a change of the link {self.links[index].name}"
            is_up = bool(request.payload[8] & 1)
            self.check("up" if is_up else "down")
            self.links[index] = attrs.evolve(self.links[index], is_up=is_up)
            return self.did.append(f"{'up' if is_up else 'down'} {self.links[index].name}")
        said = Attributes(request.payload, 16, len(request.payload))
        through = TARGET_NETNSID in said
        wanted = name.removeprefix("the link ")
        table = self.elsewhere if place != HERE or through else self.links
        if through:
            self.check("look elsewhere")
        for link in table.values():
            if wanted in {link.name, str(link.index)}:
                return [link]
        raise KernelError(errno.ENODEV, name)

    def ovs(self, request: Any) -> Any:
        if request.family == ovs.DATAPATHS:
            return [DATAPATH]
        name = request.name.split()[-4] if " of Open" in request.name else ""
        if name not in self.ports:
            raise KernelError(errno.ENODEV, request.name)
        if request.command == ovs.DEL:
            self.check("detach")
            self.did.append(f"detach {name}")
            self.ports = {} if self.slow <= 0 else self.ports
            for table in (self.links, self.elsewhere):
                for link in list(table.values()):
                    if link.name == name:
                        table[link.index] = attrs.evolve(link, slave_kind=None, master=None)
            return []
        port = self.ports[name]
        if self.slow == 1 and self.did:
            del self.ports[name]
        return [port]


def port(name: str, upcall_ports: tuple[int, ...] = ()) -> ovs.Vport:
    return ovs.Vport(9, 1, ovs.VportType.NETDEV, name, None, None, upcall_ports)


def pair(**of_the_right: Any) -> Box:
    """left and right, two ends of a pair."""
    return Box(a_link(2, "left", peer=3), a_link(3, "right", peer=2, **of_the_right))


def pair_with_port(upcall_ports: tuple[int, ...] = ()) -> Box:
    box = pair(slave_kind="openvswitch", master=9)
    box.links[9] = a_link(9, "dp0", kind="openvswitch")
    box.ports["right"] = port("right", upcall_ports)
    return box


def test_a_link_that_is_nothing_special_is_deleted() -> None:
    """Without anything else being done."""
    box = pair()
    box.carry_out(deletion("left"))
    assert box.did == ["delete left"]


@pytest.mark.parametrize("wanted", ["left", "right"])
def test_either_end_of_a_pair_is_refused(wanted: str) -> None:
    """The error has the datapath, the port, and what to type."""
    box = pair_with_port()
    with pytest.raises(LinkInUseError) as refused:
        box.carry_out(deletion(wanted))
    error = refused.value
    assert (error.link, error.port, error.datapath, error.number) == (wanted, "right", "dp0", 1)
    assert error.command == "ovs-dpctl del-if dp0 right"
    assert "was not deleted" in str(error)
    assert box.did == []


def test_detaching_goes_step_by_step() -> None:
    """Down, out, away; each is told for errors that come later."""
    box = pair_with_port()
    box.carry_out(deletion("left", detach=True))
    assert box.did == ["down left", "detach right", "delete left"]
    assert box.told == [
        "left was set down",
        "the port right was taken out",
        "left was deleted",
    ]


def test_a_port_that_is_slow_to_go_is_waited_for() -> None:
    """The link stays until it is gone."""
    box = pair_with_port()
    box.slow = 4
    box.carry_out(deletion("left", detach=True))
    assert box.slow < 4
    assert box.did == ["down left", "detach right", "delete left"]


def test_a_step_that_fails_is_undone() -> None:
    """The link is up again, and the error is the kernel's."""
    box = pair_with_port()
    box.refused["detach"] = errno.EPERM
    with pytest.raises(KernelError, match="EPERM"):
        box.carry_out(deletion("left", detach=True))
    assert box.did == ["down left", "up left"]
    assert box.told == ["left was set down", "left was set up again"]


def test_what_cannot_be_undone_is_told() -> None:
    """And does not hide why it was to be undone."""
    box = pair_with_port()
    box.refused.update(detach=errno.EPERM, up=errno.EBUSY)
    with pytest.raises(KernelError, match="EPERM"):
        box.carry_out(deletion("left", detach=True))
    assert box.told[-1].startswith("setting left up again failed (the kernel refused")


def test_a_link_that_was_down_stays_down() -> None:
    """What is undone is what was done."""
    box = pair_with_port()
    box.links[2] = attrs.evolve(box.links[2], is_up=False)
    box.refused["detach"] = errno.EPERM
    with pytest.raises(KernelError, match="EPERM"):
        box.carry_out(deletion("left", detach=True))
    assert box.did == ["down left"]


def test_a_port_that_is_served_is_left_alone() -> None:
    """Unless force is said; by whom is in the error."""
    box = pair_with_port((1234,))
    box.owners = {1234: 4711}
    with pytest.raises(LinkInUseError, match="process 4711 serves and would put back") as refused:
        box.carry_out(deletion("left", detach=True))
    assert refused.value.command == "ovs-vsctl del-port right"
    assert box.did == []
    box.carry_out(deletion("left", detach=True, force=True))
    assert box.did == ["down left", "detach right", "delete left"]


def test_an_upcall_port_that_nobody_has_is_no_owner() -> None:
    """Its process has ended."""
    box = pair_with_port((1234,))
    box.carry_out(deletion("left", detach=True))
    assert box.did[-1] == "delete left"


def test_force_deletes_a_port_as_it_is() -> None:
    """For who knows better."""
    box = pair_with_port()
    box.carry_out(deletion("left", force=True))
    assert box.did == ["delete left"]


def distant() -> Box:
    """left here, and its peer a port in another namespace."""
    box = Box(a_link(2, "left", peer=3, peer_netnsid=3))
    box.elsewhere = {
        3: a_link(3, "right", peer=2, slave_kind="openvswitch", master=9),
        9: a_link(9, "dp0", kind="openvswitch"),
    }
    box.ports["right"] = port("right")
    return box


def test_a_peer_elsewhere_is_asked_for_through_its_number() -> None:
    """And its port inside the namespace, once that is found."""
    box = distant()
    with pytest.raises(LinkInUseError, match="in the network namespace blue") as refused:
        box.carry_out(deletion("left"))
    assert refused.value.command == "ip netns exec blue ovs-dpctl del-if dp0 right"
    box.carry_out(deletion("left", detach=True))
    assert box.did == ["down left", "detach right", "delete left"]


def test_a_namespace_without_a_name_is_called_by_its_path() -> None:
    """The command enters it by that."""
    box = distant()
    box.places = [Where("/proc/7/ns/net", 7)]
    with pytest.raises(LinkInUseError) as refused:
        box.carry_out(deletion("left"))
    assert refused.value.command.startswith("nsenter --net=/proc/7/ns/net ovs-")


def test_a_namespace_that_is_not_found_is_no_excuse() -> None:
    """The master's name is the datapath's; detaching is refused, since it cannot be done."""
    box = distant()
    box.places = []
    for detach in (False, True):
        with pytest.raises(LinkInUseError, match="a port of the datapath dp0") as refused:
            box.carry_out(deletion("left", detach=detach))
        assert (refused.value.datapath, refused.value.number, refused.value.netns) == (
            "dp0",
            None,
            None,
        )
    assert box.did == []


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EOPNOTSUPP, errno.EINVAL])
def test_a_peer_that_cannot_be_looked_at_keeps_the_link(number: int) -> None:
    """It may be a port, and whoever deletes it all the same must say so."""
    box = distant()
    box.refused["look elsewhere"] = number
    box.places = []
    with pytest.raises(LinkInUseError, match="cannot be looked into from here"):
        box.carry_out(deletion("left"))
    assert box.did == []
    box.carry_out(deletion("left", force=True))
    assert box.did == ["delete left"]


def test_a_peer_that_is_asked_inside_its_namespace_is_seen() -> None:
    """Where it cannot be asked for from outside, but the namespace can be entered."""
    box = distant()
    box.refused["look elsewhere"] = errno.EOPNOTSUPP
    with pytest.raises(LinkInUseError, match="right in the network namespace blue is port 1"):
        box.carry_out(deletion("left"))


def test_what_stands_on_a_link_goes_with_it() -> None:
    """A VLAN on a VLAN on the other end, and a port of that."""
    box = pair()
    box.links[4] = a_link(4, "right.5", kind="vlan", peer=3)
    box.links[5] = a_link(5, "right.5.6", kind="vlan", peer=4, slave_kind="openvswitch")
    box.links[6] = a_link(6, "stranger", kind="vlan", peer=77)
    box.ports["right.5.6"] = port("right.5.6")
    with pytest.raises(LinkInUseError) as refused:
        box.carry_out(deletion("left"))
    assert refused.value.port == "right.5.6"
    with pytest.raises(LinkInUseError):
        box.carry_out(deletion("right.5"))
    box.carry_out(deletion("stranger"))
    assert box.did == ["delete stranger"]


def test_links_that_point_at_each_other_are_looked_at_once() -> None:
    """However they are tied together, the look ends."""
    names = itertools.count()
    ring = [a_link(n, f"l{next(names)}", kind="vlan", peer=(n % 4) + 1) for n in range(1, 5)]
    box = Box(*ring)
    box.carry_out(deletion("l0"))
    assert box.did == ["delete l0"]


# On the running kernel, which has no Open vSwitch: what is deleted without anybody minding.


def there() -> set[str]:
    """The links of this namespace."""
    return {name for _, name in socket.if_nameindex()}


def also_called(link: str, names: list[str]) -> None:
    """Give a link alternative names."""
    for name in names:
        subprocess.run(["ip", "link", "property", "add", "dev", link, "altname", name], check=True)


@pytest.fixture
def two() -> Iterator[None]:
    with Links() as links:
        links.make("left", "right")
        yield


@pytest.mark.usefixtures("two")
@on_every_surface
async def test_a_pair_is_deleted_by_either_end(surface: Surface) -> None:
    """By name; whoever is not there is an error of the kernel's."""
    await surface.delete_link("right")
    assert there() == {"lo"}
    with pytest.raises(nls.KernelError, match="ENODEV"):
        await surface.delete_link("right")


@pytest.mark.usefixtures("two")
@on_every_surface
async def test_a_link_has_other_names_and_an_index(surface: Surface) -> None:
    """Those that are too long to be its first one are asked for as alternative ones."""
    names = ["a" * 40, "\u00e9" * 8, "right2"]
    also_called("right", names)
    async with surface.open_route() as route:
        index = socket.if_nametoindex("right")
        wanted: list[str | int] = [*names, index]
        for one in wanted:
            assert (await route.request(nls.link(one))).index == index
        await route.request(nls.set_link(names[0], mtu=1300))
        assert (await route.request(nls.link(names[1]))).mtu == 1300
    await surface.delete_link(names[0])
    assert there() == {"lo"}
    with Links() as links:
        links.make("left", "right")
    await surface.delete_link(socket.if_nametoindex("right"))
    assert there() == {"lo"}
    with pytest.raises(nls.KernelError, match=f"the link {names[0]}: .*ENODEV"):
        await surface.delete_link(names[0])


def test_a_deletion_that_fails_leaves_no_descriptor_behind() -> None:
    """Not even to the collector, which may be off."""
    before = kernel.descriptors()
    gc.disable()
    try:
        errors = []
        for _ in range(10):
            with pytest.raises(nls.KernelError) as refused:
                blocking.delete_link("nothing")
            errors.append(refused)
        assert len(os.listdir("/proc/self/fd")) <= len(before) + 1  # listdir's own
    finally:
        gc.enable()


@on_every_surface
async def test_a_peer_in_another_namespace_is_looked_at(surface: Surface) -> None:
    """And the namespace that is meant is the one that is named."""
    with kernel.named_namespace("other") as path:

        def make() -> None:
            with Links() as links:
                links.make("in", "out")

        kernel.in_namespace(path, make)
        with pytest.raises(nls.KernelError, match="ENODEV"):
            await surface.delete_link("in")
        await surface.delete_link("in", netns="other")
        async with surface.open_route(netns=path) as route:
            assert [one.name async for one in route.dump(nls.links())] == ["lo"]


@on_every_surface
async def test_nonsense_is_refused(surface: Surface) -> None:
    """A name that can be none, no time at all, a namespace that is not there."""
    for name in ("", "x" * 128, "\u00e9" * 64, "\ud800", None, "a\0b", 0, True):
        with pytest.raises(nls.LocalProtocolError, match="link="):
            await surface.delete_link(name)
    for is_up in ("no", 1):
        with pytest.raises(nls.LocalProtocolError, match="is_up="):
            nls.set_link("lo", is_up=is_up)  # type: ignore[arg-type]
    for number in ("x", 1 << 31, True):
        with pytest.raises(nls.LocalProtocolError, match="netnsid="):
            nls.link("lo", netnsid=number)  # type: ignore[arg-type]
    with pytest.raises(nls.LocalProtocolError, match="timeout="):
        await surface.delete_link("left", timeout=0)
    with pytest.raises(FileNotFoundError):
        await surface.delete_link("left", netns="nothing")


def test_without_rights_nothing_is_deleted() -> None:
    """EPERM is the kernel's, and the link is there."""
    with Links() as links:
        links.make("left", "right")

    def child() -> None:
        kernel.drop_all_rights()
        blocking.delete_link("left")

    told = kernel.in_child(child)
    assert told.startswith("KernelError: the kernel refused the deletion of the link left")
    assert "EPERM" in told
    assert "left" in there()
    assert os.getpid() > 0


@on_every_surface
async def test_links_are_what_ip_says(surface: Surface) -> None:
    """Names, indexes, kinds and peers."""
    with Links() as links:
        links.make("left", "right")
    async with surface.open_route() as route:
        rows = {row.name: row async for row in route.dump(nls.links())}
        assert {row.index: row.name for row in rows.values()} == dict(socket.if_nameindex())
        assert rows["left"].kind == rows["right"].kind == "veth"
        assert rows["left"].peer == rows["right"].index
        assert rows["lo"].is_up
        assert not rows["left"].is_up
        await route.request(nls.set_link("left", is_up=True, mtu=1400))
        left = await route.request(nls.link("left"))
        assert (left.is_up, left.mtu) == (True, 1400)
        assert await route.request(nls.link(left.index)) == left


@on_every_surface
async def test_an_order_is_requested_and_a_table_dumped(surface: Surface) -> None:
    """The other way round nothing is sent."""
    async with surface.open_route() as route:
        with pytest.raises(nls.LocalProtocolError, match="link lo is an order; give it to request"):
            route.dump(nls.set_link("lo", is_up=False))
        with pytest.raises(nls.LocalProtocolError, match="links is a table; give it to dump"):
            await route.request(nls.links())
        with pytest.raises(nls.LocalProtocolError, match=r"speaks 0; link\(\), links\(\) and set"):
            route.dump(nls.tcp_sockets())
        assert (await route.request(nls.link("lo"))).is_up
