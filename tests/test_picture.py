"""The picture of the devices, beside a kernel that loses and delays as the real one does."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netlink_safe.families.uevent import Origin, Uevent, read_kernel
from netlink_safe.families.uevents import _event
from netlink_safe.protocol.picture import Comparison, Picture
from netlink_safe.protocol.sighting import Look, Sighting
from uevents import Belief, text

if TYPE_CHECKING:
    from collections.abc import Callable

PATHS = ("/devices/a", "/devices/a/b", "/devices/c", "/devices/d")
COVERED = frozenset({b"net"})


@attrs.define
class Device:
    """One device: ``index`` tells it from every other, by its properties if ``told``."""

    index: int
    told: bool

    @property
    def properties(self) -> dict[str, object]:
        return {"IFINDEX": self.index} if self.told else {}


class Kernel:
    """Devices, events that are numbered when they are sent, and one listener's queue.

    A directory is there before its ``add`` is sent, and gone before its ``remove`` is.
    """

    def __init__(self, room: int) -> None:
        self.room = room
        self.sysfs: dict[str, Device] = {}
        self.unsent: list[bytes] = []
        self.queue: list[bytes] = []
        self.congested = False
        self.drops = 0
        self.seqnum = 0
        self.made = 0

    def change(self, path: str, told: bool) -> None:
        """A device comes, or the one that is there goes; nobody is told yet."""
        device = self.sysfs.pop(path, None)
        action = "remove"
        if device is None:
            action = "add"
            self.made += 1
            device = self.sysfs[path] = Device(self.made, told)
        self.unsent.append(text(action, path, "net", **device.properties))

    def rename(self, path: str, new: str) -> None:
        """A device moves to a path that is free."""
        if path in self.sysfs and new not in self.sysfs:
            device = self.sysfs[new] = self.sysfs.pop(path)
            moved = {"DEVPATH_OLD": path, **device.properties}
            self.unsent.append(text("move", new, "net", **moved))

    def send(self) -> None:
        """The oldest event that is not sent is numbered and queued, or dropped."""
        if not self.unsent:
            return
        self.seqnum += 1
        event = self.unsent.pop(0) + b"SEQNUM=%d\0" % self.seqnum
        if self.congested or len(self.queue) >= self.room:
            self.congested = True
            self.drops += 1
        else:
            self.queue.append(event)

    def receive(self) -> Uevent | None:
        """The oldest that is queued; a receive that leaves nothing ends the congestion."""
        data = self.queue.pop(0) if self.queue else None
        if not self.queue:
            self.congested = False
        return None if data is None else read_kernel(data, Origin.KERNEL)

    def look(self, between: Callable[[], None]) -> Look:
        """A walk of sysfs, path by path, while the world goes on; and the number before it."""
        before = self.seqnum
        seen = {}
        for path in PATHS:
            between()
            if device := self.sysfs.get(path):
                told = b"IFINDEX=%d\n" % device.index if device.told else b""
                seen[path.encode()] = Sighting(b"net", told, device.index, True)
        between()
        return Look(seen, before, COVERED)


def tell(picture: Picture[Uevent], look: Look) -> Comparison[Uevent]:
    """A look that the listener is told of."""
    comparison = picture.compare(look, partial(_event, Origin.RESYNC))
    picture.adopt(comparison)
    return comparison


def look_at(
    picture: Picture[Uevent],
    seen: dict[bytes, Sighting],
    before: int,
    covered: frozenset[bytes] = COVERED,
) -> Comparison[Uevent]:
    return tell(picture, Look(seen, before, covered))


class Listener:
    """What ``transport.following`` does, without a socket."""

    def __init__(self, kernel: Kernel, belief: Belief, between: Callable[[], None]) -> None:
        self._kernel = kernel
        self._belief = belief
        self._between = between
        self._told = kernel.drops
        self._picture: Picture[Uevent] = Picture()
        self.losses = 0
        self.resync()

    def wake(self, most: int) -> None:
        """Receive some; where the queue is empty then, see whether anything was lost."""
        for _ in range(most):
            event = self._kernel.receive()
            if event is None:
                if self._kernel.drops != self._told:
                    self.losses += self._kernel.drops - self._told
                    self._told = self._kernel.drops
                    self.resync()
                return
            for one in self._picture.news(event):
                self._belief.take(one)

    def resync(self) -> None:
        difference = tell(self._picture, self._kernel.look(self._between))
        for one in (*difference.removed, *difference.added):
            self._belief.take(one)


#: What may happen between two steps of the listener.
STEPS = st.one_of(
    st.tuples(st.just("change"), st.sampled_from(PATHS)),
    st.tuples(st.just("send"), st.integers(1, 8)),
    st.tuples(st.just("wake"), st.integers(1, 8)),
)


@settings(max_examples=1000)
@given(st.integers(1, 6), st.booleans(), st.lists(STEPS, max_size=60), st.lists(STEPS, max_size=60))
def test_the_picture_converges_and_nothing_is_told_twice(
    room: int,
    told: bool,
    schedule: list[tuple[str, str | int]],
    meanwhile: list[tuple[str, str | int]],
) -> None:
    """Whatever comes, goes, is replaced, delayed and lost, before, during and after a look."""
    kernel, belief = Kernel(room), Belief()

    def between() -> None:
        """Something happens in the middle of a look."""
        if meanwhile:
            happen(*meanwhile.pop())

    def happen(what: str, detail: str | int) -> None:
        if what == "change":
            kernel.change(str(detail), told)
        elif what == "send":
            for _ in range(int(detail)):
                kernel.send()

    listener = Listener(kernel, belief, between)
    for what, detail in schedule:
        if what == "wake":
            listener.wake(int(detail))
        else:
            happen(what, detail)
    while kernel.unsent or kernel.queue or meanwhile or kernel.drops != listener.losses:
        kernel.send()
        between()
        listener.wake(room + 2)
    assert set(belief.devices) == set(kernel.sysfs)
    if told:
        shown = {path: str(device.index) for path, device in kernel.sysfs.items()}
        assert belief.devices == shown
    assert listener.losses == kernel.drops


@pytest.mark.anywhere
@given(st.lists(st.tuples(st.sampled_from(PATHS[1:]), st.sampled_from(PATHS[1:])), max_size=30))
def test_renames_are_followed_when_nothing_is_lost(renames: list[tuple[str, str]]) -> None:
    """A move is one event, and a removal under the new name is of a device that is known."""
    kernel, belief = Kernel(10_000), Belief()
    listener = Listener(kernel, belief, lambda: None)
    for path, new in renames:
        kernel.change(path, told=True)
        kernel.rename(path, new)
        while kernel.unsent:
            kernel.send()
        listener.wake(1000)
        assert set(belief.devices) == set(kernel.sysfs)


def told(action: str, path: str, number: int, **properties: object) -> Uevent:
    event = read_kernel(text(action, path, "net", **properties, SEQNUM=number), Origin.KERNEL)
    assert event is not None
    return event


def seen(path: str, inode: int, **properties: int) -> dict[bytes, Sighting]:
    text = "".join(f"{name}={value}\n" for name, value in properties.items())
    return {path.encode(): Sighting(b"net", text.encode(), inode, True)}


@pytest.mark.anywhere
def test_a_device_that_nothing_identifies_is_removed_and_added() -> None:
    """It was known by an event alone, and its directory may be its successor's."""
    picture: Picture[Uevent] = Picture()
    look_at(picture, {}, 0)
    picture.news(told("add", "/x", 1))
    difference = look_at(picture, seen("/x", 5), 2)
    assert [len(difference.removed), len(difference.added)] == [1, 1]
    again = look_at(picture, seen("/x", 5), 3)
    assert [len(again.removed), len(again.added)] == [0, 0], "the inode was taken with it"
    other = look_at(picture, seen("/x", 6), 4)
    assert [len(other.removed), len(other.added)] == [1, 1]


@pytest.mark.anywhere
def test_an_inode_counts_only_until_an_event_of_its_path() -> None:
    """Whoever came by an event may have another directory."""
    picture: Picture[Uevent] = Picture()
    look_at(picture, seen("/x", 5), 0)
    assert len(picture.news(told("remove", "/x", 1))) == 1
    assert len(picture.news(told("add", "/x", 2))) == 1
    difference = look_at(picture, seen("/x", 5), 2)
    assert [len(difference.removed), len(difference.added)] == [1, 1]


@pytest.mark.anywhere
def test_an_addition_of_another_device_means_that_the_first_is_gone() -> None:
    """Its removal was lost; it is told before."""
    picture: Picture[Uevent] = Picture()
    look_at(picture, seen("/x", 5, IFINDEX=1), 0)
    news = picture.news(told("add", "/x", 9, IFINDEX=2))
    assert [(event.action, event.properties["IFINDEX"]) for event in news] == [
        ("remove", "1"),
        ("add", "2"),
    ]
    assert news[0].origin is Origin.RESYNC


@pytest.mark.anywhere
def test_what_lies_below_moves_along() -> None:
    """The kernel says nothing of the children of what it renames."""
    picture: Picture[Uevent] = Picture()
    look_at(picture, {**seen("/x", 1), **seen("/x/queues/rx-0", 2)}, 0)
    picture.news(told("move", "/y", 1, DEVPATH_OLD="/x"))
    assert set(picture.subsystems) == {b"/y", b"/y/queues/rx-0"}


@pytest.mark.anywhere
def test_what_no_look_covers_is_not_thought_known() -> None:
    """An event of a subsystem that sysfs does not list is news, however old its number is."""
    picture: Picture[Uevent] = Picture()
    look_at(picture, {}, 100, frozenset({b"usb"}))
    assert len(picture.news(told("add", "/kernel/slab/x", 50))) == 1
    there = {b"/kernel/slab/x": Sighting(None, b"", 7, False)}
    difference = look_at(picture, there, 101, frozenset({b"usb"}))
    assert [event.action for event in (*difference.removed, *difference.added)] == [
        "remove",
        "add",
    ]
    assert not look_at(picture, there, 102, frozenset()).added
    assert len(look_at(picture, {}, 103, frozenset()).removed) == 1


@pytest.mark.anywhere
def test_what_moved_is_told_under_its_new_path_and_kept_for_the_same() -> None:
    """A renamed directory is the same directory, and so is all that lies in it."""
    picture: Picture[Uevent] = Picture()
    look_at(picture, {**seen("/x", 1), **seen("/x/queues/rx-0", 2)}, 0)
    picture.news(told("move", "/y", 1, DEVPATH_OLD="/x"))
    same = look_at(picture, {**seen("/y", 1), **seen("/y/queues/rx-0", 2)}, 2)
    assert [len(same.removed), len(same.added)] == [0, 0]
    gone = look_at(picture, {}, 3)
    assert [event.devpath for event in gone.removed] == ["/y/queues/rx-0", "/y"]
    assert all("DEVPATH_OLD" not in event.properties for event in gone.removed)


@pytest.mark.anywhere
def test_what_hangs_on_a_replaced_device_is_replaced_with_it() -> None:
    """The number of its node may be its predecessor's."""
    picture: Picture[Uevent] = Picture()
    look_at(picture, {}, 0)
    picture.news(told("add", "/usb", 1, BUSNUM=1, DEVNUM=2))
    picture.news(told("add", "/usb/tty0", 2, MAJOR=188, MINOR=0))
    now = {**seen("/usb", 1, BUSNUM=1, DEVNUM=3), **seen("/usb/tty0", 2, MAJOR=188, MINOR=0)}
    difference = look_at(picture, now, 9)
    assert [event.devpath for event in difference.removed] == ["/usb/tty0", "/usb"]
    assert [event.devpath for event in difference.added] == ["/usb", "/usb/tty0"]


@pytest.mark.anywhere
def test_numbers_say_nothing_of_what_is_no_device() -> None:
    """Its removal is numbered before its directory goes, so that a look may still show it."""
    picture: Picture[Uevent] = Picture()
    lingering = {b"/x/queues/rx-0": Sighting(b"queues", b"", 7, False)}
    look_at(picture, lingering, 100)
    removal = read_kernel(text("remove", "/x/queues/rx-0", "queues", SEQNUM=99), Origin.KERNEL)
    assert removal is not None
    assert picture.news(removal) == (removal,)
    assert not picture.subsystems
