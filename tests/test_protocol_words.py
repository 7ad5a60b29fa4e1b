"""Messages between processes, whom to believe, what plans wish for."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from netlink_safe.errors import LocalProtocolError
from netlink_safe.protocol import destruction as destruction_room
from netlink_safe.protocol import plans
from netlink_safe.protocol.message import checked_bytes, message
from netlink_safe.protocol.sighting import Sighting
from netlink_safe.protocol.trust import Roots, reject_multicast, reject_reply
from netlink_safe.wire.datagram import Credentials, Datagram, Sender

pytestmark = pytest.mark.anywhere


def test_a_message_has_a_header_and_comes_from_nobody() -> None:
    """Whoever sends it has a port ID, which is not in here."""
    assert message(16) == struct.pack("=LHHLL", 16, 16, 0, 0, 0)
    told = message(17, b"abc", flags=2, sequence=3)
    assert told == struct.pack("=LHHLL", 19, 17, 2, 3, 0) + b"abc"
    largest = message(0xFFFF, flags=0xFFFF, sequence=0xFFFFFFFF)
    assert largest == struct.pack("=LHHLL", 16, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0)
    assert message(0) == struct.pack("=LHHLL", 16, 0, 0, 0, 0)


@pytest.mark.parametrize("nonsense", [-1, True, None, "16", 1.0])
@pytest.mark.parametrize(
    ("name", "largest"), [("type", 0xFFFF), ("flags", 0xFFFF), ("sequence", 0xFFFFFFFF)]
)
def test_what_does_not_fit_its_field_is_refused(name: str, largest: int, nonsense: Any) -> None:
    """By the field's name, and with what fits."""
    for value in (nonsense, largest + 1):
        arguments: dict[str, Any] = {"type": 16, name: value}
        with pytest.raises(LocalProtocolError) as error:
            message(**arguments)
        assert str(error.value) == f"{name}={value!r} is no number from 0 to {largest}"


class Unreadable(bytearray):
    """Bytes that do not let themselves be read."""

    def __bytes__(self) -> bytes:
        raise RuntimeError("not today")


def test_a_payload_is_bytes_of_any_kind() -> None:
    """A copy of them; what is none, or cannot be read, is refused."""
    for payload in (b"abc", bytearray(b"abc"), memoryview(b"abc")):
        checked = checked_bytes(payload)
        assert checked == b"abc"
        assert type(checked) is bytes
    nonsense: Any
    for nonsense in ("abc", 3, None, [1, 2]):
        with pytest.raises(LocalProtocolError) as error:
            message(16, nonsense)
        assert str(error.value) == f"payload={nonsense!r} is no bytes"
    with pytest.raises(LocalProtocolError) as error:
        checked_bytes(Unreadable(b"abc"))
    assert str(error.value) == "the payload cannot be read as bytes: not today"
    assert isinstance(error.value.__cause__, RuntimeError)


def test_a_reply_is_believed_by_its_sender_alone() -> None:
    """Port 0 is the kernel; an echo carries the group of what it echoes."""
    assert reject_reply(Datagram(b"", 0, 0, False)) is None
    assert reject_reply(Datagram(b"", 0, 5, False)) is None
    assert reject_reply(Datagram(b"", 1, 0, False)) == "foreign_sender"


ROOT, KERNEL, OTHER = Credentials(50, 0, 0), Credentials(0, 65534, 0), Credentials(50, 1000, 0)


@pytest.mark.parametrize(
    ("uids", "any_of_the_kernel", "sender", "is_one"),
    [
        ({0}, False, ROOT, True),
        ({0}, False, KERNEL, False),
        ({0, 1000}, False, OTHER, True),
        ({0}, True, KERNEL, True),
        ({0}, True, OTHER, False),
        (set(), True, ROOT, False),
    ],
)
def test_roots_are_known_by_their_uid_and_the_kernel_perhaps_by_its_pid(
    uids: set[int], any_of_the_kernel: bool, sender: Credentials, is_one: bool
) -> None:
    """Where its uid cannot be named from here."""
    assert Roots(frozenset(uids), any_of_the_kernel).include(sender) is is_one
    assert Roots(frozenset({0})).any_of_the_kernel is False


@pytest.mark.parametrize(
    ("sender", "from_kernel", "reason"),
    [
        (Sender(0, 1, ROOT, False), True, None),
        (Sender(9, 2, None, True), True, "truncated"),
        (Sender(9, 0, None, False), True, "unicast"),
        (Sender(0, 3, ROOT, False), True, "unicast"),
        (Sender(9, 1, None, False), True, "foreign_sender"),
        (Sender(0, 1, ROOT, False), False, "foreign_sender"),
        (Sender(9, 1, ROOT, False), False, None),
        (Sender(0, 1, None, False), True, "no_credentials"),
        (Sender(0, 1, OTHER, False), True, "not_root"),
        (Sender(9, 1, OTHER, False), False, "not_root"),
    ],
)
def test_a_multicast_is_believed_for_all_that_is_known_of_its_sender(
    sender: Sender, from_kernel: bool, reason: str | None
) -> None:
    """The first of the reasons is told."""
    assert reject_multicast(sender, 1, from_kernel, Roots(frozenset({0}))) == reason


def test_a_device_is_told_from_its_successor_by_six_numbers() -> None:
    """Wherever they stand in its file, and no others; a line is a property."""
    uevent = b"MAJOR=8\nMINOR=0\nDEVNAME=sda\nDISKSEQ=9\nXIFINDEX=1\nBUSNUM=001\nDEVNUM=\nIFINDEX=7"
    assert Sighting(b"block", uevent, 5, True).identity == {
        b"MAJOR": b"8",
        b"MINOR": b"0",
        b"DISKSEQ": b"9",
        b"BUSNUM": b"001",
        b"DEVNUM": b"",
        b"IFINDEX": b"7",
    }
    assert Sighting(None, b"", 5, False).identity == {}


def test_a_wish_is_made_where_one_is_unless_said() -> None:
    """A place is a name, a descriptor, or here; wishes that say the same are the same."""
    assert plans.Place(None, None) == plans.HERE
    assert plans.AskFamily(plans.HERE, None).is_dump is False  # type: ignore[arg-type]
    assert plans.Done("it") == plans.Done("it") != plans.Done("something else")
    assert plans.Pause(1.0) == plans.Pause(1.0)
    assert plans.Places() == plans.Places()


def test_destroying_is_asked_of_a_family_in_three_words() -> None:
    """The order, a row's name in an error, and what it shares with those found in its place."""
    from netlink_safe.families import destruction

    words = [name for name in vars(destruction_room.Destruction) if not name.startswith("_")]
    assert words == ["destruction", "called", "place_of"]
    assert all(callable(getattr(destruction, word)) for word in words)
