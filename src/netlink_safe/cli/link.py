"""``netlink-safe link``: network links, listed, and deleted without pulling a port.

May call ``blocking.route``, ``families.link``, ``cli.options`` and ``cli.tables``.
"""

from __future__ import annotations

import json

import click

from netlink_safe.blocking.route import delete_link, open_route
from netlink_safe.cli import options
from netlink_safe.cli.tables import printable, table
from netlink_safe.families import link as links


@click.group(short_help="List network links, and delete one with care.")
def command() -> None:
    """List network links, and delete one without pulling a port out of Open vSwitch."""


@command.command("list")
@options.as_json
@options.netns
@options.timeout
def list_(as_json: bool, netns: str | int | None, timeout: float) -> None:
    """List the links of the network namespace."""
    with open_route(timeout=timeout, netns=netns) as route:
        rows = list(route.dump(links.links()))
    if as_json:
        click.echo(json.dumps([row.as_dict() for row in rows]))
        return
    names = {row.index: row.name for row in rows}
    heading = ("INDEX", "NAME", "KIND", "STATE", "MTU", "PEER", "PORT OF")
    click.echo(table([heading, *(_cells(row, names) for row in rows)]))


@command.command()
@click.argument("name")
@click.option("--detach", is_flag=True, help="Take it, or its peer, out of its datapath first.")
@click.option("--force", is_flag=True, help="Go on in spite of what would be refused.")
@options.as_json
@options.netns
@options.timeout
def delete(
    name: str,
    detach: bool,
    force: bool,
    as_json: bool,
    netns: str | int | None,
    timeout: float,
) -> None:
    """Delete a link, unless a port of an Open vSwitch datapath would go with it.

    Then it says of which datapath, and what to type.
    """
    delete_link(name, detach, force, timeout=timeout, netns=netns)
    click.echo(json.dumps({"deleted": name}) if as_json else f"{printable(name)} is deleted")


def _cells(row: links.Link, names: dict[int, str]) -> tuple[object, ...]:
    peer = ""
    if row.peer is not None and row.peer != row.index:
        peer = names.get(row.peer, str(row.peer))
        if row.peer_netnsid is not None:
            peer = f"{row.peer} in namespace {row.peer_netnsid}"
        if not row.is_paired:
            peer = f"on {peer}"
    master = "" if row.master is None else names.get(row.master, str(row.master))
    served = f"{master} ({row.slave_kind})" if row.slave_kind else master
    state = "up" if row.is_up else "down"
    return row.index, row.name, row.kind or "-", state, row.mtu, peer, served
