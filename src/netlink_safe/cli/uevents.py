"""``netlink-safe uevents``: what the kernel says of its devices, as it says it.

May call ``blocking.uevents``, ``cli.heard``, ``cli.options``, ``cli.uevents_text`` and
``families``.
"""

from __future__ import annotations

import json
import os
import sys
from itertools import count as counting
from typing import TYPE_CHECKING, Any, Final, get_args

import click

from netlink_safe.blocking.uevents import open_uevents
from netlink_safe.cli import heard, options, uevents_text
from netlink_safe.families.uevent import Uevent
from netlink_safe.families.uevents import Source

if TYPE_CHECKING:
    from netlink_safe.families.uevents import UeventItem

#: systemd-udevd's own socket, there while it runs.
UDEVD: Final = "/run/udev/control"


@click.command(short_help="Show devices that come, go and change.")
@heard.as_json
@click.option("--subsystem", multiple=True, metavar="NAME", help="Only these; several are or.")
@click.option("--devtype", multiple=True, metavar="NAME", help="Only these; several are or.")
@click.option("--action", multiple=True, metavar="NAME", help="Only these; several are or.")
@click.option("--coldplug", is_flag=True, help="Begin with the devices that are there.")
@heard.count_of("events")
@heard.for_seconds
@click.option(
    "--source",
    type=click.Choice(get_args(Source)),
    default="kernel",
    show_default=True,
    help="Whom to hear: the kernel, or udevd after its rules have run.",
)
@click.option("--strict", is_flag=True, help="Reject events that a process had the kernel send.")
@options.netns
def command(
    as_json: bool,
    subsystem: tuple[str, ...],
    devtype: tuple[str, ...],
    action: tuple[str, ...],
    coldplug: bool,
    count: int | None,
    seconds: float | None,
    source: Source,
    strict: bool,
    netns: str | int | None,
) -> None:
    """Show what the kernel says of its devices, until interrupted.

    Where events were lost it says how many, and then what a look at sysfs showed to have happened
    meanwhile.
    """
    if source == "udev" and not os.path.exists(UDEVD):
        click.echo(f"netlink-safe: no udevd runs here ({UDEVD} is not there)", err=True)
    with open_uevents(
        subsystem=subsystem or None,
        devtype=devtype or None,
        action=action or None,
        coldplug=coldplug,
        source=source,
        strict=strict,
        netns=netns,
    ) as events:
        show = _show_json if as_json else uevents_text.Lines(sys.stdout.isatty()).show
        shown = counting(1)
        for item in heard.items(events, seconds):
            show(item)
            if isinstance(item, Uevent) and next(shown) == count:
                break


def _show_json(item: UeventItem) -> None:
    click.echo(json.dumps(as_dict(item)))


def as_dict(item: UeventItem) -> dict[str, Any]:
    """One item as plain data; ``kind`` says which it is."""
    if isinstance(item, Uevent):
        plain = ("action", "devpath", "subsystem", "devtype", "devname", "driver")
        return {
            "kind": "uevent",
            **{name: getattr(item, name) for name in plain},
            "major": item.major,
            "minor": item.minor,
            "seqnum": item.seqnum,
            "origin": str(item.origin),
            "properties": dict(item.properties),
        }
    fields = {name: getattr(item, name) for name in type(item).__slots__ if name[0] != "_"}
    return {"kind": type(item).__name__.lower(), **fields}
