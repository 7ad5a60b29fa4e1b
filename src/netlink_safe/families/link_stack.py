"""What goes away with a link: the other end of a pair, and what stands on either, wherever it is.

A VLAN goes with the link under it, in whatever network namespace it is, and so does what stands on
the VLAN.  A link does not say what stands on it; what stands says on what.  So all links that are
to be seen are looked at::

    where     here; the namespaces that have a number here; and those that can be found, by name or
              by process, and have none: who makes a macvlan inside a namespace numbers nothing here
    look      at the links of each, through its number; where it has none, or the kernel refuses
              that, inside it
    gather    from the link on, to the other end and upwards, until nothing new is found

May call ``families.link``, ``protocol`` and ``errors``.
"""

from __future__ import annotations

import errno
from collections import defaultdict
from typing import TYPE_CHECKING, Final, TypeAlias

import attrs

from netlink_safe.errors import KernelError
from netlink_safe.families import link as links
from netlink_safe.protocol.plans import HERE, Ask, Place, Places

if TYPE_CHECKING:
    from collections.abc import Mapping

    from netlink_safe.families.link import Link
    from netlink_safe.protocol.plans import Plan

#: The namespace may be looked into only by who has rights there, or it cannot be asked through.
CLOSED: Final = frozenset({errno.EACCES, errno.EPERM, errno.EOPNOTSUPP, errno.EINVAL})
#: What goes with the link that it stands on; the driver of each unregisters it when it hears
#: NETDEV_UNREGISTER of that.  Others have an IFLA_LINK too and live on: gretap, ip6gre, ipip, sit,
#: vti, xfrm.
GOES_WITH_ITS_LINK: Final = frozenset(
    {
        "vlan",  # net/8021q/vlan.c: vlan_device_event
        "macvlan",  # drivers/net/macvlan.c: macvlan_device_event
        "macvtap",  # the same: its devices are on a macvlan's port
        "ipvlan",  # drivers/net/ipvlan/ipvlan_main.c: ipvlan_device_event
        "ipvtap",  # the same: its devices are on an ipvlan's port
        "macsec",  # drivers/net/macsec.c: macsec_notify
        "vxlan",  # drivers/net/vxlan/vxlan_core.c: vxlan_handle_lowerdev_unregister
        "amt",  # drivers/net/amt.c: amt_device_event
        "lowpan",  # net/ieee802154/6lowpan/core.c: lowpan_device_event
        "rmnet",  # drivers/net/ethernet/qualcomm/rmnet/rmnet_config.c: rmnet_config_notify_cb
        "virt_wifi",  # drivers/net/wireless/virtual/virt_wifi.c: virt_wifi_event
    }
)


@attrs.frozen(slots=True)
class Somewhere:
    """A network namespace: the number that it has here, and where it can be found, if it can."""

    number: int | None
    place: Place | None


HOME: Final = Somewhere(None, HERE)

#: A link as it is named across namespaces.
_Spot: TypeAlias = tuple[Somewhere, int]


@attrs.frozen(slots=True)
class Going:
    """A link that goes, where it is, and what its master is called."""

    link: Link
    where: Somewhere
    master: str | None


@attrs.frozen(slots=True)
class Stack:
    """All that goes with a link, itself first; and whether an end of a pair could not be seen."""

    going: tuple[Going, ...]
    has_unseen: bool


def stack_of(link: Link) -> Plan[Stack]:
    """Everything that is to be seen to go away with a link.

    What stands on it in a namespace that has no number here and can neither be found nor entered is
    not to be seen.
    """
    survey = _Survey()
    yield from survey.make()
    survey.tables[HOME].setdefault(link.index, link)
    others: dict[_Spot, _Spot | None] = {}
    above: dict[_Spot, list[_Spot]] = defaultdict(list)
    for where, table in survey.tables.items():
        for row in table.values():
            if row.peer is None or not (row.is_paired or row.kind in GOES_WITH_ITS_LINK):
                continue
            there = yield from survey.meant_by(row.peer_netnsid, where)
            if row.is_paired:
                others[where, row.index] = None if there is None else (there, row.peer)
            elif there is not None:
                above[there, row.peer].append((where, row.index))
    spots = _gathered((HOME, link.index), others, above)
    ends = [others[spot] for spot in spots if spot in others]
    return Stack(
        going=tuple(one for spot in spots for one in survey.seen_at(spot)),
        has_unseen=any(end is None or end[0] not in survey.tables for end in ends),
    )


def _gathered(
    first: _Spot, others: Mapping[_Spot, _Spot | None], above: Mapping[_Spot, list[_Spot]]
) -> list[_Spot]:
    """All that can be reached from the first, to other ends and upwards."""
    reached = {first}
    spots = [first]
    for spot in spots:  # grows while it is gone through
        other = others.get(spot)
        for one in ([] if other is None else [other]) + above.get(spot, []):
            if one not in reached:
                reached.add(one)
                spots.append(one)
    return spots


class _Survey:
    """The links of every namespace that can be looked into, and what numbers mean there."""

    def __init__(self) -> None:
        self.tables: dict[Somewhere, dict[int, Link]] = {}
        self._places: dict[Somewhere, Place] = {}
        self._meanings: dict[tuple[Place, int], Somewhere | None] = {}
        #: Where numbers were seen: what is asked inside a namespace is told in its own.
        self._asked_at: dict[Somewhere, Place] = {}

    def make(self) -> Plan[None]:
        """Look everywhere."""
        own, *others = yield Places()
        self._keep(HOME, HERE, (yield Ask(HERE, links.links())))
        if own.descriptor is not None:
            self._places[HOME] = own
        unnumbered = []
        for place in others:
            number = yield from _number_of(place, HERE)
            if number is None:
                continue
            where = Somewhere(number if number >= 0 else None, place)
            self._places[where] = place
            if number >= 0:
                self._meanings[HERE, number] = where
            else:
                unnumbered.append(where)
        own_number = yield from _number_of(own, HERE)
        for number in (yield Ask(HERE, links.namespace_numbers())):
            if number != own_number:
                where = self._meanings.get((HERE, number)) or Somewhere(number, None)
                self._meanings[HERE, number] = where
                yield from self._look_through(number, where)
        for where in unnumbered:
            yield from self._look_inside(where)

    def meant_by(self, number: int | None, where: Somewhere) -> Plan[Somewhere | None]:
        """The namespace that a number means to a link that is somewhere; None if not found.

        IFLA_LINK_NETNSID is a number of the namespace that was asked, which is here also where it
        was asked through another (net/core/rtnetlink.c: rtnl_fill_link_netnsid).
        """
        if number is None:
            return where
        at = self._asked_at[where]
        if (at, number) not in self._meanings:
            self._meanings[at, number] = yield from self._asked(number, at)
        return self._meanings[at, number]

    def _asked(self, number: int, at: Place) -> Plan[Somewhere | None]:
        for where, place in self._places.items():
            if (yield from _number_of(place, at)) == number:
                return where
        return None

    def seen_at(self, spot: _Spot) -> list[Going]:
        """The link, or nothing where it has gone meanwhile."""
        where, index = spot
        table = self.tables.get(where, {})
        if index not in table:
            return []
        link = table[index]
        master = None if link.master is None else table.get(link.master)
        return [Going(link, where, None if master is None else master.name)]

    def _keep(self, where: Somewhere, asked_at: Place, rows: list[Link]) -> None:
        self.tables[where] = {row.index: row for row in rows}
        self._asked_at[where] = asked_at

    def _look_through(self, number: int, where: Somewhere) -> Plan[None]:
        try:
            self._keep(where, HERE, (yield Ask(HERE, links.links(number))))
        except KernelError as error:
            if error.errno not in CLOSED:
                raise
            yield from self._look_inside(where)

    def _look_inside(self, where: Somewhere) -> Plan[None]:
        if where.place is None:
            return
        try:
            self._keep(where, where.place, (yield Ask(where.place, links.links())))
        except PermissionError:  # entering it takes CAP_SYS_ADMIN there
            return


def _number_of(place: Place, at: Place) -> Plan[int | None]:
    """Which number a namespace has at a place, -1 for none; None for what is no namespace."""
    if place.descriptor is None:
        return None
    try:
        (number,) = yield Ask(at, links.namespace_number(place.descriptor))
    except KernelError:  # such as a file in /run/netns that nothing is mounted on
        return None
    return int(number)
