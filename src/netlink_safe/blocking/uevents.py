"""``open_uevents`` in blocking code.

May call ``transport``, ``families``, ``protocol`` and ``blocking.streams``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from netlink_safe.blocking.streams import Stream
from netlink_safe.families.uevents import UeventItem, uevents
from netlink_safe.protocol.figures import UeventStatistics
from netlink_safe.transport.following import Follower, Listening
from netlink_safe.transport.sightings import Sightings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from netlink_safe.families.uevent_match import MatchLike, Texts
    from netlink_safe.families.uevents import Source
    from netlink_safe.transport.namespace import NetworkNamespace


class Uevents(Stream[UeventItem]):
    """What the kernel says of its devices; see Stream for the verbs."""

    def __init__(self, follower: Follower) -> None:
        self._follower = follower
        super().__init__(follower)

    def statistics(self) -> UeventStatistics:
        """What was heard and counted since the opening."""
        reader = self._follower.reader
        return UeventStatistics(
            **self._follower.counted(),
            events=0 if reader is None else reader.delivered,
            last_seqnum=getattr(reader, "last_seqnum", None),
        )


def open_uevents(
    subsystem: Texts = None,
    devtype: Texts = None,
    action: Texts = None,
    match: MatchLike | Iterable[MatchLike] | None = None,
    coldplug: bool = False,
    source: Source = "kernel",
    strict: bool = False,
    *,
    timeout: float = 5.0,
    idle_timeout: float | None = None,
    heartbeat: float = 30.0,
    receive_buffer: int | None = None,
    netns: NetworkNamespace = None,
) -> Uevents:
    """Listen to uevents, for ``with``; iterate over Uevent, Overrun and Resynced.

    ``subsystem``, ``devtype`` and ``action`` are texts, or several of which one will do; an event
    fits them all, and, if ``match`` is given, one of its ``UeventMatch``es.
    ``match`` may be mappings of a ``UeventMatch``'s fields, too.
    ``coldplug`` begins with an ``add`` for every device that is there already.
    ``source`` is ``"kernel"``, or ``"udev"`` to hear udevd, where there is one, with the properties
    that its rules add.
    ``strict`` rejects events that a process had the kernel send.
    ``timeout``, in seconds, is for the opening, for each look at sysfs and for each ``receive()``;
    ``idle_timeout`` ends the iteration with NetlinkTimeout when nothing came for so long;
    ``heartbeat`` is how often, in seconds, an idle listener sees whether anything was lost.
    All three are above 0; ``math.inf`` is for ever.
    ``receive_buffer`` is in the bytes that setsockopt takes, from 32 KiB to just below 1 GiB, by
    default a 128th of the memory and at most 128 MiB.
    ``netns`` is a name in /run/netns, a path with a slash in it, a pid or an object with
    ``fileno()``; by default it is the calling thread's own namespace.
    Raises LocalProtocolError for nonsense, and where coldplug has no sysfs to read;
    FileNotFoundError where there is no such namespace, PermissionError without the right to enter
    it, NotSupported where the kernel has no uevents, NetlinkTimeout.
    """
    listening = Listening(
        netns=netns,
        timeout=timeout,
        heartbeat=heartbeat,
        idle_timeout=idle_timeout,
        receive_buffer=receive_buffer,
    )
    wanted = uevents(subsystem, devtype, action, match, coldplug, source, strict)
    return Uevents(Follower(Sightings(wanted, netns is not None), listening))
