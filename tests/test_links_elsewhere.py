"""What stands on a link, and its other end, in other namespaces: by the plan of its deletion."""

from __future__ import annotations

import errno
import itertools
from typing import TYPE_CHECKING

import attrs
import pytest

from netlink_safe.errors import LinkInUseError
from netlink_safe.families.link_guard import deletion
from netlink_safe.protocol.plans import Place as Where
from plans_of_links import BLUE, OWN, Box, a_link, pair, port

if TYPE_CHECKING:
    from netlink_safe.families.link import (
        Link,
    )


RED = Where("red", 8)


def distant() -> Box:
    """left here, and its peer a port in another namespace."""
    box = Box(a_link(2, "left", peer=3, peer_netnsid=3))
    box.elsewhere = {
        3: a_link(3, "right", peer=2, peer_netnsid=0, slave_kind="openvswitch", master=9),
        9: a_link(9, "dp0", kind="openvswitch"),
    }
    box.ports["right"] = port("right")
    return box


@pytest.mark.anywhere
def test_a_peer_elsewhere_is_asked_for_through_its_number() -> None:
    """And its port inside the namespace, once that is found."""
    box = distant()
    with pytest.raises(LinkInUseError, match="in the network namespace blue") as refused:
        box.carry_out(deletion("left"))
    assert refused.value.command == "ip netns exec blue ovs-dpctl del-if dp0 right"
    box.carry_out(deletion("left", detach=True))
    assert box.did == ["down left", "detach right", "delete left"]


@pytest.mark.anywhere
def test_a_namespace_without_a_name_is_called_by_its_path() -> None:
    """The command enters it by that."""
    box = distant()
    box.places = [OWN, Where("/proc/7/ns/net", 7)]
    with pytest.raises(LinkInUseError) as refused:
        box.carry_out(deletion("left"))
    assert refused.value.command.startswith("nsenter --net=/proc/7/ns/net ovs-")


@pytest.mark.anywhere
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


@pytest.mark.anywhere
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


@pytest.mark.anywhere
def test_a_peer_that_is_asked_inside_its_namespace_is_seen() -> None:
    """Where it cannot be asked for from outside, but the namespace can be entered."""
    box = distant()
    box.elsewhere[3] = attrs.evolve(box.elsewhere[3], peer_netnsid=2)  # by its own count
    box.refused["look elsewhere"] = errno.EOPNOTSUPP
    with pytest.raises(LinkInUseError, match="right in the network namespace blue is port 1"):
        box.carry_out(deletion("left"))


@pytest.mark.anywhere
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


@pytest.mark.anywhere
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


@pytest.mark.anywhere
def test_what_stands_on_a_link_may_be_elsewhere_itself() -> None:
    """A macvlan that was moved to blue says that what it stands on is here."""
    box = pair()
    box.elsewhere = {4: macvlan_elsewhere(), 5: a_link(5, "own", kind="macvlan", peer=2)}
    box.ports = {"above": port("above")}
    with pytest.raises(LinkInUseError, match="above in the network namespace blue is port 1"):
        box.carry_out(deletion("left"))
    box.carry_out(deletion("left", force=True))
    assert box.did == ["delete left"]


@pytest.mark.anywhere
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


@pytest.mark.anywhere
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


@pytest.mark.anywhere
def test_what_cannot_be_looked_into_for_what_stands_there_is_passed_over() -> None:
    """Else nobody without rights in all namespaces could delete a link."""
    box = pair()
    box.places = [OWN, BLUE, RED]
    box.far = {4: attrs.evolve(macvlan_elsewhere(), peer_netnsid=1)}
    box.refused["look elsewhere"] = errno.EPERM
    box.closed = {BLUE, RED}
    box.carry_out(deletion("left"))
    assert box.did == ["delete left"]


@pytest.mark.anywhere
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


@pytest.mark.anywhere
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


@pytest.mark.anywhere
@pytest.mark.parametrize("kind", ["gretap", "ip6gretap", "sit", "vti", "xfrm", None])
def test_what_only_says_where_its_packets_leave_lives_on(kind: str | None) -> None:
    """A tunnel that is a port is left in its datapath."""
    box = pair()
    box.links[4] = a_link(4, "tunnel", kind=kind, peer=2, slave_kind="openvswitch", master=9)
    box.ports["tunnel"] = port("tunnel")
    box.carry_out(deletion("left", detach=True))
    assert box.did == ["delete left"]


@pytest.mark.anywhere
def test_links_that_point_at_each_other_are_looked_at_once() -> None:
    """However they are tied together, the look ends."""
    names = itertools.count()
    ring = [a_link(n, f"l{next(names)}", kind="vlan", peer=(n % 4) + 1) for n in range(1, 5)]
    box = Box(*ring)
    box.carry_out(deletion("l0"))
    assert box.did == ["delete l0"]
