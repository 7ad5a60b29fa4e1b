"""Looks at TCP sockets told as metrics, under the library's own names.

May call ``collectors``, ``families`` and ``transport.cgroups``.
"""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final, Protocol

from prometheus_client.utils import floatToGoString

from netlink_safe.collectors.proc_net import numbers
from netlink_safe.collectors.prometheus.definitions import counter, gauge, gauge_histogram
from netlink_safe.collectors.prometheus.places import OTHER, Places, by_label
from netlink_safe.collectors.tcp_detail import SCALES
from netlink_safe.families.inet_diag import TcpState
from netlink_safe.transport.cgroups import CgroupPaths

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from netlink_safe.collectors.prometheus.definitions import Definition, Families
    from netlink_safe.collectors.prometheus.looks import Sight
    from netlink_safe.collectors.tcp_detail import DetailFold, Dimension, Tally, Value
    from netlink_safe.collectors.tcp_fold import AcceptQueues
    from netlink_safe.collectors.tcp_stats import Method
    from netlink_safe.protocol.deadline import Deadline

PREFIX: Final = "netlink_safe_tcp_"
#: The files of /proc/net that the kernel's counters are in.
FILES: Final = ("snmp", "netstat")
#: By file and prefix of its lines: a metric, the numbers that are added up for it, its meaning.
KERNEL_COUNTERS: Final[dict[tuple[str, str], tuple[tuple[str, tuple[str, ...], str], ...]]] = {
    ("snmp", "Tcp:"): (
        ("segments_sent", ("OutSegs",), "Segments sent, retransmissions included."),
        ("segments_retransmitted", ("RetransSegs",), "Segments sent once more."),
    ),
    ("netstat", "TcpExt:"): (
        (
            "listen_overflows",
            ("ListenOverflows",),
            "Connections that found an accept queue full.",
        ),
        (
            "syn_queue_overflows",
            ("TCPReqQFullDrop", "TCPReqQFullDoCookies"),
            "SYNs that found the SYN backlog full, dropped or answered with a cookie.",
        ),
    ),
}
#: What only a dump of all rows tells.
QUEUES: Final = (
    gauge(PREFIX + "receive_queue_bytes", "Bytes received and not yet read."),
    gauge(PREFIX + "transmit_queue_bytes", "Bytes sent and not yet acknowledged."),
)
COUNTS: Final = (
    gauge(PREFIX + "sockets", "Sockets by address family and state.", "family", "state"),
    gauge(
        PREFIX + "accept_queue_length",
        "Connections that wait to be accepted, by the port of their listeners.",
        "port",
    ),
    gauge(PREFIX + "accept_queue_limit", "How many connections may wait there.", "port"),
    gauge(
        PREFIX + "accept_queue_fill_ratio",
        "Length by limit of the port's fullest listener; above 1 new connections are dropped.",
        "port",
    ),
    *(
        counter(PREFIX + name, meaning)
        for counters in KERNEL_COUNTERS.values()
        for name, _, meaning in counters
    ),
)
MEANINGS: Final = {
    "smoothed_rtt_seconds": "Smoothed round-trip times of the connections that are open.",
    "retransmitted_segments": "Segments that each open connection has sent once more.",
    "sent_bytes": "Bytes that each open connection has sent, retransmissions included.",
    "received_bytes": "Bytes that each open connection has received.",
    "delivery_rate_bytes_per_second": "The latest delivery rate of each open connection.",
}
BY: Final[dict[Dimension, str]] = {
    "port": "local port, if somebody listens there",
    "uid": "the user ID of their owner",
    "cgroup": "the cgroup of their owner",
}
#: The label of sockets that have no value: nobody listens there, or nobody owns them.
NO_VALUE: Final[dict[Dimension, str]] = {"port": OTHER, "uid": "none", "cgroup": "none"}
#: Beyond what is measured there is no bound.
INFINITE: Final = "+Inf"
BOTH: Final = "both"


def definitions(
    method: Method, info: bool, dimensions: Sequence[Dimension]
) -> tuple[Definition, ...]:
    """The metrics that there may be."""
    by = tuple(
        gauge(f"{PREFIX}sockets_by_{each}", f"Sockets by state and {BY[each]}.", each, "state")
        for each in dimensions
    )
    histograms = tuple(
        gauge_histogram(PREFIX + scale.name + suffix, MEANINGS[scale.name], *label)
        for suffix, label in (("", ()), *((f"_by_{each}", (each,)) for each in dimensions))
        for scale in SCALES
        if info
    )
    return (*COUNTS, *(QUEUES if method == "dump" else ()), *by, *histograms)


class Add(Protocol):
    """Adds a sample to a metric of TCP sockets, by the name behind the prefix."""

    def __call__(self, name: str, labels: Sequence[str], /, *numbers: Any) -> None: ...


class Teller:
    """Tells the looks into one namespace, and remembers who has a place among its label values."""

    def __init__(self, limit: int, info: bool) -> None:
        self._listening: Places[int] = Places(limit)
        self._info = info
        self._places: dict[Dimension, Places[int]] = {each: Places(limit) for each in BY}
        self._cgroups = CgroupPaths()

    @property
    def ports(self) -> frozenset[int]:
        """The local ports that have a place."""
        return self._places["port"].held

    def prepare(self, sight: Sight, deadline: Deadline) -> None:
        """Find the paths of cgroups."""
        if sight.detail is not None and "cgroup" in sight.detail.tallies:
            numbers = [each for each in sight.detail.tallies["cgroup"] if each is not None]
            self._cgroups.look_for(numbers, deadline)

    def tell(self, sight: Sight, families: Families, common: list[str]) -> None:
        """Add all samples of a sight, with the values of the labels that all metrics have."""

        def add(name: str, labels: Sequence[str], /, *values: Any) -> None:
            families.add(PREFIX + name, [*common, *labels], *values)

        stats = sight.stats
        by_family = {BOTH: stats.states} if stats.families is None else stats.families
        for family, states in by_family.items():
            for state, count in states.items():
                if count or state <= TcpState.CLOSING:  # no socket is in those behind it
                    add("sockets", (str(family), state.name.lower()), count)
        if stats.receive_queue_bytes is not None:
            add("receive_queue_bytes", (), stats.receive_queue_bytes)
            add("transmit_queue_bytes", (), stats.transmit_queue_bytes)
        self._tell_accept_queues(stats.accept_queues, add)
        for (file, prefix), counters in KERNEL_COUNTERS.items():
            there = numbers(sight.texts[file], prefix)
            for name, wanted, _ in counters:
                if present := [there[each] for each in wanted if each in there]:
                    add(name, (), sum(present))
        if sight.detail is not None:
            self._tell_detail(sight.detail, add)

    def _tell_accept_queues(self, queues: Mapping[int, AcceptQueues], add: Add) -> None:
        sizes = {port: (queue.fill, queue.length) for port, queue in queues.items()}
        labels = {port: str(port) for port in self._listening.assign(sizes)}
        for label, queue in by_label(queues, labels).items():
            add("accept_queue_length", (label,), queue.length)
            add("accept_queue_limit", (label,), queue.limit)
            add("accept_queue_fill_ratio", (label,), queue.fill)

    def _tell_detail(self, detail: DetailFold, add: Add) -> None:
        if self._info:
            _tell_histograms("", (), detail.total, add)
        for dimension, tallies in detail.tallies.items():
            labels = self._labels(dimension, tallies)
            for label, tally in by_label(tallies, labels).items():
                for state, count in sorted(tally.states.items()):
                    add(f"sockets_by_{dimension}", (label, TcpState(state).name.lower()), count)
                if self._info:
                    _tell_histograms(f"_by_{dimension}", (label,), tally, add)

    def _labels(self, dimension: Dimension, tallies: Mapping[Value, Tally]) -> dict[Value, str]:
        """The labels of the values that have a place, and of having none."""
        places = self._places[dimension]
        placed = places.assign(
            {value: tally.sockets for value, tally in tallies.items() if value is not None}
        )
        labels: dict[Value, str] = {value: str(value) for value in placed}
        if dimension == "cgroup":
            labels = {value: self._cgroups.path(value) or f"id:{value}" for value in placed}
        return labels | {None: NO_VALUE[dimension]}


def _tell_histograms(suffix: str, labels: Sequence[str], tally: Tally, add: Add) -> None:
    for scale, histogram in zip(SCALES, tally.histograms, strict=True):
        bounds = [*map(floatToGoString, scale.bounds), INFINITE]
        buckets = list(zip(bounds, accumulate(histogram.counts), strict=True))
        add(scale.name + suffix, labels, buckets, histogram.total / scale.per_unit)
