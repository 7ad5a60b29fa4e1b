"""A machine of links, as a plan of deletion asks about it, without a kernel."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, Any

import attrs

from netlink_safe.errors import KernelError
from netlink_safe.families import ovs
from netlink_safe.families.link import (
    IFF_UP,
    IFNAME,
    NETNSA_FD,
    RTM_DELLINK,
    RTM_GETNSID,
    RTM_NEWLINK,
    TARGET_NETNSID,
    Link,
)
from netlink_safe.protocol.plans import Ask, AskFamily, Done, OwnersOf, Pause, Places
from netlink_safe.protocol.plans import Place as Where
from netlink_safe.wire.attributes import Attributes

if TYPE_CHECKING:
    from netlink_safe.protocol.plans import Wish


OWN = Where(None, 5)


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
