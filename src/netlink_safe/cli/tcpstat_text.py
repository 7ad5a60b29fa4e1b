"""TcpStats as plain text: a table for a person, a line for a stream.

May call ``collectors.tcpstat`` and ``families``.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from netlink_safe.families.inet_diag import TcpState

if TYPE_CHECKING:
    from netlink_safe.collectors.tcpstat import TcpStats


def shown(stats: TcpStats) -> list[TcpState]:
    """The states worth a row: all but those that are 0 by construction."""
    return [state for state, count in stats.states.items() if count or state <= TcpState.CLOSING]


def by_family(stats: TcpStats, state: TcpState) -> list[int]:
    """The counts of one state, by family; none where the method cannot know."""
    return [counts.get(state, 0) for counts in (stats.families or {}).values()]


def columns(stats: TcpStats) -> list[str]:
    """The names of the columns of counts."""
    return [*(str(family).upper() for family in stats.families or ()), "TOTAL"]


def heading(stats: TcpStats) -> str:
    """What was looked at, and how long that took."""
    where = "" if stats.netns is None else f" in network namespace {stats.netns}"
    return f"TCP sockets{where}, by {stats.method}, in {stats.elapsed_seconds * 1000:.1f} ms"


def queues(stats: TcpStats) -> list[str]:
    """The queues, a line each; none where the method cannot know."""
    if stats.accept_queue_length is None:
        return []
    accept = f"accept queues   {stats.accept_queue_length} of {stats.accept_queue_limit}"
    if stats.fullest is not None:
        fullest = stats.fullest
        accept += (
            f", fullest {fullest.address} port {fullest.port}: {fullest.length} of {fullest.limit}"
        )
    return [
        f"receive queues  {stats.receive_queue_bytes} bytes",
        f"transmit queues {stats.transmit_queue_bytes} bytes",
        accept,
    ]


def table(stats: TcpStats) -> str:
    """A table that a person reads."""
    rows = [["STATE", *columns(stats)]]
    for state in shown(stats):
        counts = [*by_family(stats, state), stats.states[state]]
        rows.append([state.name, *map(str, counts)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    form = "  ".join([f"{{:<{widths[0]}}}", *(f"{{:>{width}}}" for width in widths[1:])])
    lines = [form.format(*row) for row in rows]
    return "\n".join([heading(stats), "", *lines, *([""] if queues(stats) else []), *queues(stats)])


def line(stats: TcpStats) -> str:
    """One line of a stream: the time in UTC, then name=number for every state."""
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(stats.taken_at))
    return " ".join([when, *(f"{s.name.lower()}={stats.states[s]}" for s in shown(stats))])
