"""Looking again and again, at a steady pace.

May call ``errors``.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, TypeVar

import click

from netlink_safe.cli.tables import printable
from netlink_safe.errors import InconsistentError, NetlinkTimeout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Seen = TypeVar("Seen")

#: What ends one look of a watch, and not the watch.
PASSING: Final = (NetlinkTimeout, InconsistentError)


def again_and_again(look: Callable[[], Seen], seconds: float) -> Iterator[Seen]:
    """What each look comes to; one that fails for now is told and left out."""
    due = time.monotonic()
    while True:
        try:
            yield look()
        except PASSING as error:
            click.echo(f"netlink-safe: {printable(str(error))}", err=True)
        due += seconds
        time.sleep(max(due - time.monotonic(), 0))
        due = max(due, time.monotonic() - seconds)  # what took too long is not caught up with
