"""``netlink-safe doctor``: what is wrong with everyone's netlink sockets.

May call ``doctor``, ``cli.doctor_text``, ``cli.options`` and ``cli.pace``.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Final, NoReturn

import click

from netlink_safe.cli import doctor_text, options
from netlink_safe.cli.pace import again_and_again
from netlink_safe.doctor import examine_blocking

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netlink_safe.doctor import Report

#: The exit status where something severe was found.
SEVERE: Final = 1


@click.command(short_help="Say what is wrong with everyone's netlink sockets.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with --watch an object a line.")
@click.option("--pid", type=click.IntRange(min=1), help="Only what this process has to do with.")
@options.netns
@click.option(
    "--interval",
    type=float,
    default=1.0,
    show_default=True,
    callback=options.positive,
    metavar="SECONDS",
    help="Time for the looks: what has not moved in it counts as stuck.",
)
@click.option(
    "--sockets", "with_sockets", is_flag=True, help="List every netlink socket, too, as a table."
)
@click.option(
    "--timeout",
    type=float,
    default=10.0,
    show_default=True,
    callback=options.positive,
    metavar="SECONDS",
    help="Give up after this time.",
)
@click.option(
    "--watch",
    type=float,
    is_flag=False,
    flag_value=5.0,
    callback=options.positive,
    metavar="[SECONDS]",
    help="Look again every so many seconds, 5 unless said, and print what is new.",
)
@click.pass_context
def command(
    context: click.Context,
    as_json: bool,
    pid: int | None,
    netns: str | int | None,
    interval: float,
    with_sockets: bool,
    timeout: float,
    watch: float | None,
) -> None:
    """Look at every netlink socket of the machine, and say what is wrong.

    It finds receive buffers that are too small, messages that are being lost, queues that nobody
    reads, dumps and receives that hang, processes that sleep in a send, with the chain of who
    waits for whom, Open vSwitch ports that another namespace would take along, and low limits.
    It changes nothing.  Exit status 1 says that something severe was found.
    """

    def look() -> Report:
        return examine_blocking(interval, pid=pid, netns=netns, timeout=timeout)

    if watch is not None:
        if with_sockets:
            raise click.UsageError("--sockets lists once; leave out --watch, or take --json")
        _watch(again_and_again(look, watch), as_json)
    report = look()
    if as_json:
        _show_json(report)
    else:
        doctor_text.show(report, sys.stdout.isatty())
        if with_sockets:
            click.echo("\n" + doctor_text.sockets(report))
    if report.is_severe:
        context.exit(SEVERE)


def _watch(reports: Iterator[Report], as_json: bool) -> NoReturn:
    """A report a line, or, for people, what has come and what is over."""
    show = _show_json if as_json else doctor_text.News(sys.stdout.isatty()).show
    while True:
        show(next(reports))


def _show_json(report: Report) -> None:
    click.echo(json.dumps(report.as_dict()))
