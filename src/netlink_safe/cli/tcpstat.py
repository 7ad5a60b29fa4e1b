"""``netlink-safe tcpstat``: TCP sockets by state, once or again and again.

May call ``collectors.tcpstat``, ``cli.options``, ``cli.pace``, ``cli.tcpstat_text`` and
``cli.tcpstat_live``.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from netlink_safe.cli import options, tcpstat_text
from netlink_safe.cli.pace import again_and_again
from netlink_safe.collectors.tcpstat import TcpStats, collect_blocking

if TYPE_CHECKING:
    from netlink_safe.collectors.tcpstat import Method


@click.command(short_help="Count TCP sockets by state.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with --watch an object a line.")
@options.method
@options.families
@options.netns
@options.timeout
@click.option(
    "--watch",
    type=float,
    callback=options.positive,
    metavar="SECONDS",
    help="Look again every so many seconds, and show what changed.",
)
def command(
    as_json: bool,
    method: Method,
    families: tuple[str, ...],
    netns: str | int | None,
    timeout: float,
    watch: float | None,
) -> None:
    """Count TCP sockets by state, with what is queued and who lets connections wait.

    The kernel answers within --timeout, or the command says why not and ends with status 124.
    """

    def look() -> TcpStats:
        return collect_blocking(timeout, method, families or None, netns)

    if watch is None:
        stats = look()
        click.echo(json.dumps(stats.as_dict()) if as_json else tcpstat_text.table(stats))
    elif as_json:
        for stats in again_and_again(look, watch):
            click.echo(json.dumps(stats.as_dict()))
    elif sys.stdout.isatty():
        from netlink_safe.cli.tcpstat_live import show

        show(again_and_again(look, watch))
    else:
        for stats in again_and_again(look, watch):
            click.echo(tcpstat_text.line(stats))
