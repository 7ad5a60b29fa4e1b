"""Options that several verbs have.

Calls nothing of ours.
"""

from __future__ import annotations

import math

import click


def namespace(text: str) -> str | int:
    """A name or path, or a pid if it is a number."""
    return int(text) if text.isdecimal() else text


def positive(
    _context: click.Context, _parameter: click.Parameter, value: float | None
) -> float | None:
    """A number of seconds above 0, not for ever."""
    if value is not None and not 0 < value < math.inf:
        raise click.BadParameter("must be a number of seconds above 0, and not for ever")
    return value


timeout = click.option(
    "--timeout",
    type=float,
    default=5.0,
    show_default=True,
    callback=positive,
    metavar="SECONDS",
    help="Give up after this time.",
)
method = click.option(
    "--method",
    type=click.Choice(["dump", "counters"]),
    default="dump",
    show_default=True,
    help="dump looks at every socket; counters asks for rare states only and takes the others "
    "from the kernel's counters: nearly free, but no queues, and both families together.",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
netns = click.option(
    "--netns",
    type=namespace,
    metavar="NAME|PATH|PID",
    help="Look into this network namespace.",
)
