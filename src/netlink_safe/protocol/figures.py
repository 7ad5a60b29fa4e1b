"""What listeners, senders and outboxes tell of what they have counted.

Apart from ``protocol.statistics``, so that who only asks does not load it.

May call nothing of the library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping


@attrs.frozen(slots=True)
class UeventStatistics:
    """What a listener has heard since it was opened.

    ``receive_buffer`` is the effective size in bytes that the kernel reports (twice what was asked
    for, unless ``net.core.rmem_max`` clamped it, ``net/core/sock.c``: sock_setsockopt), 0 before
    the opening; ``requested_receive_buffer`` what setsockopt was given, ``queued`` the bytes that
    are taken now.  ``drops`` is the kernel's own count of datagrams (SO_MEMINFO).
    ``datagrams`` were received, whether believed or not; ``rejected`` counts by reason those that
    were not, ``duplicates`` what was known already.
    ``events`` are the items that were read out of them and of looks at sysfs, to be handed out.
    ``overruns`` counts losses that were noticed, however many datagrams each was of; ``resyncs``
    looks behind one that told what it hid; ``timeouts`` receives, iterations and looks that ended
    at their deadline.
    ``last_seqnum`` is of the last event that was believed, None where it had none and before the
    first; numbers are the whole machine's, and a gap means nothing.
    """

    receive_buffer: int
    requested_receive_buffer: int
    queued: int
    drops: int
    datagrams: int
    events: int
    rejected: Mapping[str, int]
    duplicates: int
    overruns: int
    resyncs: int
    timeouts: int
    last_seqnum: int | None


@attrs.frozen(slots=True)
class NotificationStatistics:
    """What a subscription, to a generic family or to sockets that close, has heard so far.

    Sizes, in bytes, and counts are as in UeventStatistics; ``resyncs`` are dumps behind a loss, and
    ``datagrams`` has those of dumps, too.
    ``items`` are those that were read out of notifications and of dumps, to be handed out.
    """

    receive_buffer: int
    requested_receive_buffer: int
    queued: int
    drops: int
    datagrams: int
    items: int
    rejected: Mapping[str, int]
    duplicates: int
    overruns: int
    resyncs: int
    timeouts: int


@attrs.frozen(slots=True)
class UserStatistics:
    """What a socket for messages between processes has seen since it was opened.

    Sizes, in bytes, and ``drops`` are as in UeventStatistics; ``datagrams`` were received.
    ``overruns`` counts losses of multicasts that were noticed, each an OverrunError.
    ``sent`` counts unicasts and multicasts, ``refused`` sends that found their receiver's queue
    full, each time that they were tried, ``timeouts`` sends and receives that ended at their
    deadline.
    """

    receive_buffer: int
    requested_receive_buffer: int
    queued: int
    drops: int
    datagrams: int
    overruns: int
    sent: int
    refused: int
    timeouts: int


@attrs.frozen(slots=True)
class OutboxStatistics:
    """What became of the messages that were posted to an outbox.

    Counts are of messages; ``capacity`` is how many it may hold.
    At every moment ``posted`` is ``sent``, ``undelivered``, ``held`` and all that was ``dropped``:
    ``"oldest"`` and ``"newest"`` by what is to happen when the outbox is full.
    ``undelivered`` were given up by the pump, ``undelivered_because`` says of how many that was so:
    their ``"deadline"`` passed, there was ``"no_such_peer"``, the kernel ``"refused"`` them, or the
    outbox was ``"closed"``.
    ``refused`` are posts that raised OutboxFull, and so are not among those ``posted``.
    ``oldest_age`` is in seconds, None where nothing is held; ``full_peers`` are the port IDs that
    were full when they were last tried.
    """

    capacity: int
    posted: int
    sent: int
    dropped: Mapping[str, int]
    undelivered: int
    undelivered_because: Mapping[str, int]
    held: int
    refused: int
    oldest_age: float | None
    full_peers: tuple[int, ...]
