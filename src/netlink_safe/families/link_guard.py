"""How a link is deleted without pulling a port out of a datapath of Open vSwitch.

A veth that goes away while it is still a port, under traffic, can leave a processor spinning in the
kernel for ever (``net/core/dev.c``: skb_tx_hash, before "net: openvswitch: fix lockup on tx to
unregistering netdev with carrier").  And whoever deletes one end of a pair deletes the other.

::

    look      at all that goes with the link, wherever it is: see link_stack
    refuse    if one of them is a port: with the datapath, the port, and the command that helps
    detach    where that is asked for: set the link down, take the port out, see that it is gone
    delete    the link, and see that it is gone, too
    undo      what fails behind setting down: set the link up again

May call ``families``, ``protocol`` and ``errors``.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any, Final

import attrs

from netlink_safe.errors import KernelError, LinkInUseError, NetlinkError
from netlink_safe.families import link as links
from netlink_safe.families import ovs
from netlink_safe.families.link_stack import stack_of
from netlink_safe.protocol.arguments import check_truth
from netlink_safe.protocol.pauses import Pauses
from netlink_safe.protocol.plans import (
    HERE,
    Ask,
    AskFamily,
    Done,
    OwnersOf,
    Pause,
    Place,
)

if TYPE_CHECKING:
    from netlink_safe.families.link import Link
    from netlink_safe.families.link_stack import Going
    from netlink_safe.protocol.plans import Plan
    from netlink_safe.protocol.request import Request

OPENVSWITCH: Final = "openvswitch"
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
    check_truth(detach=detach, force=force)
    (link,) = yield Ask(HERE, links.link(wanted))
    ports = [] if force and not detach else (yield from _ports(link, force))
    if ports and not detach:
        raise ports[0].error(link, (yield from _owner(ports[0])))
    if ports:
        yield from _detach_and_delete(link, ports, force)
    else:
        yield _delete(link)
    yield Done(f"{link.name} was deleted")
    yield from _until_gone(_asked(link, "the link", links.link(link.index)))


def _asked(link: Link, what: str, request: Request[Any]) -> Ask:
    """A wish about a link, called by its name in every error: its user may not know its index."""
    return Ask(HERE, attrs.evolve(request, name=f"{what} {link.name}"))


def _set(link: Link, is_up: bool) -> Ask:
    return _asked(link, "a change of the link", links.set_link(link.index, is_up=is_up))


def _delete(link: Link) -> Ask:
    return _asked(link, "the deletion of the link", links.delete_link_unguarded(link.index))


def _ports(link: Link, force: bool) -> Plan[list[_Port]]:
    """The ports that would go with a link."""
    stack = yield from stack_of(link)
    if stack.has_unseen and not force:
        raise _unsafe(link, CANNOT_LOOK)
    ports = []
    for one in stack.going:
        if one.link.slave_kind == OPENVSWITCH:
            ports.append((yield from _port(one)))  # noqa: PERF401  # nor can it yield
    return ports


def _port(one: Going) -> Plan[_Port]:
    """What is to be known of a port; no more than its name and its master's where it is closed."""
    place = one.where.place
    vport = datapath = None
    try:
        if place is not None:
            vport = yield from _found(AskFamily(place, ovs.vport(one.link.name)))
        if place is not None and vport is not None:
            datapath = yield from _found(AskFamily(place, ovs.datapath(vport.datapath)))
    except PermissionError:  # entering another namespace takes CAP_SYS_ADMIN there
        if place == HERE:
            raise
    return _Port(one.link, place, vport, datapath, one.master)


def _unsafe(link: Link, reason: str) -> LinkInUseError:
    return LinkInUseError(link.name, link.name, None, None, reason=reason)


def _found(wish: Ask | AskFamily) -> Plan[Any]:
    """The one row of a question; None where there is no such thing."""
    try:
        rows = yield wish
    except KernelError as error:
        if error.errno not in MISSING:
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


def _detach_and_delete(link: Link, ports: list[_Port], force: bool) -> Plan[None]:
    """Set the link down, take every port out, and delete it; set it up again where that fails."""
    for port in ports:
        owner = yield from _owner(port)
        if port.place is None or port.vport is None or (owner is not None and not force):
            raise port.error(link, owner)
    yield _set(link, False)
    yield Done(f"{link.name} was set down")
    try:
        (now,) = yield _asked(link, "the link", links.link(link.index))
        if now.is_up:
            raise _unsafe(link, "it was set down and came up again: somebody else is at it")
        for port in ports:
            yield from _detach(port)
        yield _delete(link)
    except (NetlinkError, OSError):
        if link.is_up:
            yield from _set_up_again(link)
        raise


def _detach(port: _Port) -> Plan[None]:
    """Take one port out, and see that it is none any more."""
    if port.place is None or port.vport is None:
        return
    try:
        yield AskFamily(port.place, ovs.delete_vport(port.link.name, port.vport.datapath))
        yield Done(f"the port {port.link.name} was taken out")
    except KernelError as error:
        if error.errno not in MISSING:
            raise
        yield Done(f"the port {port.link.name} was out already")
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
