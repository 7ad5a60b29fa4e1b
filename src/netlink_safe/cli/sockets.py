"""``netlink-safe sockets``: every socket, of every kind, once or again and again.

May call ``cli.options``, ``cli.pace``, ``cli.sockets_found``, ``cli.sockets_text``,
``cli.sockets_live``, ``cli.tables``, ``families`` and ``errors``.
"""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from netlink_safe.cli import options, sockets_text
from netlink_safe.cli.pace import again_and_again
from netlink_safe.cli.sockets_found import KINDS, Asked, Found, identity, interface_names, look
from netlink_safe.cli.tables import printable
from netlink_safe.errors import FilterSyntaxError
from netlink_safe.families.filter_text import parse_filter
from netlink_safe.families.inet_diag import TcpState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from click.decorators import FC

    from netlink_safe.cli.sockets_found import Shown
    from netlink_safe.families.filters import Filter

STATES: Final = tuple(state.name.lower() for state in TcpState if state != TcpState.NEW_SYN_RECV)


def _kind_options(function: FC) -> FC:
    for name, kind in reversed(KINDS.items()):
        short = [f"-{kind.short}"] if kind.short else []
        function = click.option(f"--{name}", *short, name, is_flag=True)(function)
    return function


@click.command(short_help="List sockets of every kind, by a filter that the kernel runs.")
@click.argument("words", metavar="[FILTER]...", nargs=-1)
@_kind_options
@click.option(
    "--state",
    "states",
    type=click.Choice(STATES, case_sensitive=False),
    multiple=True,
    metavar="NAME",
    help="Only in this state, such as listen; several are or.",
)
@options.families
@click.option("--info", "with_info", is_flag=True, help="What connections have been through.")
@click.option("--process", "-p", "with_processes", is_flag=True, help="Who holds each socket.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with --watch an object a line.")
@options.netns
@options.timeout
@click.option(
    "--watch",
    type=float,
    callback=options.positive,
    metavar="SECONDS",
    help="Look again every so many seconds, and show what came and went.",
)
def command(
    words: tuple[str, ...],
    states: tuple[str, ...],
    families: tuple[str, ...],
    with_info: bool,
    with_processes: bool,
    as_json: bool,
    netns: str | int | None,
    timeout: float,
    watch: float | None,
    **kinds: bool,
) -> None:
    """List sockets, of all kinds unless said: TCP, UDP, raw, unix, netlink, packet and so on.

    FILTER reads as that of ss does, and runs in the kernel:

    \b
        netlink-safe sockets dst :443 and not src 127.0.0.0/8
        netlink-safe sockets --tcp --state listen 'sport < :1024 or dev eth0'

    One begins with sport, dport, port, src, dst, host, dev, fwmark or cgroup; quote what your
    shell would take for itself, such as < and ( and !.
    """
    asked = Asked(
        kinds=tuple(name for name, is_asked in kinds.items() if is_asked),
        states=tuple(state.lower() for state in states),
        families=families,
        where=_filter(words),
        with_info=with_info,
        with_processes=with_processes,
        netns=netns,
        timeout=timeout,
    )
    _check(asked)
    if watch is not None:
        _watch(asked, again_and_again(lambda: look(asked), watch), as_json)
    found = look(asked)
    _tell_unseen(found)
    if as_json:
        click.echo(json.dumps([one.as_dict() for one in found.sockets]))
    else:
        click.echo(sockets_text.listing(found.sockets, _names(asked)(found), with_info))


def _filter(words: tuple[str, ...]) -> Filter | None:
    if not words:
        return None
    try:
        return parse_filter(" ".join(words))
    except FilterSyntaxError as error:  # whose lines point at the place
        raise click.UsageError(str(error)) from None


def _check(asked: Asked) -> None:
    """Refuse what could only be passed over in silence."""
    for name in asked.kinds:
        if asked.where is not None and not KINDS[name].takes_filter:
            known = ", ".join(f"--{each}" for each, kind in KINDS.items() if kind.takes_filter)
            raise click.UsageError(f"the kernel runs no filter for --{name}; it does for {known}")
        if asked.states and not KINDS[name].has_states:
            raise click.UsageError(f"--{name} sockets have no state; leave out --state")
        if asked.families and not KINDS[name].has_families:
            raise click.UsageError(f"--{name} sockets are of neither family; leave out --family")


def _tell_unseen(found: Found) -> None:
    if found.unseen:
        click.echo(
            f"netlink-safe: the sockets of {found.unseen} processes may not be looked at; run as "
            "root, or with CAP_SYS_PTRACE, to see who holds the others",
            err=True,
        )


def _names(asked: Asked) -> Callable[[Found], dict[int, str]]:
    return lambda found: interface_names(found.sockets, asked.netns)


def _watch(asked: Asked, looks: Iterator[Found], as_json: bool) -> NoReturn:
    """An object a line; drawn over and over on a terminal; elsewhere what came and what went."""
    if not as_json and sys.stdout.isatty():
        from netlink_safe.cli.sockets_live import show

        show(looks, _names(asked), asked.with_info)
    known: dict[object, Shown] = {}
    while True:
        found = next(looks)
        if as_json:
            sockets = [one.as_dict() for one in found.sockets]
            click.echo(json.dumps({"taken_at": found.taken_at, "sockets": sockets}))
        else:
            known = _show_news(found, known, asked)


def _show_news(found: Found, known: dict[object, Shown], asked: Asked) -> dict[object, Shown]:
    now = {identity(one): one for one in found.sockets}
    clock = time.strftime("%H:%M:%S", time.localtime(found.taken_at))
    names = interface_names(found.sockets, asked.netns)

    def tell(sign: str, one: Shown) -> None:
        cells: tuple[Any, ...] = sockets_text.cells(
            one, names, asked.with_processes, asked.with_info
        )
        click.echo(f"{clock}  {sign}  " + "  ".join(printable(str(cell)) for cell in cells))

    for key, one in known.items():
        if key not in now:
            tell("-", one)
    for key, one in now.items():
        if key not in known:
            tell("+", one)
    return now
