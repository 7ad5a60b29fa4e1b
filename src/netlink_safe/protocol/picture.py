"""The devices that a listener believes in, and how it finds back to the truth.

The kernel's events and a look at sysfs are two accounts of one history, which overlap and may have
holes.  They are put together by state::

    add      of a device that is known and the same         is a duplicate
             of a path that is known as another device      means remove, and add
    remove   of a path that is not known, or is another's   is a duplicate
    move     to a path that is known, from one that is not  is a duplicate
    any      of a device, numbered before a look began      is a duplicate of that look
    anything else, and whatever somebody asked for (SYNTH_UUID), is news

A device's directory is there before its ``add`` is sent, and its links are gone before its
``remove`` is (``drivers/base/core.c``: device_add, device_del), so that whatever was numbered
before a look began is in what was seen.  Of what is no device the directory goes last
(``lib/kobject.c``: __kobject_del), and numbers say nothing.

What tells two devices apart that had the same path are numbers in their properties, or the inodes
of their directories where both were looked at: an inode is taken together with the properties,
never for a device that is known by an event alone, whose directory may be its successor's by now.

May call ``protocol.sighting``.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from netlink_safe.protocol.sighting import Look, Sighting


#: How many devices may be known beside twice those of the last look.  More are no machine's: what
#: has gone unheard where there is no look, or what a sender of udevd's rank has made up.
ROOM: Final = 65536
#: The actions that change the picture.
PICTURED: Final = frozenset({b"add", b"remove", b"move"})


class DeviceEvent(Protocol):
    """What the picture looks at; see ``families.uevent``."""

    _head: tuple[bytes, bytes, bytes, bytes]
    """Action, path, subsystem, and the event's number in digits, or nothing."""

    @property
    def identity(self) -> Mapping[bytes, bytes]: ...

    @property
    def is_synthetic(self) -> bool: ...

    @property
    def old_devpath(self) -> bytes: ...

    def moved(self, path: bytes, /) -> Any:
        """The same event, of the device under its new path."""

    def resynced(self, action: bytes, /) -> Any:
        """The same device in an event that a look at sysfs stands for."""


Event = TypeVar("Event", bound=DeviceEvent)


@attrs.frozen(slots=True)
class Comparison(Generic[Event]):
    """A look beside what was known: the difference, and what is known once it is adopted.

    Removals go from the leaves up, then additions from the root down.
    """

    removed: Sequence[Event]
    added: Sequence[Event]
    known: dict[bytes, Event]
    inodes: dict[bytes, int]
    untold: set[bytes]
    looked_at: int
    covered: frozenset[bytes]


class Picture(Generic[Event]):
    """The devices under their paths.

    Until the listener was told of a look, every event is news to it, and again once there are more
    than there is room for, of which the first are forgotten.
    """

    def __init__(self) -> None:
        self._known: dict[bytes, Event] = {}
        self._inodes: dict[bytes, int] = {}
        self._untold: set[bytes] = set()
        self._looked_at = 0
        self._covered: frozenset[bytes] = frozenset()
        self._told = False
        self._most = ROOM
        self._taken_in = {b"add": self._added, b"remove": self._removed, b"move": self._moved}

    def __len__(self) -> int:
        return len(self._known)

    @property
    def subsystems(self) -> Mapping[bytes, bytes]:
        """The subsystem of each device, by its path."""
        return {path: event._head[2] for path, event in self._known.items()}

    def news(self, event: Event) -> Sequence[Event]:
        """Take an event in; what of it the listener does not know yet, often the event itself."""
        action, path, _, _ = event._head
        if action not in PICTURED or event.is_synthetic:
            return (event,)
        return self._taken_in[action](event, path)

    def compare(
        self,
        look: Look,
        make: Callable[[bytes, Sighting], Event],
        silent: Collection[bytes] = frozenset(),
    ) -> Comparison[Event]:
        """What a look comes to; nothing is changed by it, so that any thread may do it.

        ``make`` gives the ``add`` of what was seen; of what is new under the paths in ``silent``
        the listener is not to be told.
        """
        removed: dict[bytes, Event] = {}
        added: dict[bytes, Event] = {}
        known_now: dict[bytes, Event] = {}
        untold: set[bytes] = set()
        for path, seen in sorted(look.sightings.items()):  # from the root down
            known = self._known.get(path)
            if known is not None and self._is_same(path, known, seen, removed):
                known_now[path] = known
                if path in self._untold:
                    untold.add(path)
                continue
            if known is not None:
                removed[path] = known.resynced(b"remove")
            if seen.subsystem is not None:
                event = make(path, seen)
            elif known is not None:
                event = known.resynced(b"add")
            else:
                continue
            known_now[path] = event
            if path in silent:
                untold.add(path)
            else:
                added[path] = event
        for path in self._known.keys() - look.sightings.keys():
            removed[path] = self._known[path].resynced(b"remove")
        return Comparison(
            removed=[removed[path] for path in sorted(removed, reverse=True)],
            added=list(added.values()),
            known=known_now,
            inodes={path: look.sightings[path].inode for path in known_now},
            untold=untold,
            looked_at=look.seqnum,
            covered=look.covered,
        )

    def adopt(self, comparison: Comparison[Event], tells: bool = True) -> None:
        """Know what a comparison knows; ``tells`` says that the listener is told of it."""
        self._known = comparison.known
        self._inodes = comparison.inodes
        self._untold = comparison.untold
        self._looked_at = comparison.looked_at
        self._covered = comparison.covered
        self._told = tells
        self._most = 2 * len(self._known) + ROOM

    def _added(self, event: Event, path: bytes) -> Sequence[Event]:
        known = self._known.get(path)
        if self._told:
            if self._is_stale(event):
                return ()
            if known is not None:
                if _same(known.identity, event.identity) is False:
                    self._known[path] = event
                    self._forget_looks(path)
                    return known.resynced(b"remove"), event
                if path not in self._untold:
                    return ()
        self._know(path, event)
        if known is not None:
            self._forget_looks(path)
        return (event,)

    def _removed(self, event: Event, path: bytes) -> Sequence[Event]:
        known = self._known.get(path)
        if self._told and (
            known is None or self._is_stale(event) or _same(known.identity, event.identity) is False
        ):
            return ()
        if known is not None:
            del self._known[path]
            self._forget_looks(path)
        return (event,)

    def _moved(self, event: Event, path: bytes) -> Sequence[Event]:
        old = event.old_devpath
        if self._told and (
            self._is_stale(event) or (old not in self._known and path in self._known)
        ):
            return ()
        self.move_below(old, path)
        self._known.pop(old, None)
        self._know(path, event)
        self._forget_looks(path)
        self._keep_looks(old, path)
        return (event,)

    def move_below(self, old: bytes, path: bytes) -> None:
        """What lies below a device moves with it, and no event says so.

        A directory that is renamed stays the same (``lib/kobject.c``: kobject_rename).
        """
        below = old + b"/"
        for child in [one for one in self._known if old and one.startswith(below)]:
            moved = path + child[len(old) :]
            self._known[moved] = self._known.pop(child).moved(moved)
            self._keep_looks(child, moved)

    def _know(self, path: bytes, event: Event) -> None:
        self._known[path] = event
        if len(self._known) > self._most:
            self._told = False
            for first in list(islice(self._known, len(self._known) // 4)):  # one by one is slow
                del self._known[first]
                self._forget_looks(first)

    def _is_stale(self, event: Event) -> bool:
        _, _, subsystem, number = event._head
        return bool(number) and int(number) <= self._looked_at and subsystem in self._covered

    def _keep_looks(self, old: bytes, path: bytes) -> None:
        if old in self._inodes:
            self._inodes[path] = self._inodes.pop(old)
        if old in self._untold:
            self._untold.remove(old)
            self._untold.add(path)

    def _forget_looks(self, path: bytes) -> None:
        self._inodes.pop(path, None)
        self._untold.discard(path)

    def _is_same(
        self, path: bytes, known: Event, seen: Sighting, replaced: Collection[bytes]
    ) -> bool:
        inode = self._inodes.get(path)
        if inode is not None:
            return inode == seen.inode
        if _same(known.identity, seen.identity) is not True:
            return False
        # A number may be its successor's; with what it hangs on, a device is replaced itself.
        while path := path.rpartition(b"/")[0]:
            if path in replaced:
                return False
        return True


def _same(one: Mapping[bytes, bytes], other: Mapping[bytes, bytes]) -> bool | None:
    """Whether two accounts are of one device; None where nothing says."""
    common = one.keys() & other.keys()
    return all(one[name] == other[name] for name in common) if common else None
