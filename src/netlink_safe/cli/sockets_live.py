"""Sockets on a terminal, again and again, with those marked that have come.

May call ``cli.sockets_found``, ``cli.sockets_text``, ``cli.tables`` and rich.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from netlink_safe.cli import sockets_text
from netlink_safe.cli.sockets_found import identity
from netlink_safe.cli.tables import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from rich.console import JustifyMethod

    from netlink_safe.cli.sockets_found import Found


_WHOLE: Final = frozenset({"KIND", "STATE", "RECV-Q", "SEND-Q"})
#: Lines around the list.
_AROUND: Final = 4
#: Room for an IPv4 address and a port.
_LEAST: Final = 21


def show(
    looks: Iterable[Found], names: Callable[[Found], Mapping[int, str]], with_info: bool
) -> None:
    """Draw each look over the last, until interrupted."""
    known: set[object] | None = None
    with Live(auto_refresh=False, screen=False) as live:
        for found in looks:
            room = max(live.console.height - _AROUND, 1)
            live.update(drawn(found, names(found), known, with_info, room), refresh=True)
            known = {identity(one) for one in found.sockets}


def drawn(
    found: Found,
    interfaces: Mapping[int, str],
    known: set[object] | None,
    with_info: bool,
    room: int,
) -> Group:
    """One look, beside the one before: as many lines as there is room for, first what came.

    What is not seen is not laid out, or thousands of sockets would take seconds.
    """
    with_processes = any(one.processes is not None for one in found.sockets)
    is_new = [known is not None and identity(one) not in known for one in found.sockets]
    order = sorted(range(len(is_new)), key=lambda at: not is_new[at])[:room]
    lines = [
        [
            printable(str(cell))
            for cell in sockets_text.cells(found.sockets[at], interfaces, with_processes, with_info)
        ]
        for at in order
    ]
    drawing = Table(box=None, pad_edge=False, header_style="bold")
    for at, name in enumerate(sockets_text.heading(with_processes, with_info)):
        justify: JustifyMethod = "right" if name.endswith("-Q") else "left"
        widest = max(len(name), *(len(line[at]) for line in lines)) if lines else len(name)
        # Only what is long by nature gives way where the terminal is narrow.
        least = widest if name in _WHOLE else min(widest, _LEAST)
        drawing.add_column(
            name, justify=justify, no_wrap=True, overflow="ellipsis", min_width=least
        )
    for at, line in zip(order, lines, strict=True):
        drawing.add_row(*map(Text, line), style="green" if is_new[at] else "")
    clock = time.strftime("%H:%M:%S", time.localtime(found.taken_at))
    more = len(found.sockets) - len(order)
    shown = f", {more:,} of which there is no room for" if more else ""
    return Group(Text(f"{clock}  {len(found.sockets):,} sockets{shown}"), Text(), drawing)
