"""``netlink-safe genl``: the generic netlink families of this kernel, and what they say.

May call ``blocking.generic``, ``cli.heard``, ``cli.options`` and ``cli.genl_text``.
"""

from __future__ import annotations

import json
from itertools import count as counting

import click

from netlink_safe.blocking.generic import open_generic
from netlink_safe.cli import genl_text, heard, options


@click.group(short_help="Look at generic netlink families.")
def command() -> None:
    """Look at the generic netlink families of this kernel: what they can, take, and say."""


@command.command("list")
@options.as_json
@options.netns
@options.timeout
def list_(as_json: bool, netns: str | int | None, timeout: float) -> None:
    """List all families of the network namespace."""
    with open_generic(timeout=timeout, netns=netns) as genl:
        families = genl.families()
    if as_json:
        click.echo(json.dumps([family.as_dict() for family in families]))
    else:
        click.echo(genl_text.families(families))


@command.command()
@click.argument("family")
@options.as_json
@options.netns
@options.timeout
def show(family: str, as_json: bool, netns: str | int | None, timeout: float) -> None:
    """Show one family: its operations, what each can and needs, and its multicast groups.

    The kernel may load a module for it.
    """
    with open_generic(timeout=timeout, netns=netns) as genl:
        found = genl.family(family)
    click.echo(json.dumps(found.as_dict()) if as_json else genl_text.family(found))


@command.command()
@click.argument("family")
@click.argument("operation", type=click.IntRange(0, 255), required=False)
@options.as_json
@options.netns
@options.timeout
def policy(
    family: str, operation: int | None, as_json: bool, netns: str | int | None, timeout: float
) -> None:
    """Show what attributes a family takes, in one OPERATION or in all, by the kernel's own word.

    An operation is a number, as "genl show" lists them.
    """
    with open_generic(timeout=timeout, netns=netns) as genl:
        if operation is None:
            policies = genl.policies(family)
        else:
            policies = {operation: genl.policy(family, operation)}
    if as_json:
        plain = {str(number): one.as_dict() for number, one in sorted(policies.items())}
        click.echo(json.dumps({"family": family, "operations": plain}))
    else:
        click.echo(genl_text.policies(family, policies))


@command.command()
@click.argument("family")
@click.option(
    "--group", "groups", multiple=True, metavar="NAME", help="Only these; by default all."
)
@heard.count_of("notifications")
@heard.for_seconds
@heard.as_json
@options.netns
@options.timeout
def monitor(
    family: str,
    groups: tuple[str, ...],
    count: int | None,
    seconds: float | None,
    as_json: bool,
    netns: str | int | None,
    timeout: float,
) -> None:
    """Show what a family tells in its multicast groups, until interrupted.

    Where notifications were lost it says how many.
    """
    with (
        open_generic(timeout=timeout, netns=netns) as genl,
        genl.subscribe(family, groups or None) as told,
    ):
        shown = counting(1)
        for item in heard.items(told, seconds):
            if as_json:
                click.echo(json.dumps(genl_text.notification_as_dict(item)))
            else:
                click.echo(genl_text.notification(item))
            if next(shown) == count:
                break
