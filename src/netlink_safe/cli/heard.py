"""What a command that listens shows: options, and for how long.

May call ``cli.options`` and ``errors``.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

import click

from netlink_safe.cli import options
from netlink_safe.errors import NetlinkTimeout

if TYPE_CHECKING:
    from collections.abc import Iterator


as_json: options.Option = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON, an object a line."
)
for_seconds: options.Option = click.option(
    "--for",
    "seconds",
    type=float,
    callback=options.positive,
    metavar="SECONDS",
    help="End after this time.",
)


def count_of(what: str) -> options.Option:
    """The option that ends after so many of them."""
    return click.option(
        "--count", type=click.IntRange(min=1), metavar="N", help=f"End after N {what}."
    )


def items(heard: Any, seconds: float | None) -> Iterator[Any]:
    """What a listener yields in so many seconds, or for ever."""
    if seconds is None:
        yield from heard
        return
    end = time.monotonic() + seconds
    with contextlib.suppress(NetlinkTimeout):
        while (left := end - time.monotonic()) > 0:
            yield heard.receive(timeout=left)
