"""Texts of uevents: what is one, what is in it, and that nothing else is ever taken for one."""

from __future__ import annotations

import pickle
import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

import netlink_safe as nls
from netlink_safe.families.udev import read_udev
from netlink_safe.families.uevent import Origin, Uevent, read_any, read_kernel
from netlink_safe.families.uevents import uevents
from netlink_safe.protocol.sighting import Look, Sighting
from netlink_safe.protocol.trust import Roots
from netlink_safe.wire.datagram import Burst, Credentials, Sender
from uevents import text, udev_text

pytestmark = pytest.mark.anywhere

PLUG = text(
    "add",
    "/devices/pci0000:00/0000:00:14.0/usb1/1-1",
    "usb",
    MAJOR=189,
    MINOR=5,
    DEVNAME="bus/usb/001/006",
    DEVTYPE="usb_device",
    DRIVER="usb",
    PRODUCT="46d/c52b/1211",
    BUSNUM="001",
    DEVNUM="006",
    SEQNUM=4321,
)

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
NAME = TEXT.filter(lambda name: name and "=" not in name)
PROPERTIES = st.dictionaries(
    NAME.filter(lambda name: name not in {"ACTION", "DEVPATH", "SUBSYSTEM", "SEQNUM"}), TEXT
)


def read(data: bytes) -> Uevent:
    event = read_kernel(data, Origin.KERNEL)
    assert event is not None
    return event


def test_what_an_event_says() -> None:
    """Each field by its name, and all of them as properties."""
    event = read(PLUG)
    assert (event.action, event.subsystem, event.devtype) == ("add", "usb", "usb_device")
    assert event.devpath == "/devices/pci0000:00/0000:00:14.0/usb1/1-1"
    assert (event.devname, event.driver) == ("bus/usb/001/006", "usb")
    assert (event.major, event.minor, event.seqnum) == (189, 5, 4321)
    assert event.properties["PRODUCT"] == "46d/c52b/1211"
    assert list(event.properties)[:3] == ["ACTION", "DEVPATH", "SUBSYSTEM"]
    assert event.origin is nls.Origin.KERNEL
    assert repr(event) == f"<Uevent add {event.devpath} (usb, kernel)>"


def test_an_event_does_not_change() -> None:
    """Neither its fields nor its properties; equal texts of one origin are equal."""
    event = read(PLUG)
    for name in ("action", "devpath", "origin", "properties", "seqnum", "another"):
        with pytest.raises(AttributeError):
            setattr(event, name, "another")
    with pytest.raises(TypeError):
        event.properties["ACTION"] = "another"  # type: ignore[index]
    assert event == read(PLUG)
    assert {event, read(PLUG)} == {event}
    assert event != read_kernel(PLUG, Origin.INJECTED)
    assert event != PLUG
    assert pickle.loads(pickle.dumps(event)) == event  # noqa: S301  # our own


@given(NAME.filter(lambda name: "@" not in name), TEXT, NAME, PROPERTIES)
def test_every_event_comes_back_as_it_was_written(
    action: str, path: str, subsystem: str, properties: dict[str, str]
) -> None:
    """Whatever the texts are, empty ones and strange letters among them."""
    event = read(text(action, f"/{path}", subsystem, **properties, SEQNUM=7))
    assert (event.action, event.devpath, event.subsystem) == (action, f"/{path}", subsystem)
    assert event.seqnum == 7
    said = dict(event.properties)
    for name in ("ACTION", "DEVPATH", "SUBSYSTEM", "SEQNUM"):
        del said[name]
    assert said == properties


def test_who_writes_a_property_twice_does_not_change_what_was_checked() -> None:
    """The action that was matched is the one that the properties have."""
    event = read(PLUG.replace(b"SEQNUM", b"ACTION=remove\0SEQNUM"))
    assert event.action == event.properties["ACTION"] == "add"


def test_numbers_that_are_none_are_none() -> None:
    """A process may have anything sent as MAJOR."""
    for number in ("", "x", "-1", "1" * 5000, "٣"):
        event = read_any(text("add", "/x", "usb", MAJOR=number), Origin.INJECTED)
        assert event is not None
        assert event.major is None


@given(st.binary(max_size=300))
def test_any_bytes_are_an_event_or_none(data: bytes) -> None:
    """No reader raises; and what it takes for an event, is one."""
    for found in (read_kernel(data, Origin.KERNEL), read_udev(data, Origin.UDEV)):
        assert not isinstance(found, Uevent)


@given(st.data())
def test_a_text_that_was_cut_or_changed_is_never_another_device(data: st.DataObject) -> None:
    """Header and properties must agree, so that a flipped byte in either is noticed."""
    changed = bytearray(data.draw(st.sampled_from([PLUG, udev_text(PLUG.partition(b"\0")[2])])))
    for _ in range(data.draw(st.integers(0, 3))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(changed[: data.draw(st.integers(0, len(changed)))])
    for event in (read_kernel(cut, Origin.KERNEL), read_udev(cut, Origin.UDEV)):
        if isinstance(event, Uevent):
            look_at_everything(event)
            assert b"DEVPATH=" + event._head[1] + b"\0" in cut
            assert b"ACTION=" + event._head[0] + b"\0" in cut


def look_at_everything(event: Uevent) -> None:
    """Whatever is in it, nothing raises."""
    for name in dir(Uevent):
        if not name.startswith("_") and name not in {"resynced", "moved"}:
            getattr(event, name)
    assert event.moved(b"/y").devpath == event.moved(b"/y").properties["DEVPATH"] == "/y"
    assert event.resynced(b"remove").action == "remove"
    assert re.search("Uevent", repr(event))


@given(
    st.lists(
        st.tuples(
            st.binary(max_size=200) | st.just(PLUG),
            st.builds(
                Sender,
                st.integers(0, 1),
                st.integers(0, 3),
                st.none() | st.builds(Credentials, *[st.integers(0, 1)] * 3),
                st.booleans(),
            )
            | st.just(Sender(0, 1, Credentials(0, 0, 0), False)),
        )
    ),
    st.sampled_from(["kernel", "udev"]),
)
def test_any_datagram_is_an_event_or_a_counted_rejection(
    heard: list[tuple[bytes, Sender]], source: str
) -> None:
    """Never an exception in the user's loop, and never one unaccounted for."""
    rejected: Counter[str] = Counter()
    subscription = uevents(source=source)  # type: ignore[arg-type]
    reader = subscription.new_reader(Roots(frozenset({0})), rejected)
    items = reader.read([Burst(sender, [text]) for text, sender in heard])
    assert len(items) + rejected.total() + reader.duplicates == len(heard)
    for item in items:
        look_at_everything(item)


def test_what_a_device_calls_itself_changes_none_of_its_numbers() -> None:
    """In a uevent file a name with line ends writes lines; the driver core's stand before them."""
    forged = b"MAJOR=8\nDEVNAME=sda\nSEQNUM=7\nSYNTH_UUID=0\nACTION=remove\nDEVPATH_OLD=/x"
    said = b'MAJOR=13\nMINOR=64\nDEVNAME=input/event0\nNAME="a\n%b"\n' % forged
    path = b"/devices/virtual/input/input7"
    sighting = Sighting(b"input", said, 1, True)
    look = Look({path: sighting}, 1, frozenset({b"input"}))
    reader = uevents(coldplug=True).new_reader(Roots(frozenset({0})), Counter())
    [event] = reader.adopt(reader.begin(look), True)
    assert (event.action, event.seqnum, event.is_synthetic) == ("add", None, False)
    assert (event.major, event.devname, event.old_devpath) == (13, "input/event0", b"")
    assert "SEQNUM" not in event.properties
    assert event.identity == sighting.identity == {b"MAJOR": b"13", b"MINOR": b"64"}


def test_quadratic_time_is_not_to_be_had() -> None:
    """Ten times the text, about ten times the work: a megabyte of properties is read at once."""
    for tail in (b"A=" * 500_000, b"A=\0" * 300_000, b"@" * 1_000_000, b"SEQNUM=1\0" * 100_000):
        read_kernel(PLUG + tail, Origin.KERNEL)
        read_kernel(b"add@/x" + tail, Origin.KERNEL)
        read_udev(udev_text(PLUG + tail), Origin.UDEV)
