"""What a listener of uevents makes of datagrams and of looks at sysfs, without input or output.

::

    datagram -> trust -> grammar -> the subsystems that are wanted -> picture -> the match -> you

May call ``protocol``, ``families.uevent``, ``families.udev``, ``families.uevent_match``,
``wire`` and ``errors``.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, get_args

import attrs

from netlink_safe.errors import LocalProtocolError
from netlink_safe.families.udev import read_udev
from netlink_safe.families.uevent import MADE_ANEW, Origin, Uevent, made, read_kernel
from netlink_safe.families.uevent_match import (
    UeventMatch,
    checked_matches,
    subsystems_of,
    test_of,
)
from netlink_safe.protocol.arguments import check_truth
from netlink_safe.protocol.notices import Overrun, Resynced
from netlink_safe.protocol.picture import PICTURED, Comparison, Picture
from netlink_safe.protocol.subscription import Subscription
from netlink_safe.protocol.trust import reject_multicast
from netlink_safe.wire.constants import NETLINK_KOBJECT_UEVENT

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from netlink_safe.families.uevent_match import MatchLike, Texts
    from netlink_safe.protocol.sighting import Look, Sighting
    from netlink_safe.protocol.trust import Roots
    from netlink_safe.wire.datagram import Burst, Sender

Source: TypeAlias = Literal["kernel", "udev"]
#: What a stream of uevents yields.
UeventItem: TypeAlias = Uevent | Overrun | Resynced

Reading: TypeAlias = "Callable[[bytes, Origin], Uevent | str]"


def _kernel(data: bytes, origin: Origin) -> Uevent | str:
    return read_kernel(data, origin) or "malformed"


@attrs.frozen(slots=True)
class _SourceSpec:
    """A multicast group, who sends to it, and how its datagrams are read."""

    group: int
    from_kernel: bool
    read: Reading


#: lib/kobject_uevent.c broadcasts to group 1; systemd's MONITOR_GROUP_UDEV is 2.
_SOURCES: Final[dict[str, _SourceSpec]] = {
    "kernel": _SourceSpec(1, True, _kernel),
    "udev": _SourceSpec(2, False, read_udev),
}


@attrs.frozen(slots=True, kw_only=True)
class UeventQuery:
    """What a listener wants, checked."""

    source: Source
    strict: bool
    subsystems: frozenset[str] | None
    fits: Callable[[Uevent], bool] | None
    coldplug: bool


def uevents(
    subsystem: Texts = None,
    devtype: Texts = None,
    action: Texts = None,
    match: MatchLike | Iterable[MatchLike] | None = None,
    coldplug: bool = False,
    source: Source = "kernel",
    strict: bool = False,
) -> Subscription:
    """Say which uevents are wanted; see ``open_uevents``.  Raises LocalProtocolError."""
    if source not in get_args(Source):
        raise LocalProtocolError(f"source={source!r} is neither 'kernel' nor 'udev'")
    check_truth(coldplug=coldplug, strict=strict)
    narrowing = UeventMatch(subsystem=subsystem, devtype=devtype, action=action)
    matches = checked_matches(match)
    query = UeventQuery(
        source=source,
        strict=strict,
        subsystems=subsystems_of(narrowing, matches),
        fits=test_of(narrowing, matches),
        coldplug=coldplug,
    )
    return Subscription(
        name=f"{source} uevents",
        protocol=NETLINK_KOBJECT_UEVENT,
        group=_SOURCES[source].group,
        begins_with_look=coldplug,
        by_udev=source == "udev",
        new_reader=partial(UeventReader, query),
    )


@attrs.frozen(slots=True)
class Telling:
    """What is to be told of a look, how many of it are removals, and what is known then."""

    items: list[UeventItem]
    removed: int
    comparison: Comparison[Uevent]


class UeventReader:
    """The listener's picture, what it rejects, and what of all that is handed out."""

    def __init__(self, query: UeventQuery, roots: Roots, rejected: Counter[str]) -> None:
        self._query = query
        self._source = _SOURCES[query.source]
        self._mask = 1 << self._source.group - 1
        self._roots = roots
        self._rejected = rejected
        self._picture: Picture[Uevent] = Picture()
        self._wanted = (
            None
            if query.subsystems is None
            else frozenset(name.encode("utf-8", "surrogateescape") for name in query.subsystems)
        )
        self.is_stale = False  # events tell all there is to tell
        self.failure: Exception | None = None  # what is looked for is no code of the caller's
        self.last_seqnum: int | None = None
        self.duplicates: int = 0
        self.delivered: int = 0

    @property
    def subsystems(self) -> frozenset[str] | None:
        """The subsystems that a look at sysfs is about; None for all."""
        return self._query.subsystems

    @property
    def known(self) -> Mapping[bytes, bytes]:
        """The devices that are known, for a look at sysfs to see whether they are there."""
        return self._picture.subsystems

    def read(self, bursts: Sequence[Burst]) -> list[UeventItem]:
        """What of the datagrams is to be handed out."""
        items: list[UeventItem] = []
        wanted, fits = self._wanted, self._query.fits
        read, news = self._source.read, self._picture.news
        event = None
        for sender, texts in bursts:
            origin = self._origin_of(sender)
            if isinstance(origin, str):
                self._rejected[origin] += len(texts)
                continue
            for text in texts:
                told = read(text, origin)
                if isinstance(told, str):
                    self._rejected[told] += 1
                    continue
                event = told
                action, path, subsystem, _ = event._head
                if wanted is not None and subsystem not in wanted:
                    if action == b"move" and origin is not Origin.INJECTED:
                        self._picture.move_below(event.old_devpath, path)
                    continue
                # What is injected tells of devices that need not be here, and is told as it is.
                if action in PICTURED and origin is not Origin.INJECTED:
                    fresh = news(event)
                    if not fresh:
                        self.duplicates += 1
                    items += fresh if fits is None else [one for one in fresh if fits(one)]
                elif fits is None or fits(event):
                    items.append(event)
        if event is not None:
            self.last_seqnum = event.seqnum
        self.delivered += len(items)
        return items

    def begin(self, look: Look) -> Telling:
        """What is to be told of the look that was made behind the subscription.

        Drivers, modules and the like are no devices: nobody wants to be told that they are here
        who did not ask for them by name.
        """
        silent = {
            path
            for path, sighting in look.sightings.items()
            if not self._query.coldplug or not (self.subsystems is not None or sighting.is_device)
        }
        return self._compared(look, Origin.COLDPLUG, silent)

    def resync(self, look: Look) -> Telling:
        """What is to be told of a look that was made behind an overrun."""
        telling = self._compared(look, Origin.RESYNC, frozenset())
        resynced = Resynced(added=len(telling.items) - telling.removed, removed=telling.removed)
        return attrs.evolve(telling, items=[*telling.items, resynced])

    def adopt(self, telling: Telling, is_beginning: bool) -> list[UeventItem]:
        """Know from now on what is told; the items to hand out."""
        self._picture.adopt(telling.comparison, tells=self._query.coldplug or not is_beginning)
        self.delivered += len(telling.items)
        return telling.items

    def _origin_of(self, sender: Sender) -> Origin | str:
        """What the events of a sender are, or why it is not to be believed."""
        from_kernel = self._source.from_kernel
        if reason := reject_multicast(sender, self._mask, from_kernel, self._roots):
            return reason
        if not from_kernel:
            return Origin.UDEV
        if sender.credentials is not None and sender.credentials.pid == 0:
            return Origin.KERNEL
        return "injected" if self._query.strict else Origin.INJECTED

    def _compared(self, look: Look, origin: Origin, silent: Collection[bytes]) -> Telling:
        """A look beside the picture, and what of the difference is wanted."""
        if not self._source.from_kernel:
            # udevd passes events on when it has done with them: numbers say nothing of a look.
            look = attrs.evolve(look, seqnum=0)
        comparison = self._picture.compare(look, partial(_event, origin), silent)
        fits = self._query.fits
        removed = [one for one in comparison.removed if fits is None or fits(one)]
        added = [one for one in comparison.added if fits is None or fits(one)]
        return Telling([*removed, *added], len(removed), comparison)


def _event(origin: Origin, path: bytes, sighting: Sighting) -> Uevent:
    """The event that would have told of what was seen.

    The first of a name counts, and none that an event alone has: a device that says of itself what
    has line ends in it can write lines here (see ``protocol.sighting``: identity_in).
    """
    said: dict[bytes, bytes] = {}
    for line in sighting.uevent.split(b"\n"):
        name, is_one, value = line.partition(b"=")
        if name and is_one and name not in MADE_ANEW:
            said.setdefault(name, value)
    return made(b"add", path, sighting.subsystem or b"", said.items(), origin)
