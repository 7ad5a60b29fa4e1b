"""Options that several verbs have.

Calls nothing of ours.
"""

from __future__ import annotations

from typing import Any, Final, Protocol, TypeVar

import click

Command = TypeVar("Command", bound=Any)

YEAR: Final = 366 * 86_400.0


class Option(Protocol):
    """Gives an option to a command."""

    def __call__(self, command: Command, /) -> Command: ...


def namespace(text: str) -> str | int:
    """A name or path, or a pid if it is a number."""
    return int(text) if text.isdecimal() else text


def positive(
    _context: click.Context, _parameter: click.Parameter, value: float | None
) -> float | None:
    """A number of seconds above 0, at most a year: the system's own waits have an end, too."""
    if value is not None and not 0 < value <= YEAR:
        raise click.BadParameter("must be a number of seconds above 0, and at most a year")
    return value


timeout: Option = click.option(
    "--timeout",
    type=float,
    default=5.0,
    show_default=True,
    callback=positive,
    metavar="SECONDS",
    help="Give up after this time.",
)
method: Option = click.option(
    "--method",
    type=click.Choice(["dump", "counters"]),
    default="dump",
    show_default=True,
    help="dump looks at every socket; counters asks for rare states only and takes the others "
    "from the kernel's counters: nearly free, but no queues, and both families together.",
)
as_json: Option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
netns: Option = click.option(
    "--netns",
    type=namespace,
    metavar="NAME|PATH|PID",
    help="Look into this network namespace.",
)
families: Option = click.option(
    "--family",
    "families",
    type=click.Choice(["inet", "inet6"]),
    multiple=True,
    help="Only this address family; may be given twice.",
)
