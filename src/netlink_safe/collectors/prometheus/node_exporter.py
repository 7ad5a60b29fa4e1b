"""Looks at TCP sockets told as node_exporter's tcpstat collector does, so that dashboards go on.

It leaves out the states that nobody is in, and publishes bytes as if they were states; a listener's
accept queue, and its limit, are among them (its ``collector/tcpstat_linux.go``: parseTCPStats).

May call ``collectors``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from netlink_safe.collectors.prometheus.definitions import gauge
from netlink_safe.collectors.tcp_stats import named

if TYPE_CHECKING:
    from netlink_safe.collectors.prometheus.definitions import Families
    from netlink_safe.collectors.prometheus.looks import Sight
    from netlink_safe.protocol.deadline import Deadline

NAME: Final = "node_tcp_connection_states"
DEFINITIONS: Final = (gauge(NAME, "Number of connection states.", "state"),)


class Teller:
    """Has nothing to remember."""

    ports: frozenset[int] = frozenset()

    def prepare(self, sight: Sight, deadline: Deadline) -> None:
        """Nothing takes time."""

    def tell(self, sight: Sight, families: Families, common: list[str]) -> None:
        """Add all samples of a sight; without queues where the method knows none."""
        stats = sight.stats
        counts = {state: count for state, count in named(stats.states).items() if count}
        receive, transmit = stats.receive_queue_bytes, stats.transmit_queue_bytes
        if counts and receive is not None and transmit is not None:
            queues = stats.accept_queues.values()
            counts["rx_queued_bytes"] = receive + sum(queue.length for queue in queues)
            counts["tx_queued_bytes"] = transmit + sum(queue.limit for queue in queues)
        for state, count in sorted(counts.items()):
            families.add(NAME, [*common, state], count)
