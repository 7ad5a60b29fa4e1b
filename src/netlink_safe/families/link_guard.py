"""How a link is deleted without pulling a port out of a datapath of Open vSwitch.

A veth that goes away while it is still a port, under traffic, can leave a processor spinning in the
kernel for ever (``net/core/dev.c``: skb_tx_hash, before "net: openvswitch: fix lockup on tx to
unregistering netdev with carrier").  And whoever deletes one end of a pair deletes the other.

::

    look      the link, its other end, here or in another namespace, and what stands on either
    refuse    if one of them is a port: with the datapath, the port, and the command that helps
    detach    where that is asked for: set the link down, take the port out, see that it is gone
    delete    the link, and see that it is gone, too

May call ``families``, ``protocol`` and ``errors``.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any, Final

import attrs

from netlink_safe.errors import KernelError, LinkInUseError, NetlinkError
from netlink_safe.families import link as links
from netlink_safe.families import ovs
from netlink_safe.protocol.pauses import Pauses
from netlink_safe.protocol.plans import (
    HERE,
    Ask,
    AskFamily,
    Done,
    OtherPlaces,
    OwnersOf,
    Pause,
    Place,
)

if TYPE_CHECKING:
    from netlink_safe.families.link import Link
    from netlink_safe.protocol.plans import Plan
    from netlink_safe.protocol.request import Request

OPENVSWITCH: Final = "openvswitch"
#: The namespace may be looked into only by who has rights there, or it cannot be asked through.
CLOSED: Final = frozenset({errno.EACCES, errno.EPERM, errno.EOPNOTSUPP, errno.EINVAL})


#: There is no such link or port; or not even the family, and so no port.
MISSING: Final = frozenset({errno.ENODEV, errno.ENOENT})
CANNOT_LOOK: Final = (
    "its other end is in a network namespace that cannot be looked into from here, where it may be "
    "a port of Open vSwitch; look there first, or say force=True"
)


@attrs.frozen(slots=True)
class _Port:
    """A link that is a port, where it is, and what is known of it.

    ``master`` is the name of its master, which is the local port of the datapath.
    """

    link: Link
    place: Place | None
    vport: ovs.Vport | None
    datapath: ovs.Datapath | None
    master: str | None

    def error(self, wanted: Link, owner: int | None) -> LinkInUseError:
        return LinkInUseError(
            link=wanted.name,
            port=self.link.name,
            datapath=self.master if self.datapath is None else self.datapath.name,
            number=None if self.vport is None else self.vport.number,
            netns=None if self.place is None else self.place.label,
            owner=owner,
        )


def deletion(wanted: str | int, detach: bool = False, force: bool = False) -> Plan[None]:
    """Delete a link, guarded; see ``delete_link``."""
    (link,) = yield Ask(HERE, links.link(wanted))
    ports = yield from _ports(link, force)
    if ports and not detach:
        owner = yield from _owner(ports[0])
        if not force:
            raise ports[0].error(link, owner)
    if ports and detach:
        yield from _detach_all(link, ports, force)
    yield _asked(link, "the deletion of the link", links.delete_link_unguarded(link.index))
    yield Done(f"{link.name} was deleted")
    yield from _until_gone(_asked(link, "the link", links.link(link.index)))


def _asked(link: Link, what: str, request: Request[Any]) -> Ask:
    """A wish about a link, called by its name in every error: its user may not know its index."""
    return Ask(HERE, attrs.evolve(request, name=f"{what} {link.name}"))


def _set(link: Link, is_up: bool) -> Ask:
    return _asked(link, "a change of the link", links.set_link(link.index, is_up=is_up))


def _ports(link: Link, force: bool) -> Plan[list[_Port]]:
    """The ports that would go with a link."""
    going = yield from _going_with(link, force)
    ports = []
    for one, netnsid in going:
        if one.slave_kind != OPENVSWITCH:
            continue
        place = HERE if netnsid is None else (yield from _place_of(netnsid))
        vport = datapath = None
        if place is not None:
            vport = yield from _found(AskFamily(place, ovs.vport(one.name)))
        if place is not None and vport is not None:
            datapath = yield from _found(AskFamily(place, ovs.datapath(vport.datapath)))
        master = None
        if one.master is not None:
            master = yield from _found(Ask(HERE, links.link(one.master, netnsid)), CLOSED)
        ports.append(_Port(one, place, vport, datapath, None if master is None else master.name))
    return ports


def _going_with(link: Link, force: bool) -> Plan[list[tuple[Link, int | None]]]:
    """The link, its other end, and what stands on either; the last two with their namespace."""
    going: list[tuple[Link, int | None]] = [(link, None)]
    if link.is_paired and link.peer is not None and link.peer_netnsid is not None:
        try:
            (peer,) = yield Ask(HERE, links.link(link.peer, link.peer_netnsid))
            going.append((peer, link.peer_netnsid))
        except KernelError as error:
            if error.errno not in CLOSED:
                raise
            peer = yield from _peer_inside(link)
            if peer is not None:
                going.append((peer, link.peer_netnsid))
            elif not force:
                raise _unsafe(link, CANNOT_LOOK) from error
    here = {one.index: one for one in (yield Ask(HERE, links.links()))}
    indexes = [link.index]
    for index in indexes:  # grows while it is gone through: what stands on what was found
        one = here.get(index, link)
        others = {other.index for other in here.values() if _stands_on(other, one)}
        if one.is_paired and one.peer_netnsid is None and one.peer in here:
            others.add(one.peer)
        indexes += sorted(others - set(indexes))
    return going + [(here[index], None) for index in indexes[1:] if index in here]


def _stands_on(upper: Link, lower: Link) -> bool:
    """Whether one is a VLAN, or something of the kind, of another, which goes with it."""
    return (
        upper.peer == lower.index
        and upper.peer_netnsid is None
        and not upper.is_paired
        and upper.index != lower.index
    )


def _peer_inside(link: Link) -> Plan[Link | None]:
    """The other end of a pair, asked inside its namespace, if that can be found."""
    place = None if link.peer_netnsid is None else (yield from _place_of(link.peer_netnsid))
    if place is None or link.peer is None:
        return None
    peer: Link | None = yield from _found(Ask(place, links.link(link.peer)))
    return peer


def _unsafe(link: Link, reason: str) -> LinkInUseError:
    return LinkInUseError(link.name, link.name, None, None, reason=reason)


def _place_of(netnsid: int) -> Plan[Place | None]:
    """The namespace that has a number here; None where it is not to be found."""
    for place in (yield OtherPlaces()):
        try:
            (number,) = yield Ask(HERE, links.namespace_number(place.descriptor))
        except KernelError:  # it has just ended
            continue
        if number == netnsid:
            found: Place = place
            return found
    return None


def _found(wish: Ask | AskFamily, passed_over: frozenset[int] = frozenset()) -> Plan[Any]:
    """The one row of a question; None where there is no such thing."""
    try:
        rows = yield wish
    except KernelError as error:
        if error.errno not in MISSING | passed_over:
            raise
        return None
    return rows[0] if rows else None


def _owner(port: _Port) -> Plan[int | None]:
    """Who serves a port; None where nobody does."""
    if port.place is None or port.vport is None:
        return None
    served = port.vport.upcall_ports
    if port.datapath is not None:
        served += port.datapath.upcall_ports
    owners = (yield OwnersOf(port.place, served)) if served else {}
    return next(iter(sorted(owners.values(), reverse=True)), None)


def _detach_all(link: Link, ports: list[_Port], force: bool) -> Plan[None]:
    """Take every port out, behind setting the link down; set it up again where that fails."""
    for port in ports:
        owner = yield from _owner(port)
        if port.place is None or port.vport is None or (owner is not None and not force):
            raise port.error(link, owner)
    yield _set(link, False)
    yield Done(f"{link.name} was set down")
    (now,) = yield _asked(link, "the link", links.link(link.index))
    if now.is_up:
        raise _unsafe(link, "it was set down and came up again: somebody else is at it")
    try:
        for port in ports:
            yield from _detach(port)
    except (NetlinkError, OSError):
        if link.is_up:
            yield from _set_up_again(link)
        raise


def _detach(port: _Port) -> Plan[None]:
    """Take one port out, and see that it is none any more."""
    if port.place is None or port.vport is None:
        return
    yield AskFamily(port.place, ovs.delete_vport(port.link.name, port.vport.datapath))
    yield Done(f"the port {port.link.name} was taken out")
    yield from _until_gone(AskFamily(port.place, ovs.vport(port.link.name)))
    yield from _until_free(port, port.place)


def _set_up_again(link: Link) -> Plan[None]:
    try:
        yield _set(link, True)
        yield Done(f"{link.name} was set up again")
    except (NetlinkError, OSError) as error:
        yield Done(f"setting {link.name} up again failed ({error})")


def _until_gone(wish: Ask | AskFamily) -> Plan[None]:
    """Ask again and again, until there is no such thing any more."""
    pauses = Pauses()
    while (yield from _found(wish)) is not None:
        yield Pause(pauses.take())


def _until_free(port: _Port, place: Place) -> Plan[None]:
    """Ask again and again, until the link is nobody's port."""
    pauses = Pauses()
    while True:
        link = yield from _found(Ask(place, links.link(port.link.index)))
        if link is None or link.slave_kind != OPENVSWITCH:
            return
        yield Pause(pauses.take())
