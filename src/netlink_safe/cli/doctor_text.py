"""A doctor's report as text for people.

May call ``doctor`` and ``cli.tables``.
"""

from __future__ import annotations

import textwrap
import time
from collections import Counter
from typing import TYPE_CHECKING, Final

import click

from netlink_safe.cli.tables import printable, table
from netlink_safe.doctor import LOOKS, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netlink_safe.doctor import Finding, Report, SeenSocket

_COLOURS: Final = {Severity.SEVERE: "red", Severity.WARNING: "yellow", Severity.NOTE: "cyan"}
_WIDTH: Final = 100
_LABELLED: Final = "{:<11}"


def show(report: Report, coloured: bool) -> None:
    """Print the findings, the worst first, what could not be seen, and what was."""
    for finding in report:
        _show(finding, coloured)
        click.echo()
    for line in unseen(report):
        click.echo(line)
    click.echo(summary(report))


class News:
    """Findings as they come, and as they are over."""

    def __init__(self, coloured: bool) -> None:
        self._coloured = coloured
        self._known: dict[tuple[object, ...], Finding] = {}
        self._unseen: list[str] | None = None

    def show(self, report: Report) -> None:
        """Print what has changed since the report before; of the first one, all."""
        clock = time.strftime("%H:%M:%S", time.localtime(report.taken_at))
        if self._unseen is None:
            click.echo(f"{clock}  {summary(report)}")
        if unseen(report) != self._unseen:
            self._unseen = unseen(report)
            for line in self._unseen:
                click.echo(line)
        found = {identity(finding): finding for finding in report}
        for key, finding in found.items():
            if key not in self._known:
                click.echo(f"{clock}  ", nl=False)
                _show(finding, self._coloured)
        for key, finding in self._known.items():
            if key not in found:
                click.echo(f"{clock}  over     {printable(finding.summary)}")
        self._known = found


def identity(finding: Finding) -> tuple[object, ...]:
    """What makes two findings of two reports the same."""
    return (
        finding.kind,
        finding.severity,
        finding.netns,
        finding.inode,
        finding.sender_pid,
        finding.thread_id,
        finding.summary if finding.inode is None else None,
    )


def _show(finding: Finding, coloured: bool) -> None:
    style = _COLOURS[finding.severity]
    label = _LABELLED.format(str(finding.severity).upper())
    click.secho(label, fg=style, bold=True, nl=False, color=coloured)
    first, *rest = paragraphs(finding)
    click.secho(first, bold=True, color=coloured)
    for line in rest:
        click.echo(line)


def paragraphs(finding: Finding) -> Iterator[str]:
    """The lines of a finding, the first without its label."""
    yield _filled("", finding.summary).strip()
    for line in finding.evidence:
        yield _filled("  seen    ", line)
    for number, line in enumerate(finding.chain, 1):
        yield _filled(f"  {number:>4}.   ", line)
    yield _filled("  leads to ", finding.leads_to)
    yield _filled("  mend    ", finding.mend)


def _filled(label: str, text: str) -> str:
    return textwrap.fill(
        printable(text),
        _WIDTH,
        initial_indent=label.ljust(11),
        subsequent_indent=" " * 11,
        break_on_hyphens=False,
        break_long_words=False,
    )


def unseen(report: Report) -> list[str]:
    """What could not be seen, a paragraph each."""
    return [_filled("not seen: ", line) for line in report.unseen]


def summary(report: Report) -> str:
    """What was looked at, and how much was found."""
    processes = {pid for one in report.sockets for pid in one.pids}
    counted = Counter(finding.severity for finding in report)
    told = ", ".join(f"{counted[each]} {each}" for each in sorted(counted, reverse=True))
    return (
        f"{len(report.sockets):,} netlink sockets of {len(processes):,} processes, looked at "
        f"{LOOKS} times in {report.seconds:g} s: {told or 'nothing is wrong'}"
    )


def sockets(report: Report) -> str:
    """Every socket, a line each."""
    heading = ("PROTOCOL", "PORT ID", "PID", "COMMAND", "GROUPS", "QUEUED", "BUFFER", "DROPS", "")
    ordered = sorted(report.sockets, key=lambda one: (str(one.row.protocol), one.row.port_id))
    return table([heading, *map(_cells, ordered)])


def _cells(one: SeenSocket) -> tuple[object, ...]:
    notes = ["dump running"] if one.row.is_dump_running else []
    if one.netns is not None:
        notes.append(f"in {one.netns}")
    return (
        one.row.protocol,
        one.row.port_id,
        one.owner or "?",
        one.commands[0][:40] if one.commands else "?",
        ",".join(map(str, sorted(one.row.groups))) or "-",
        f"{one.queued:,}",
        f"{one.receive_buffer:,}",
        f"{one.drops:,}",
        ", ".join(notes),
    )
