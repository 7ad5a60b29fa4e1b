"""TcpStats on a terminal, again and again, with what changed and how fast.

May call ``collectors.tcpstat``, ``cli.tcpstat_text`` and rich.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from netlink_safe.cli import tcpstat_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from netlink_safe.collectors.tcpstat import TcpStats


def show(samples: Iterable[TcpStats]) -> None:
    """Draw each sample over the last, until interrupted."""
    previous: TcpStats | None = None
    with Live(auto_refresh=False) as live:
        for stats in samples:
            live.update(drawn(stats, previous), refresh=True)
            previous = stats


def drawn(stats: TcpStats, previous: TcpStats | None) -> Group:
    """One sample, beside the one before."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("STATE")
    for name in [*tcpstat_text.columns(stats), "CHANGE", "PER SECOND"]:
        table.add_column(name, justify="right")
    for state in tcpstat_text.shown(stats):
        total = stats.states[state]
        change = total - previous.states.get(state, 0) if previous else 0
        seconds = stats.taken_at - previous.taken_at if previous else 0.0
        rate = f"{change / seconds:+.1f}" if change and seconds > 0 else ""
        style = "green" if change > 0 else "red" if change < 0 else "" if total else "dim"
        counts = [*tcpstat_text.by_family(stats, state), total]
        table.add_row(
            state.name, *map(str, counts), f"{change:+d}" if change else "", rate, style=style
        )
    queues = "\n".join(tcpstat_text.queues(stats))
    return Group(Text(tcpstat_text.heading(stats)), Text(), table, Text(), Text(queues))
