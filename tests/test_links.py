"""Deleting a link: what is looked at first, in which order, and what is undone or told."""

from __future__ import annotations

import errno
import gc
import itertools
import os
import signal
import socket
import struct
import subprocess
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import attrs
import pytest

import kernel
import netlink_safe as nls
from links import Links
from netlink_safe import blocking
from netlink_safe.aio import waiting
from netlink_safe.blocking.waiting import Waiter, result
from netlink_safe.errors import KernelError, LinkInUseError
from netlink_safe.families import ctrl, ovs
from netlink_safe.families.link import (
    IFF_UP,
    IFNAME,
    MTU,
    NETNSA_FD,
    RTM_DELLINK,
    RTM_GETNSID,
    RTM_NEWLINK,
    TARGET_NETNSID,
    Link,
)
from netlink_safe.families.link_guard import CANNOT_LOOK, deletion
from netlink_safe.families.link_stack import Stack, stack_of
from netlink_safe.protocol.plans import Ask, AskFamily, Done, OwnersOf, Pause, Places
from netlink_safe.protocol.plans import Place as Where
from netlink_safe.transport import steps
from netlink_safe.transport.opening import own_terms
from netlink_safe.transport.plans import Hands, carried_out
from netlink_safe.transport.workers import offload
from netlink_safe.wire.attributes import Attributes, build_attribute, build_nested, build_text
from surfaces import ASYNC_SURFACES, SURFACES, Surface, on_every_surface, on_surfaces

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from netlink_safe.protocol.plans import Plan, Wish
    from netlink_safe.protocol.request import Request

OWN = Where(None, 5)
BLUE = Where("blue", 7)
RED = Where("red", 8)
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
        self.far: dict[int, Link] = {}
        self.ports: dict[str, ovs.Vport] = {}
        self.places: list[Where] = [OWN, BLUE]
        self.closed: set[Where] = set()
        #: Which number a namespace has in another, by their descriptors; red has none here.
        self.numbers = {(5, 5): 0, (5, 7): 3, (8, 5): 1, (7, 5): 2}
        self.owners: dict[int, int] = {}
        self.refused: dict[str, int] = {}
        self.slow = 0
        self.gone_by_then = False
        self.numbered_late: dict[tuple[int, int], int] = {}
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
                except (KernelError, PermissionError) as refused:
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
            case Places():
                return self.places
            case OwnersOf(port_ids=port_ids):
                return {port: pid for port, pid in self.owners.items() if port in port_ids}
            case AskFamily(place=place, request=request):
                self.enter(place)
                return self.ovs(request)
            case Ask(place=place, request=request) if request.type == RTM_GETNSID:
                return self.number(place, request)
            case Ask(place=place, request=request):
                self.enter(place)
                return self.route(place, request)
        raise AssertionError(wish)

    def check(self, what: str) -> None:
        if what in self.refused:
            raise KernelError(self.refused[what], what)

    def enter(self, place: Where) -> None:
        if place in self.closed:
            raise PermissionError(errno.EPERM, "entering another network namespace", place.label)

    def number(self, place: Where, request: Any) -> list[int]:
        at = place.descriptor or 5
        known = {about: number for (asked, about), number in self.numbers.items() if asked == at}
        if request.is_dump:
            return sorted(known.values())
        about = Attributes(request.payload, 4, len(request.payload)).u32(NETNSA_FD) or 0
        if about not in {place.descriptor for place in self.places}:
            raise KernelError(errno.EINVAL, request.name)
        return [known.get(about, -1)]

    def table(self, place: Where, request: Any) -> dict[int, Link]:
        """The links that are meant, by place or by number."""
        at = place.descriptor
        through = Attributes(request.payload, 16, len(request.payload)).u32(TARGET_NETNSID)
        if through is not None:
            self.check("look elsewhere")
            self.numbers.update(self.numbered_late)
            (at,) = [
                about for (asked, about), n in self.numbers.items() if (asked, n) == (5, through)
            ]
        return {7: self.elsewhere, 8: self.far}.get(at or 5, self.links)

    def route(self, place: Where, request: Any) -> Any:
        table = self.table(place, request)
        if request.is_dump:
            return list(table.values())
        index, flags = struct.unpack_from("=iI", request.payload, 4)
        if request.type == RTM_DELLINK:
            self.check("delete")
            link = self.links.pop(index)
            self.did.append(f"delete {link.name}")
            assert request.name == f"the deletion of the link {link.name}"
            return []
        if request.type == RTM_NEWLINK:
            assert request.name == f"a change of the link {self.links[index].name}"
            word = "up" if flags & IFF_UP else "down"
            self.check(word)
            self.links[index] = attrs.evolve(self.links[index], is_up=word == "up")
            return self.did.append(f"{word} {self.links[index].name}")
        if self.did:
            self.check("look again")
        name = Attributes(request.payload, 16, len(request.payload)).text(IFNAME)
        for link in table.values():
            if name == link.name or index == link.index:
                return [link]
        raise KernelError(errno.ENODEV, request.name)

    def ovs(self, request: Any) -> Any:
        if request.family == ovs.DATAPATHS:
            return [DATAPATH]
        name = Attributes(request.attributes, 0, len(request.attributes)).text(ovs.NAME)
        if name not in self.ports:
            raise KernelError(errno.ENODEV, request.name)
        if request.command == ovs.DEL:
            if self.gone_by_then:
                self.take_out(name)
            self.check("detach")
            self.did.append(f"detach {name}")
            if self.slow <= 0:
                self.take_out(name)
            return []
        port = self.ports[name]
        if self.slow == 1 and self.did:
            self.take_out(name)
        return [port]

    def take_out(self, name: str) -> None:
        del self.ports[name]
        for table in (self.links, self.elsewhere, self.far):
            for link in list(table.values()):
                if link.name == name:
                    table[link.index] = attrs.evolve(link, slave_kind=None, master=None)


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


@pytest.mark.parametrize("step", ["look again", "delete"])
def test_whatever_fails_behind_setting_down_is_undone(step: str) -> None:
    """Also where nothing can be seen any more, or the deletion itself is refused."""
    box = pair_with_port()
    box.refused[step] = errno.EBUSY
    with pytest.raises(KernelError, match="EBUSY"):
        box.carry_out(deletion("left", detach=True))
    assert box.did[0] == "down left"
    assert box.did[-1] == "up left"
    assert box.told[-1] == "left was set up again"


@pytest.mark.parametrize("number", [errno.ENODEV, errno.ENOENT])
def test_a_port_that_is_out_already_is_as_good(number: int) -> None:
    """Somebody else took it out between the look and the order."""
    box = pair_with_port()
    box.refused["detach"] = number
    box.gone_by_then = True
    box.carry_out(deletion("left", detach=True))
    assert box.did == ["down left", "delete left"]
    assert "the port right was out already" in box.told


def test_what_is_broken_off_was_told_as_far_as_it_came() -> None:
    """It cannot undo anything then: nobody carries out its wishes any more."""
    box = pair_with_port()
    plan = deletion("left", detach=True)
    wish = next(plan)
    while not box.told:
        wish = plan.send(box.grant(wish))
    plan.close()
    assert box.did == ["down left"]
    assert box.told == ["left was set down"]


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
        3: a_link(3, "right", peer=2, peer_netnsid=0, slave_kind="openvswitch", master=9),
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
    box.places = [OWN, Where("/proc/7/ns/net", 7)]
    with pytest.raises(LinkInUseError) as refused:
        box.carry_out(deletion("left"))
    assert refused.value.command.startswith("nsenter --net=/proc/7/ns/net ovs-")


def test_a_namespace_that_is_not_found_is_no_excuse() -> None:
    """The master's name is the datapath's; detaching is refused, since it cannot be done."""
    box = distant()
    box.places = [OWN]
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
    box.places = [OWN]
    with pytest.raises(LinkInUseError, match="cannot be looked into from here"):
        box.carry_out(deletion("left"))
    assert box.did == []
    box.carry_out(deletion("left", force=True))
    assert box.did == ["delete left"]


def test_a_peer_that_is_asked_inside_its_namespace_is_seen() -> None:
    """Where it cannot be asked for from outside, but the namespace can be entered."""
    box = distant()
    box.elsewhere[3] = attrs.evolve(box.elsewhere[3], peer_netnsid=2)  # by its own count
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


def test_what_stands_on_the_other_end_elsewhere_goes_with_it() -> None:
    """A VLAN on a peer in blue, and a port of blue's datapath."""
    box = distant()
    box.elsewhere[3] = attrs.evolve(box.elsewhere[3], slave_kind=None, master=None)
    box.elsewhere[4] = a_link(4, "right.7", kind="vlan", peer=3, slave_kind="openvswitch", master=9)
    box.ports = {"right.7": port("right.7")}
    with pytest.raises(LinkInUseError, match=r"right\.7 in the network namespace blue is port 1"):
        box.carry_out(deletion("left"))
    box.carry_out(deletion("left", detach=True))
    assert box.did == ["down left", "detach right.7", "delete left"]


def macvlan_elsewhere() -> Link:
    return a_link(
        4, "above", kind="macvlan", peer=2, peer_netnsid=0, slave_kind="openvswitch", master=9
    )


def test_what_stands_on_a_link_may_be_elsewhere_itself() -> None:
    """A macvlan that was moved to blue says that what it stands on is here."""
    box = pair()
    box.elsewhere = {4: macvlan_elsewhere(), 5: a_link(5, "own", kind="macvlan", peer=2)}
    box.ports = {"above": port("above")}
    with pytest.raises(LinkInUseError, match="above in the network namespace blue is port 1"):
        box.carry_out(deletion("left"))
    box.carry_out(deletion("left", force=True))
    assert box.did == ["delete left"]


def test_a_namespace_without_a_number_here_is_entered() -> None:
    """Whoever makes a macvlan inside it numbers nothing here; its numbers are its own."""
    box = pair()
    box.places = [OWN, BLUE, RED]
    box.far = {4: attrs.evolve(macvlan_elsewhere(), peer_netnsid=1)}
    box.ports = {"above": port("above")}
    with pytest.raises(LinkInUseError, match="above in the network namespace red is port 1"):
        box.carry_out(deletion("left"))
    box.far[4] = attrs.evolve(box.far[4], peer_netnsid=7)  # of a namespace that is not found
    box.carry_out(deletion("left"))
    assert box.did == ["delete left"]


def test_a_namespace_that_got_its_number_by_the_look_is_known_by_it() -> None:
    """The kernel numbers what it tells of: a VLAN in blue on a macvlan in red on a link here."""
    box = pair()
    box.places = [OWN, BLUE, RED]
    box.far = {4: a_link(4, "above", kind="macvlan", peer=2, peer_netnsid=1)}
    box.elsewhere = {
        6: a_link(6, "above.7", kind="vlan", peer=4, peer_netnsid=6, slave_kind="openvswitch")
    }
    box.ports = {"above.7": port("above.7")}
    box.numbered_late = {(5, 8): 6}
    with pytest.raises(LinkInUseError, match=r"above\.7 in the network namespace blue is port 1"):
        box.carry_out(deletion("left"))


def test_what_cannot_be_looked_into_for_what_stands_there_is_passed_over() -> None:
    """Else nobody without rights in all namespaces could delete a link."""
    box = pair()
    box.places = [OWN, BLUE, RED]
    box.far = {4: attrs.evolve(macvlan_elsewhere(), peer_netnsid=1)}
    box.refused["look elsewhere"] = errno.EPERM
    box.closed = {BLUE, RED}
    box.carry_out(deletion("left"))
    assert box.did == ["delete left"]


@pytest.mark.parametrize("detach", [False, True])
def test_a_peer_in_a_namespace_that_may_not_be_entered_keeps_the_link(detach: bool) -> None:
    """It may be a port; force goes on."""
    box = distant()
    box.refused["look elsewhere"] = errno.EPERM
    box.closed = {BLUE}
    with pytest.raises(LinkInUseError, match="cannot be looked into from here"):
        box.carry_out(deletion("left", detach=detach))
    assert box.did == []
    box.carry_out(deletion("left", detach=detach, force=True))
    assert box.did == ["delete left"]


def test_a_port_that_may_be_seen_and_not_reached_is_told_as_far_as_it_is_seen() -> None:
    """Its name and its datapath's; it is not detached, and force deletes it as it is."""
    box = distant()
    box.closed = {BLUE}
    for options in ({}, {"detach": True}, {"detach": True, "force": True}):
        with pytest.raises(LinkInUseError, match=r"right in .* blue is a port of the datapath dp0"):
            box.carry_out(deletion("left", **options))
    assert box.did == []
    box.carry_out(deletion("left", force=True))
    assert box.did == ["delete left"]


@pytest.mark.parametrize("kind", ["gretap", "ip6gretap", "sit", "vti", "xfrm", None])
def test_what_only_says_where_its_packets_leave_lives_on(kind: str | None) -> None:
    """A tunnel that is a port is left in its datapath."""
    box = pair()
    box.links[4] = a_link(4, "tunnel", kind=kind, peer=2, slave_kind="openvswitch", master=9)
    box.ports["tunnel"] = port("tunnel")
    box.carry_out(deletion("left", detach=True))
    assert box.did == ["delete left"]


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
async def test_a_table_that_changes_under_the_look_is_looked_at_again(
    surface: Surface, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often: the namespaces of others are as busy as they like."""
    whole, interruptions = steps.whole, iter(range(8))

    def busy(pool: Any, request: Any, terms: Any) -> Any:
        if request.is_dump and next(interruptions, None) is not None:
            raise nls.DumpInterrupted("the table changed")
        return (yield from whole(pool, request, terms))

    with Links() as links:
        links.make("left", "right")
    monkeypatch.setattr(steps, "whole", busy)
    await surface.delete_link("left", timeout=60)
    assert next(interruptions, None) is None
    assert there() == {"lo"}


@on_every_surface
async def test_what_is_said_to_go_is_what_goes(surface: Surface) -> None:
    """The other end, and what stands on either, in namespaces that have a number here or none."""
    with kernel.named_namespace("blue") as blue, kernel.named_namespace("red") as red:
        with Links() as links:
            links.make("left", "right")
            links.make("other", "stranger")
            links.move("right", blue)
            links.make_macvlan("above", "left", red)  # which red keeps to itself
            links.make_macvlan("beside", "other", red)
            links.make_vxlan("over", "left")
            links.move("over", blue)

        def on_the_right() -> None:
            with Links() as links:
                links.make_macvlan("far", "right", red)

        kernel.in_namespace(blue, on_the_right)
        stack = seen_to_go("left")
        assert not stack.has_unseen
        places = {one.link.name: one.where.place for one in stack.going}
        assert set(places) == {"left", "right", "above", "over", "far"}
        labels = {name: place.label if place else "?" for name, place in places.items()}
        assert labels == {
            "left": None,
            "right": "blue",
            "above": "red",
            "over": "blue",
            "far": "red",
        }
        before = [there(), kernel.in_namespace(blue, there), kernel.in_namespace(red, there)]
        assert set.union(*before) == {*places, "beside", "other", "stranger", "lo"}
        await surface.delete_link("left")
        assert there() == {"lo", "other", "stranger"}
        assert kernel.in_namespace(blue, there) == {"lo"}
        assert kernel.in_namespace(red, there) == {"lo", "beside"}


def seen_to_go(name: str) -> Stack:
    """What is seen to go with a link of this name."""
    with blocking.open_route() as route:
        link = route.request(nls.link(name))
    terms = own_terms(30, "a look")
    return result(carried_out(stack_of(link), Hands(None, ctrl), terms), Waiter())


def test_a_namespace_that_may_not_be_entered_is_one_that_cannot_be_looked_into() -> None:
    """Who has rights here alone is told so of a peer there; force goes on, and so does all else."""
    for surface in SURFACES:
        told = delete_as_a_lodger(surface)
        assert told == [f"left was not deleted: {CANNOT_LOOK}", "deleted", "deleted"], surface.name


def delete_as_a_lodger(surface: Surface) -> list[str]:
    """What is told to root of a user namespace whose veth has its other end outside.

    First without force, then with it; and then of a pair that is all inside.
    """
    ready, entered = os.pipe()
    go, given = os.pipe()

    def child() -> str:
        kernel.unshare(kernel.CLONE_NEWUSER | kernel.CLONE_NEWNET)
        os.write(entered, str(os.getpid()).encode())
        os.read(go, 1)
        told = [kernel.in_thread(partial(attempt, surface, force=force)) for force in (False, True)]
        with Links() as links:
            links.make("left", "right")
        return "\n".join([*told, kernel.in_thread(partial(attempt, surface))])

    def lodge() -> None:
        with Links() as links:
            links.make("left", "right")
            links.move("left", f"/proc/{os.read(ready, 32).decode()}/ns/net")
            links.move("right", "/run/netns/blue")
        os.write(given, b"!")

    with kernel.named_namespace("blue") as blue:
        landlord = threading.Thread(target=lodge)
        landlord.start()
        told = kernel.in_child(child)
        landlord.join()
        assert kernel.in_namespace(blue, there) == {"lo"}
    for descriptor in (ready, entered, go, given):
        os.close(descriptor)
    return told.split("\n")


def attempt(surface: Surface, **options: bool) -> str:
    """What comes of an attempt to delete a link."""
    try:
        anyio.run(partial(surface.delete_link, "left", **options), backend=surface.backend)
    except nls.LinkInUseError as error:
        return str(error)
    return "deleted"


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


def interrupted(at: Callable[[], None]) -> Plan[None]:
    """A plan that is given up half way."""
    yield Done("left was set down")
    at()
    yield Pause(60)


def test_ctrl_c_is_told_what_was_done() -> None:
    """Nothing is undone, and the traceback says what there is to undo."""
    terms = own_terms(60, "a deletion")
    main = threading.get_ident()
    plan = interrupted(lambda: signal.pthread_kill(main, signal.SIGINT))
    with pytest.raises(KeyboardInterrupt) as ended:
        result(offload(carried_out(plan, Hands(None, ctrl), terms), terms), Waiter())
    assert ended.value.__notes__ == ["done before that: left was set down"]


@on_surfaces(ASYNC_SURFACES)
async def test_a_cancellation_is_told_what_was_done(surface: Surface) -> None:
    """Whoever catches it reads it in the notes."""
    del surface
    terms = own_terms(60, "a deletion")
    steps = offload(carried_out(interrupted(lambda: None), Hands(None, ctrl), terms), terms)
    notes: list[str] = []

    async def delete() -> None:
        try:
            await waiting.result(steps, waiting.Waiter())
        except anyio.get_cancelled_exc_class() as error:
            notes.extend(error.__notes__)
            raise

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(delete)
            while not terms.done:
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
    assert notes == ["done before that: left was set down"]


def test_a_deadline_says_what_was_done_before_and_since() -> None:
    """The error tells what was done up to it, its note what was undone."""
    terms = own_terms(0.05, "a deletion")

    def plan() -> Plan[None]:
        yield Done("left was set down")
        try:
            yield Pause(60)
        except nls.NetlinkTimeout:
            yield Done("left was set up again")
            raise

    with pytest.raises(nls.NetlinkTimeout, match="done before that: left was set down") as late:
        result(carried_out(plan(), Hands(None, ctrl), terms), Waiter())
    assert late.value.__notes__ == ["done since: left was set up again"]


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
    assert {"left", "right"} <= there()


def raw(attributes: bytes) -> Request[None]:
    """An order to change a link, in bytes."""
    order = nls.set_link("left", is_up=False)
    return attrs.evolve(order, payload=order.payload + attributes)


#: What is asked, what the error must say, and the path that it must give.
WRONG: list[tuple[Any, str, tuple[int, ...], str | None]] = [
    (nls.set_link("left", mtu=20), "mtu less than device minimum", (), None),
    (nls.set_link("left", mtu=70000), "mtu greater than device maximum", (), None),
    (nls.links(4711), "Invalid target network namespace id", (), None),
    (raw(build_attribute(MTU, b"12")), "failed policy validation", (4,), "IFLA_MTU"),
    (raw(build_text(IFNAME, "x" * 16)), "failed policy validation", (3,), "IFLA_IFNAME"),
    (raw(build_attribute(13, b"12")), "failed policy validation", (13,), "13"),
    (
        raw(build_nested(18, build_text(1, "veth"), build_nested(2, build_attribute(1, b"12")))),
        "failed policy validation",
        (18, 2, 1),
        "18.2.1",
    ),
]


async def asked(route: Any, request: Any) -> None:
    """Ask for a row, or for all."""
    if request.is_dump:
        assert [row async for row in route.dump(request)]
    else:
        await route.request(request)


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize("number", range(len(WRONG)))
@on_every_surface
async def test_a_wrong_request_is_answered_with_what_is_wrong(
    surface: Surface, number: int
) -> None:
    """The kernel's message, and the path of the attribute that it means."""
    request, text, path, attribute = WRONG[number]
    async with surface.open_route() as route:
        with pytest.raises(nls.KernelError, match=text) as refused:
            await asked(route, request)
        assert (refused.value.path, refused.value.attribute) == (path, attribute)
        assert attribute is None or f"attribute {attribute}" in str(refused.value)
        assert (await route.request(nls.link("left"))).name == "left"


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
