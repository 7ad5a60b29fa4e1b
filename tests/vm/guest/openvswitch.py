"""A datapath of Open vSwitch for a test, and what a subscriber who follows its ports believes."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import netlink_safe as nls
from netlink_safe.families import ovs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from surfaces import Surface

DATAPATH: Final = "dp0"


@contextlib.asynccontextmanager
async def datapath(surface: Surface, **options: Any) -> AsyncIterator[tuple[Any, ovs.Datapath]]:
    """Generic netlink, and a datapath that is there as long as the body."""
    async with surface.open_generic(**options) as genl:
        made = await genl.request(ovs.new_datapath(DATAPATH))
        try:
            yield genl, made
        finally:
            await genl.request(ovs.delete_datapath(DATAPATH))


def exists(name: str) -> bool:
    """Whether there is a link of this name."""
    return name in {name for _, name in socket.if_nameindex()}


async def follow(heard: Any, believed: dict[Any, str]) -> int:
    """Take changes in until the picture is whole again; the drops that were told on the way."""
    drops = 0
    while True:
        match await heard.receive(timeout=20):
            case nls.Added(key=key, row=row) | nls.Changed(key=key, row=row):
                believed[key] = row.name
            case nls.Removed(key=key):
                del believed[key]
            case nls.Overrun(drops=lost):
                drops += lost
            case nls.Resynced():
                return drops


async def stays_out(heard: Any) -> None:
    """A subscriber that goes on listening has the module loaded by nobody."""
    with contextlib.suppress(nls.NetlinkTimeout):
        while True:
            assert isinstance(await heard.receive(timeout=1), nls.Resynced)
    assert not is_loaded()


def is_loaded() -> bool:
    """Whether Open vSwitch's module is."""
    lines = Path("/proc/modules").read_text("ascii").splitlines()
    return "openvswitch" in {line.split()[0] for line in lines}
