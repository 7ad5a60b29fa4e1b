"""Draws tcpstat.svg: what ``netlink-safe tcpstat --watch 2`` shows of a busy web server.

The sockets are those of a scripted kernel, so that the picture is the same wherever it is drawn;
the looks, the table and its colours are the command's own, and the export is rich's.

    python docs/pictures/tcpstat.py
"""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
from rich.console import Console

from netlink_safe.cli.tcpstat_live import drawn
from netlink_safe.collectors.tcpstat import collect_blocking
from netlink_safe.testing import ScriptedKernel, TcpFigure

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from netlink_safe.collectors.tcpstat import TcpStats

PICTURE: Final = Path(__file__).with_name("tcpstat.svg")
TITLE: Final = "netlink-safe tcpstat --watch 2"
SECONDS: Final = 2.0
#: The export asks for a font that lies elsewhere; any of fixed width will do.
FONT: Final = re.compile(r"^ *@font-face \{.*?\}\n", re.MULTILINE | re.DOTALL)
#: How many sockets are in which state, IPv4 and IPv6, at one look and at the next.
BEFORE: Final = {
    "established": (1204, 310),
    "syn_recv": (9, 2),
    "fin_wait2": (31, 4),
    "time_wait": (842, 96),
    "close_wait": (3, 0),
}
AFTER: Final = {
    "established": (1251, 314),
    "syn_recv": (4, 2),
    "fin_wait2": (27, 4),
    "time_wait": (873, 91),
    "close_wait": (3, 0),
}


def figures(states: Mapping[str, tuple[int, int]]) -> Iterator[TcpFigure]:
    """The sockets of a web server, and two listeners of which one lets connections wait."""
    for state, counts in states.items():
        for number in range(counts[0]):
            peer = ("192.0.2.7", 1024 + number)
            queued = 1448 * (number % 40 == 0)
            yield TcpFigure(
                state=state, source=("192.0.2.1", 443), destination=peer, send_queue=queued
            )
        for number in range(counts[1]):
            peer = ("2001:db8::7", 1024 + number)
            yield TcpFigure(state=state, source=("2001:db8::1", 443), destination=peer)
    yield TcpFigure(state="listen", source=("192.0.2.1", 443), receive_queue=0, send_queue=4096)
    yield TcpFigure(state="listen", source=("127.0.0.1", 8080), receive_queue=97, send_queue=128)


def look(states: Mapping[str, tuple[int, int]], taken_at: float) -> TcpStats:
    """What the collector makes of them, at a time that is said."""
    with ScriptedKernel() as kernel:
        kernel.tcp(*figures(states))
        return attrs.evolve(collect_blocking(), taken_at=taken_at, elapsed_seconds=0.0042)


def picture() -> str:
    """The second look, with what has changed since the first, as SVG."""
    console = Console(
        record=True, width=72, file=io.StringIO(), force_terminal=True, color_system="truecolor"
    )
    console.print(drawn(look(AFTER, SECONDS), look(BEFORE, 0.0)))
    return FONT.sub("", console.export_svg(title=TITLE, unique_id="tcpstat"))


if __name__ == "__main__":
    PICTURE.write_text(picture(), "utf-8")
