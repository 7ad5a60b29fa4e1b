"""Uevents as lines for people.

May call ``families.uevent``, ``protocol.notices`` and ``cli.tables``.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import click

from netlink_safe.cli.tables import printable
from netlink_safe.families.uevent import Uevent
from netlink_safe.protocol.notices import Overrun

if TYPE_CHECKING:
    from netlink_safe.families.uevents import UeventItem
    from netlink_safe.protocol.notices import Resynced

_LINE: Final = "{:<12}  {:<8}  {:<10}  {:<14}  {:<8}  {}"
HEADING: Final = _LINE.format("TIME", "ACTION", "SUBSYSTEM", "DEVTYPE", "ORIGIN", "DEVPATH")
_COLOURS: Final = {"add": "green", "bind": "green", "remove": "red", "unbind": "red"}


class Lines:
    """A heading, at once, and a line for each item below it; coloured on a terminal."""

    def __init__(self, coloured: bool) -> None:
        self._coloured = coloured
        self._print(HEADING, bold=True)

    def show(self, item: UeventItem) -> None:
        """Print it."""
        if isinstance(item, Uevent):
            self._print(line(item), fg=_COLOURS.get(item.action))
        else:
            self._print(notice(item), fg="yellow")

    def _print(self, text: str, *, fg: str | None = None, bold: bool = False) -> None:
        click.secho(text, fg=fg, bold=bold or None, color=self._coloured)


def line(event: Uevent) -> str:
    """One event."""
    now = time.time()
    clock = f"{time.strftime('%H:%M:%S', time.localtime(now))}.{int(now * 1000) % 1000:03}"
    texts = (event.action, event.subsystem, event.devtype or "", str(event.origin), event.devpath)
    return _LINE.format(clock, *map(printable, texts))


def notice(item: Overrun | Resynced) -> str:
    """What the stream says of itself."""
    if isinstance(item, Overrun):
        then = f"; no look at sysfs: {item.unresynced}" if item.unresynced else ""
        return f"--- {item.drops} events were lost, the receive buffer overran{then}"
    return f"--- what they hid: {item.removed} removed, {item.added} added; all is known again"
