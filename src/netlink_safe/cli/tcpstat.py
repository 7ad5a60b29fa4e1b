"""``netlink-safe tcpstat``: TCP sockets by state, once or again and again.

May call ``collectors.tcpstat``, ``cli.options``, ``cli.tcpstat_text``, ``cli.tcpstat_live`` and
``errors``.
"""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Final

import click

from netlink_safe.cli import options, tcpstat_text
from netlink_safe.collectors.tcpstat import TcpStats, collect_blocking
from netlink_safe.errors import InconsistentError, NetlinkTimeout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from netlink_safe.collectors.tcpstat import Method

#: What ends one sample of a watch, and not the watch.
PASSING: Final = (NetlinkTimeout, InconsistentError)


@click.command(short_help="Count TCP sockets by state.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with --watch an object a line.")
@options.method
@click.option(
    "--family",
    "families",
    type=click.Choice(["inet", "inet6"]),
    multiple=True,
    help="Only this address family; may be given twice.",
)
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
        for stats in _samples(look, watch):
            click.echo(json.dumps(stats.as_dict()))
    elif sys.stdout.isatty():
        from netlink_safe.cli.tcpstat_live import show

        show(_samples(look, watch))
    else:
        for stats in _samples(look, watch):
            click.echo(tcpstat_text.line(stats))


def _samples(look: Callable[[], TcpStats], seconds: float) -> Iterator[TcpStats]:
    """Look at a steady pace; a sample that fails for now is told and left out."""
    due = time.monotonic()
    while True:
        try:
            yield look()
        except PASSING as error:
            click.echo(f"netlink-safe: {error}", err=True)
        due += seconds
        time.sleep(max(due - time.monotonic(), 0))
        due = max(due, time.monotonic() - seconds)  # what took too long is not caught up with
