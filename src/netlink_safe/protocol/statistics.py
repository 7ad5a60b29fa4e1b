"""What is counted, while it is counted and as it is told.

May call nothing of the library.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping


@attrs.define(slots=True)
class Tally:
    """The running counts of one opened object.

    Threads that count at the very same moment may lose one: these are for people to look at.
    """

    datagrams: int = 0
    attempts: int = 0
    retries: int = 0
    timeouts: int = 0
    overruns: int = 0
    resyncs: int = 0
    interrupted: int = 0
    drops: int = 0
    rejected: Counter[str] = attrs.field(factory=Counter)

    def take(self, other: Tally) -> None:
        """Add what another one has counted, which may go on counting meanwhile."""
        for name in NUMBERS:
            if count := getattr(other, name):
                setattr(self, name, getattr(self, name) + count)
        if other.rejected:
            self.rejected.update(dict(other.rejected))  # a dict is copied in one call into C


#: The counts of a tally that are plain numbers.
NUMBERS: Final = tuple(each.name for each in attrs.fields(Tally) if each.name != "rejected")


@attrs.frozen(slots=True)
class SocketStatistics:
    """What an opened object has seen since it was opened.

    ``receive_buffer`` is the effective size in bytes that the kernel reports (twice what was asked
    for, unless ``net.core.rmem_max`` clamped it, ``net/core/sock.c``: sock_setsockopt), 0 before
    the opening; ``requested_receive_buffer`` what setsockopt was given.
    ``drops`` are the kernel's own counts (SO_MEMINFO) over all its sockets, of datagrams.
    ``datagrams`` were received; ``rejected`` counts by reason what was not believed: datagrams by
    ``"foreign_sender"``, messages by ``"sequence"``, ``"port_id"`` and ``"after_end"``.
    ``attempts`` counts requests that were sent, each time; ``retries`` those of them that were made
    again; ``overruns`` and ``interrupted`` those that lost datagrams, and dumps during which the
    table changed; ``timeouts`` operations that ended at their deadline.
    ``open_sockets`` is how many kernel sockets are open now.
    """

    receive_buffer: int
    requested_receive_buffer: int
    drops: int
    datagrams: int
    rejected: Mapping[str, int]
    attempts: int
    retries: int
    timeouts: int
    overruns: int
    interrupted: int
    open_sockets: int
