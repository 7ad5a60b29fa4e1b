"""The kernel's numbers, and what its enums say of numbers that are newer."""

from __future__ import annotations

import enum
from typing import Any

import pyroute2.netlink
import pytest
from pyroute2.netlink import nlsocket

from netlink_safe.wire import constants
from netlink_safe.wire.datagram import Burst, Credentials, Datagram, Sender
from netlink_safe.wire.enums import NewerFlags, newer_member

pytestmark = pytest.mark.anywhere

#: What pyroute2 does not name, as include/uapi/linux/netlink.h has it.
OURS_ALONE = {
    "NETLINK_CAP_ACK": 10,
    "NLA_TYPE_MASK": 0x3FFF,
    "NLMSGERR_ATTR_MSG": 1,
    "NLMSGERR_ATTR_OFFS": 2,
    "NLMSGERR_ATTR_COOKIE": 3,
    "NLMSGERR_ATTR_POLICY": 4,
    "NLMSGERR_ATTR_MISS_TYPE": 5,
    "NLMSGERR_ATTR_MISS_NEST": 6,
}


def test_every_number_is_the_one_that_others_know_under_its_name() -> None:
    """Those of pyroute2, whose sockets talk to the same kernel, and the header's where it has none.

    Nothing stands here that neither names.
    """
    others = {**vars(nlsocket), **vars(pyroute2.netlink), **OURS_ALONE}
    ours = {name: value for name, value in vars(constants).items() if name.isupper()}
    assert len(ours) == 31
    assert ours == {name: others.get(name) for name in ours}


class Colour(enum.IntEnum):
    """An enum that may have grown."""

    RED = 1

    @classmethod
    def _missing_(cls, value: object) -> Colour | None:
        return newer_member(cls, value, "COLOUR", 0xFF)


class Wide(enum.IntEnum):
    """One that takes whatever 32 bits hold."""

    ONE = 1

    @classmethod
    def _missing_(cls, value: object) -> Wide | None:
        return newer_member(cls, value, "WIDE")


class Switches(NewerFlags):
    """Flags that may have grown."""

    LEFT = 1
    RIGHT = 2


@pytest.mark.parametrize("number", [0, 2, 0xFF])
def test_a_number_that_is_newer_is_a_member_of_its_own(number: int) -> None:
    """With a name that says the number, equal to it; what is listed stays what it is."""
    member = Colour(number)
    assert isinstance(member, Colour)
    assert (member, member.value, member.name) == (number, number, f"COLOUR_{number}")
    assert Colour(1) is Colour.RED


@pytest.mark.parametrize("value", [-1, 0x100, "2", 2.5, None])
def test_what_fits_no_field_of_the_kernels_is_no_member(value: Any) -> None:
    """A negative number, one that is too wide, and what is no number."""
    with pytest.raises(ValueError, match="is not a valid Colour"):
        Colour(value)


def test_a_field_has_32_bits_unless_said() -> None:
    """The largest number is a member, the one above it is none."""
    assert Wide(0xFFFFFFFF).name == "WIDE_4294967295"
    with pytest.raises(ValueError, match="is not a valid Wide"):
        Wide(1 << 32)


def test_flags_that_are_newer_are_kept_as_bits_and_not_for_ever() -> None:
    """What is listed is what it always was; what is not leaves nothing behind in its class."""
    both, newer = Switches(3), Switches(0x80000001)
    assert both is Switches(3)
    assert (newer, newer.value, Switches.LEFT in newer) == (0x80000001, 0x80000001, True)
    assert [*newer] == [Switches.LEFT]
    known = dict(Switches._value2member_map_)
    for shift in range(2, 32):
        assert repr(Switches(1 << shift | 2)) == f"<Switches.RIGHT|{1 << shift}: {1 << shift | 2}>"
    assert Switches._value2member_map_ == known
    nonsense: Any = "2"
    with pytest.raises(ValueError, match="is not a valid Switches"):
        Switches(nonsense)


def test_datagrams_and_senders_are_what_they_say() -> None:
    """Records: the same in all fields is the same, and their fields stand in this order."""
    assert Datagram(b"x", 1, 2, True) == Datagram(data=b"x", sender=1, group=2, truncated=True)
    sender = Sender(port_id=1, groups=2, credentials=Credentials(3, 4, 5), truncated=False)
    burst = Burst(sender, [b"x"])
    assert tuple(burst.sender) == (1, 2, (3, 4, 5), False)
    assert burst.sender.credentials == Credentials(pid=3, uid=4, gid=5)
    assert burst.texts == [b"x"]
