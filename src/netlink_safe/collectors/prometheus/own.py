"""NetlinkSelfCollector: what the library's own sockets and outboxes have seen, for a registry.

It asks the kernel what is queued at sockets that are open, and waits for nothing.

May call ``transport.census``, ``protocol`` and ``errors``.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, ClassVar, Final

from netlink_safe.collectors.prometheus.definitions import Families, counter, gauge
from netlink_safe.collectors.prometheus.places import OTHER, Places
from netlink_safe.protocol.backlog import REASONS
from netlink_safe.protocol.deadline import checked_timeout
from netlink_safe.transport.census import census

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prometheus_client.metrics_core import Metric

    from netlink_safe.transport.census import Census, OpenSocket

PREFIX: Final = "netlink_safe_"
#: By the name of a tally's count, what it means.
COUNTS: Final = {
    "datagrams": "Datagrams received, whether believed or not.",
    "drops": "Datagrams that the kernel dropped since a receive buffer was full.",
    "overruns": "Times that an overrun was noticed.",
    "resyncs": "Looks that told listeners what an overrun hid.",
    "timeouts": "Operations and receives that ended at their deadline.",
    "retries": "Attempts that were made again.",
    "interrupted": "Dumps during which the kernel's table changed.",
}
#: By the name of an outbox's figure, summed up over those that are open.
FIGURES: Final = {
    "capacity": "How many messages the open outboxes hold at most.",
    "held": "How many messages they hold.",
}
TOTALS: Final = {
    "posted": "Messages that were posted.",
    "sent": "Messages that were sent.",
    "refused": "Posts that raised OutboxFull.",
}
DROPPED: Final = ("oldest", "newest")
DEFINITIONS: Final = (
    gauge(PREFIX + "open_sockets", "Kernel sockets that are open.", "kind"),
    gauge(
        PREFIX + "socket_receive_buffer_bytes",
        "The effective receive buffer of each open socket.",
        "kind",
        "port_id",
    ),
    gauge(
        PREFIX + "socket_receive_queue_bytes",
        "What of it is taken by datagrams not yet received.",
        "kind",
        "port_id",
    ),
    *(counter(f"{PREFIX}socket_{name}", meaning, "kind") for name, meaning in COUNTS.items()),
    counter(PREFIX + "socket_rejected", "Datagrams not believed, by reason.", "kind", "reason"),
    gauge(PREFIX + "open_outboxes", "Outboxes that are open."),
    *(gauge(f"{PREFIX}outbox_{name}", meaning) for name, meaning in FIGURES.items()),
    gauge(PREFIX + "outbox_oldest_age_seconds", "How long the oldest message is held by now."),
    *(counter(f"{PREFIX}outbox_{name}", meaning) for name, meaning in TOTALS.items()),
    counter(PREFIX + "outbox_dropped", "Messages that a full outbox dropped.", "which"),
    counter(PREFIX + "outbox_undelivered", "Messages that were given up, by reason.", "reason"),
)


class NetlinkSelfCollector:
    """The library's own sockets and outboxes in this process; register it, or call ``collect``.

    It opens nothing and waits for nothing.  What was counted stays counted when a socket is closed.
    Any thread may call it.
    """

    #: So many sockets have series of their own; of all others there is the sum, by kind.
    SOCKETS: ClassVar[int] = 100

    def __init__(self) -> None:
        self._places: Places[tuple[str, int]] = Places(self.SOCKETS)

    def describe(self) -> list[Metric]:
        """Every family that there may be, without a sample."""
        return Families(DEFINITIONS).described()

    def collect(self, timeout: float | None = None) -> list[Metric]:
        """The families that have samples now.

        It takes no time that ``timeout``, in seconds as of other collectors, could limit.
        Raises LocalProtocolError for one that is none.
        """
        if timeout is not None:
            checked_timeout(timeout)
        families = Families(DEFINITIONS)
        now = census()
        self._tell_sockets(now.sockets, families)
        _tell_counts(now, families)
        _tell_outboxes(now, families)
        return families.filled()

    def _tell_sockets(self, sockets: Sequence[OpenSocket], families: Families) -> None:
        """Those of several namespaces may have the same port ID, and are told as one."""
        sizes: Counter[tuple[str, int]] = Counter()
        for each in sockets:
            sizes[each.kind, each.port_id] += each.queued
        placed = self._places.assign(sizes)
        buffers: Counter[tuple[str, str]] = Counter()
        queues: Counter[tuple[str, str]] = Counter()
        for each in sockets:
            is_placed = (each.kind, each.port_id) in placed
            labels: tuple[str, str] = each.kind, str(each.port_id) if is_placed else OTHER
            buffers[labels] += each.receive_buffer
            queues[labels] += each.queued
        for labels, size in buffers.items():
            families.add(PREFIX + "socket_receive_buffer_bytes", labels, size)
            families.add(PREFIX + "socket_receive_queue_bytes", labels, queues[labels])


def _tell_counts(now: Census, families: Families) -> None:
    open_sockets = Counter(each.kind for each in now.sockets)
    for kind, tally in now.tallies.items():
        families.add(PREFIX + "open_sockets", (kind,), open_sockets[kind])
        for name in COUNTS:
            families.add(f"{PREFIX}socket_{name}", (kind,), getattr(tally, name))
        for reason, count in sorted(tally.rejected.items()):
            families.add(PREFIX + "socket_rejected", (kind, reason), count)


def _tell_outboxes(now: Census, families: Families) -> None:
    prefix = PREFIX + "outbox_"
    outboxes, totals = now.outboxes, now.outbox_totals
    families.add(PREFIX + "open_outboxes", (), len(outboxes))
    for name in FIGURES:
        families.add(prefix + name, (), sum(getattr(each, name) for each in outboxes))
    ages = [each.oldest_age for each in outboxes if each.oldest_age is not None]
    if ages:
        families.add(prefix + "oldest_age_seconds", (), max(ages))
    for name in TOTALS:
        families.add(prefix + name, (), getattr(totals, name))
    for which in DROPPED:
        families.add(prefix + "dropped", (which,), totals.dropped[which])
    for reason in REASONS:
        families.add(prefix + "undelivered", (reason,), totals.undelivered[reason])
