"""A datapath of Open vSwitch for the body of a test, and what it asks of the links there are."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Any, Final

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
