"""Any bytes in a listener of uevents: events, or rejections that are counted, and nothing else.

The first byte says whether it listens to the kernel or to udevd, whether it has looked at sysfs,
and what it wants.  Each datagram that follows has a byte that says who sent it, and its length in
two more; with the highest bit of that byte its text is put behind udevd's header.
"""

from __future__ import annotations

import struct
from collections import Counter
from typing import TYPE_CHECKING, Final

from fuzz.common import Bytes, look_inside, names_of
from netlink_safe.families.udev import read_udev
from netlink_safe.families.uevent import Origin, Uevent, read_any, read_kernel
from netlink_safe.families.uevent_match import UeventMatch
from netlink_safe.families.uevents import uevents
from netlink_safe.protocol.notices import Resynced
from netlink_safe.protocol.sighting import Look, Sighting
from netlink_safe.protocol.trust import Roots
from netlink_safe.wire.datagram import Burst, Credentials, Sender

if TYPE_CHECKING:
    from netlink_safe.families.uevents import Source
    from netlink_safe.protocol.subscription import SightedReader

ROOTS: Final = Roots(frozenset({0}))
KERNEL: Final = Sender(0, 1, Credentials(0, 0, 0), False)
INJECTOR: Final = KERNEL._replace(credentials=Credentials(7, 0, 0))
STRANGER: Final = KERNEL._replace(credentials=Credentials(7, 7, 7))
UDEVD: Final = Sender(7, 2, Credentials(7, 0, 0), False)
CUT: Final = UDEVD._replace(truncated=True)
SENDERS: Final = (KERNEL, KERNEL, KERNEL, INJECTOR, STRANGER, UDEVD, UDEVD, CUT)
OF_UDEVD: Final = 0x80

_HEADER: Final = struct.Struct("=8s4sIII16x")
MATCH: Final = UeventMatch(devpath="/devices/*", properties={"MAJOR": None, "DEVTYPE": "usb_*"})


def udev_text(properties: bytes) -> bytes:
    """A message as udevd sends it."""
    return _HEADER.pack(b"libudev\0", b"\xfe\xed\xca\xfe", 40, 40, len(properties)) + properties


def one_input(data: bytes) -> None:
    """Hear it, look at all that was heard, and then look at sysfs."""
    given = Bytes(data)
    how = given.byte()
    source: Source = "udev" if how & 1 else "kernel"
    texts = []
    while given.is_left:
        who = given.byte()
        text = given.piece()
        text = udev_text(text) if who & OF_UDEVD else text
        texts.append((SENDERS[who % len(SENDERS)], text))
    for _, text in texts:
        _check_grammar(text)
    _check_listener(source, how, texts)


def _check_grammar(text: bytes) -> None:
    """A text is an event to all that read it, or to none; what is read stands in it."""
    by_kernel, by_any = read_kernel(text, Origin.KERNEL), read_any(text, Origin.KERNEL)
    assert (by_kernel is None) or by_any is None or by_kernel.devpath == by_any.devpath
    by_udev = read_udev(text, Origin.UDEV)
    assert isinstance(by_udev, Uevent | str)
    if isinstance(by_udev, Uevent):
        _, _, size, offset, length = _HEADER.unpack_from(text)
        assert _HEADER.size <= size <= offset <= offset + length <= len(text)
    for event in (by_kernel, by_any, by_udev):
        if isinstance(event, Uevent):
            _check_event(event, text)


def _check_event(event: Uevent, text: bytes) -> None:
    for name in names_of(Uevent):
        look_inside(getattr(event, name))
    assert repr(event)
    action, devpath, subsystem, number = event._head
    assert b"ACTION=" + action in text
    assert b"DEVPATH=" + devpath in text
    assert b"SUBSYSTEM=" + subsystem in text
    assert event.seqnum == (int(number) if number else None)
    assert (event.properties["ACTION"], event.properties["DEVPATH"]) == (
        event.action,
        event.devpath,
    )
    again = event.resynced(b"remove")
    assert (again.action, again.devpath, again.subsystem) == (
        "remove",
        event.devpath,
        event.subsystem,
    )
    assert again.seqnum is None
    assert again.identity == event.identity
    assert event.moved(b"/y").devpath == event.moved(b"/y").properties["DEVPATH"] == "/y"


def _check_listener(source: Source, how: int, texts: list[tuple[Sender, bytes]]) -> None:
    rejected: Counter[str] = Counter()
    is_all = not how & 2
    reader = uevents(
        source=source,
        match=None if is_all else MATCH,
        subsystem="usb" if how & 4 else None,
        coldplug=bool(how & 8),
        strict=bool(how & 16),
    ).new_reader(ROOTS, rejected)
    if how & 32:
        reader.adopt(reader.begin(_look(texts[:4])), True)
    told = reader.delivered
    for sender, text in texts:
        counted = rejected.total() + reader.duplicates
        items = reader.read([Burst(sender, [text])])
        counted = rejected.total() + reader.duplicates - counted
        assert counted <= 1
        # A device that took another's place is its removal, and an event of its own.
        assert len(items) <= (0 if counted else 2)
        assert items or counted or not is_all or how & 4
        told += len(items)
        for event in items[-1:]:
            _check_picture(reader, event)
        assert isinstance(reader.last_seqnum, int | None)
    assert reader.delivered == told
    look = _look(texts)
    telling = reader.resync(look)
    *items, resynced = reader.adopt(telling, False)
    assert isinstance(resynced, Resynced)
    assert resynced.added + resynced.removed == len(items)
    # What was seen is what is known: a second look finds no difference.
    [nothing] = reader.adopt(reader.resync(look), False)
    assert nothing == Resynced(0, 0)


def _check_picture(reader: SightedReader, item: object) -> None:
    """What was told to be there is known then, and what was told to be gone is not."""
    assert isinstance(item, Uevent)
    is_believed = item.origin is not Origin.INJECTED and not item.is_synthetic
    if is_believed and item.action in {"add", "remove", "move"}:
        assert (item._head[1] in reader.known) == (item.action != "remove")


def _look(texts: list[tuple[Sender, bytes]]) -> Look:
    """sysfs, as if each text were a device's uevent file, under the path that it tells."""
    sightings = {}
    for inode, (_, text) in enumerate(texts):
        event = read_any(text, Origin.KERNEL)
        path = b"/devices/%d" % inode if event is None else event._head[1]
        subsystem = None if event is None and inode & 1 else b"usb"
        sightings[path] = Sighting(subsystem, text.replace(b"\0", b"\n"), inode, bool(inode & 2))
    return Look(sightings, 1, frozenset({b"usb"}))
