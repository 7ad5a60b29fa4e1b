"""The figures as a page of Markdown: a table for each study, beside what they are meant to be.

May call ``figures`` and ``targets``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

import attrs

from figures import by_study
from targets import target_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from figures import Figure, Machine

Column: TypeAlias = "Callable[[Figure], str]"


@attrs.frozen(slots=True)
class Study:
    """What a table is called, what its ratios are to, and how its figures were had."""

    title: str
    ratio: str
    text: str


STUDIES: Final = {
    "dumps": Study(
        "Dumps of TCP sockets",
        "by the floor",
        "The floor is a C program that makes the two dump requests that everybody makes (IPv4, "
        "IPv6), receives with a large buffer and looks only for `NLMSG_DONE`: the kernel's own "
        "cost. Rows with `tcp_info`, and `ss -Htani`, have a floor that asks for `tcp_info` too. "
        "Floor and contestants take turns. Sockets have random peers of IPv4 and IPv6, and a "
        "quarter of them is in TIME_WAIT. *Cold* is behind a walk through 256 MiB of memory.",
    ),
    "holds": Study(
        "Longest hold of the event loop",
        "",
        "The longest gap of a task that does nothing but let others run, beside one operation: "
        "the median of nine. *nothing* is the machine's own noise.",
    ),
    "memory": Study(
        "Memory of one collection",
        "",
        "The peak of a fresh process that collects once, and its growth from the smallest "
        "population.",
    ),
    "scrapes": Study(
        "Scrapes",
        "by node_exporter's",
        "Debian's node_exporter with its tcpstat collector alone and without metrics of its own, "
        "and `netlink-safe exporter`, scraped in turn over connections that stay open. Both told "
        "the same numbers.",
    ),
    "uevents": Study(
        "Uevents drained",
        "ours by it",
        "The kernel sends real events to a listener that does not read, and which then drains "
        "them. The ratio says how many times as fast the blocking surface is.",
    ),
    "weight": Study("Memory of a small listener", "by bare Python", "Resident, at rest."),
    "starts": Study(
        "Imports, and the start of the command",
        "by the bare imports",
        "Whole processes, with their bytecode beside them as an installed program has it.",
    ),
    "sending": Study("Sending", "ratio", "To a peer whose queue is full, and into an outbox."),
    "doctor": Study("A doctor's look", "", "The best of five."),
    "agents": Study(
        "What the pages for agents replace",
        "before by after",
        "The blocks of `docs/agents`, before and after, of the same sockets; the time is that of "
        "what comes after.",
    ),
}


HEAD: Final = """# Measured

Made by `python benchmarks --publish`; [Cost](cost.md) says what to make of it.
Ratios hold from one machine to the next, times do not."""


def page(
    machines: Sequence[Machine],
    figures: Sequence[Figure],
    pictures: Mapping[str, Mapping[str, str]],
) -> str:
    """All tables, each with its study's pictures (by title, a path), and what fell short."""
    parts = [HEAD, *map(str, machines)]
    studies = by_study(figures)
    for study, told in STUDIES.items():
        if study in studies:
            parts += [f"## {told.title}", told.text, _table(told, studies[study])]
            shown = pictures.get(study, {})
            parts += [f"![{title}]({path})" for title, path in shown.items()]
    missed = [line for figure in figures if (line := shortfall(figure))]
    parts.append("## Targets that are missed")
    parts.append("\n".join(missed) or "Every target that was measured is held.")
    return "\n\n".join(parts) + "\n"


def shortfall(figure: Figure) -> str:
    """A line about a target that is missed, empty where it is held or there is none."""
    target = target_of(figure)
    if target is None or target.missed_by(figure) <= 0:
        return ""
    where = f", {figure.sockets:,} sockets" if figure.sockets else ""
    return f"- {figure.name}{where}: {_verdict(figure)} ({target})"


def _table(study: Study, figures: Sequence[Figure]) -> str:
    columns = {head: tell for head, tell in _columns(study).items() if any(map(tell, figures))}
    lines = [list(columns), ["---"] * len(columns)]
    lines += [[tell(figure) for tell in columns.values()] for figure in figures]
    return "\n".join(map(_line, lines))


def _columns(study: Study) -> dict[str, Column]:
    return {
        "what": lambda figure: figure.name,
        "sockets": lambda figure: f"{figure.sockets:,}" if figure.sockets else "",
        "caches": lambda figure: figure.caches,
        "figure": _value,
        study.ratio: lambda figure: "" if figure.ratio is None else f"{figure.ratio:.3g}",
        "quartiles": _quartiles,
        "target": lambda figure: str(target_of(figure) or ""),
        "verdict": _verdict,
    }


def _value(figure: Figure) -> str:
    digits = max(0, 2 - len(f"{abs(figure.value):.0f}".lstrip("0")))
    return f"{figure.value:,.{digits + (abs(figure.value) < 1)}f} {figure.unit}"


def _quartiles(figure: Figure) -> str:
    return "" if figure.quartiles is None else "{:.3g} to {:.3g}".format(*figure.quartiles)


def _verdict(figure: Figure) -> str:
    target = target_of(figure)
    if target is None:
        return ""
    missed = target.missed_by(figure)
    return "held" if missed <= 0 else f"missed by {max(1, round(missed * 100))} %"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
