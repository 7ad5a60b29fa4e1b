"""Network devices as a subscription tells of them, and as they are."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import netlink_safe as nls

if TYPE_CHECKING:
    from collections.abc import Mapping


#: NETDEV_CMD_DEV_GET, and what tells of a device: that it has come, is gone, or has changed.
DEVICES = nls.generic_request("netdev", 1)


CAME, GONE, CHANGED = 2, 3, 4


def index_of(row: nls.GenericReply) -> int:
    """What a row is about."""
    return int.from_bytes(value, "little") if isinstance(value := row.values[1], bytes) else value


def devices(genl: Any, **options: Any) -> Any:
    """The list of network devices, followed."""
    how = {"key": index_of, "commands": [CAME, CHANGED], "removals": [GONE], **options}
    return genl.subscribe(snapshot=DEVICES, **how)


async def until_whole(heard: Any, believed: dict[Any, Any]) -> int:
    """Take changes in until the picture is whole; the drops that were told on the way."""
    drops = 0
    while True:
        item = await heard.receive(timeout=30)
        match item:
            case nls.Added(key=key, row=row) | nls.Changed(key=key, row=row):
                believed[key] = row
            case nls.Removed(key=key):
                del believed[key]
            case nls.Overrun(drops=lost, unresynced=None):
                drops += lost
            case nls.Resynced():
                return drops
            case _:
                raise AssertionError(item)


async def all_queued(heard: Any) -> list[Any]:
    """What has been told until now; the kernel tells before it acknowledges."""
    items = []
    with contextlib.suppress(nls.NetlinkTimeout):
        while True:
            items.append(await heard.receive(timeout=0.05))
    return items


async def there(genl: Any) -> Mapping[int, Any]:
    """What a dump says now."""
    return {index_of(row): row async for row in genl.dump(DEVICES)}


def heard_by(heard: Any) -> Any:
    """The subscription itself, of whatever surface."""
    return getattr(heard, "_events", heard)
