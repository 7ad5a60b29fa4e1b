"""Listeners in a storm: what was told is what was received and what is said to be lost.

Each turn is a network namespace, a listener in it with little room or with plenty, and somebody who
makes the kernel tell things in it, counted by a witness.  The listener naps now and then, so that
it overruns.  Behind the storm it takes what there is, and is held against the witness, and its
picture against the kernel's.

May call ``soaking.stage``, ``soaking.storms``, ``soaking.told`` and ``netlink_safe``.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from typing import TYPE_CHECKING, Any, Final

import anyio

import kernel
import netlink_safe as nls
from netlink_safe.errors import NetlinkTimeout
from soaking.stage import FAIR_LIMIT, called
from soaking.storms import ClosingStorm, DeviceStorm, LinkStorm
from soaking.told import Events, Rows, Told
from uevents import Belief

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator, Callable

    from soaking.stage import Stage
    from soaking.storms import Storm
    from surfaces import Surface

FLOOR: Final = 32 * 1024
#: Seconds that a receive waits; that a listener naps, and how often; and that there may be no end.
IDLE: Final = 0.05
NAP: Final = 0.2
NAP_SHARE: Final = 0.02
SETTLING: Final = 20.0
HEARTBEAT: Final = 0.2
#: NETDEV_CMD_DEV_GET, and what tells that a device has come, is gone or has changed.
DEVICES: Final = nls.generic_request("netdev", 1)
CAME, GONE, CHANGED = 2, 3, 4

_numbers = itertools.count()


async def devices(stage: Stage, surface: Surface, draws: random.Random) -> None:
    """Uevents, all of them by number, or those of network devices beside sysfs."""
    of_net = draws.random() < 0.5
    belief = Belief() if of_net else None
    wanted = {"subsystem": "net", "coldplug": True} if of_net else {}
    told = Events(belief)
    async with _namespace(surface) as path:
        storm = DeviceStorm(
            path,
            draws.uniform(0.3, 1) * stage.round,
            draws.getrandbits(32),
            stage.directory / f"sysfs{next(_numbers)}",
        )
        opening = surface.open_uevents(netns=path, **_room(draws), **wanted)
        async with _opened(stage, surface, "open_uevents", opening) as events:
            if events is None:
                return
            await _weathered(stage, surface, "uevents", events, storm, told, draws)
            now = events.statistics()
        check = stage.ledger.check
        received = now.datagrams + now.drops
        what = f"{surface.name} uevents {wanted}: {now}, of {storm.told} told"
        check(received == storm.told, f"{what}: {received} received and lost")
        check(told.drops == now.drops, f"{what}: {told.drops} said to be lost")
        check(not now.rejected, f"{what}: some were rejected")
        if belief is None:
            check(told.heard + now.duplicates == now.datagrams, f"{what}: {told.heard} heard")
        else:
            check(belief.devices.keys() == storm.devices, f"{what}: {belief.devices} believed")
        _count(stage, "uevents", storm.told, now.datagrams, told)


async def closings(stage: Stage, surface: Surface, draws: random.Random) -> None:
    """Sockets that close."""
    told = Told()
    async with _namespace(surface) as path:
        storm = ClosingStorm(path, draws.uniform(0.3, 1) * stage.round, draws.getrandbits(32))
        async with _opened(
            stage, surface, "open_sock_diag", surface.open_sock_diag(netns=path)
        ) as diag:
            if diag is None:
                return
            opening = diag.subscribe_destroyed(**_room(draws))
            async with _opened(stage, surface, "subscribe_destroyed", opening) as closing:
                if closing is None:
                    return

                def is_all() -> bool:
                    return told.items + told.drops >= storm.told

                await _weathered(stage, surface, "closings", closing, storm, told, draws, is_all)
                now = closing.statistics()
        what = f"{surface.name} closings: {now}, of {storm.told} closed"
        received = told.items + told.drops
        stage.ledger.check(received == storm.told, f"{what}: {received} received and lost")
        stage.ledger.check(not now.rejected, f"{what}: some were rejected")
        _count(stage, "closings", storm.told, told.items, told)


async def notifications(stage: Stage, surface: Surface, draws: random.Random) -> None:
    """What a generic family tells: as it is, or as a table that is followed."""
    is_followed = draws.random() < 0.5
    told = Rows() if is_followed else Told()
    how: dict[str, Any] = {"groups": ["mgmt"]}
    if is_followed:
        how |= {"snapshot": DEVICES, "key": index_of, "commands": [CAME, CHANGED]}
        how |= {"removals": [GONE], "heartbeat": HEARTBEAT}
    async with _namespace(surface) as path:
        opening = surface.open_generic(netns=path)
        async with _opened(stage, surface, "open_generic", opening) as genl:
            if genl is None:
                return
            group = await _until_done(stage, surface, "family", lambda: _group(genl))
            heard_by = genl.subscribe("netdev", **how, **_room(draws))
            storm = LinkStorm(
                path, draws.uniform(0.3, 1) * stage.round, draws.getrandbits(32), group
            )
            async with _opened(stage, surface, "subscribe", heard_by) as heard:
                if heard is None:
                    return
                await _weathered(stage, surface, "notifications", heard, storm, told, draws)
                now = heard.statistics()
            what = f"{surface.name} notifications {how}: {now}, of {storm.told} told"
            check = stage.ledger.check
            check(told.drops == now.drops, f"{what}: {told.drops} said to be lost")
            if isinstance(told, Rows):
                there = await _until_done(stage, surface, "genl.dump", lambda: _table(genl))
                check(told.rows == there, f"{what}: {told.rows} believed, {there} there")
            else:
                check(told.items + told.drops == storm.told, f"{what}: {told.items} heard")
                _count(stage, "notifications", storm.told, told.items, told)


def index_of(row: nls.GenericReply) -> int:
    """What a row is about."""
    return int.from_bytes(value, "little") if isinstance(value := row.values[1], bytes) else value


async def _group(genl: Any) -> int:
    return int((await genl.family("netdev", timeout=FAIR_LIMIT)).groups["mgmt"])


async def _table(genl: Any) -> dict[int, Any]:
    return {index_of(row): row async for row in genl.dump(DEVICES, timeout=FAIR_LIMIT)}


async def _until_done(stage: Stage, surface: Surface, verb: str, ask: Callable[[], Any]) -> Any:
    """Ask until there is an answer: faults pass."""
    while True:
        with stage.ledger.call(surface.name, verb, FAIR_LIMIT):
            return await ask()


def _room(draws: random.Random) -> dict[str, int]:
    """How much room a listener is to have: little, or what it takes by itself."""
    return {"receive_buffer": FLOOR} if draws.random() < 0.7 else {}


async def _weathered(
    stage: Stage,
    surface: Surface,
    name: str,
    listener: Any,
    storm: Storm,
    told: Told,
    draws: random.Random,
    is_all: Callable[[], bool] = lambda: True,
) -> None:
    """Take what there is until the storm is over, all is quiet, and every loss was told."""
    storm.start()
    try:
        end = 0.0
        while True:
            if not storm.is_alive():
                end = end or time.monotonic() + SETTLING
            elif draws.random() < NAP_SHARE:
                await anyio.sleep(draws.uniform(0, NAP))
            with called(stage, surface, f"{name}.receive", IDLE, draws, NetlinkTimeout) as call:
                told.take(await listener.receive(timeout=IDLE))
            if not end:
                continue
            now = listener.statistics()
            is_settled = told.is_whole and (now.queued, now.drops) == (0, told.drops) and is_all()
            # one that was cancelled says nothing of what there is
            if is_settled and isinstance(call.error, NetlinkTimeout):
                break
            if time.monotonic() > end:
                stage.ledger.fail(f"{surface.name} {name}: it never fell silent: {now}")
                break
    finally:
        await anyio.to_thread.run_sync(storm.join)
    stage.ledger.check(storm.failure is None, f"{name}: the storm broke:\n{storm.failure}")


@contextlib.asynccontextmanager
async def _opened(stage: Stage, surface: Surface, verb: str, opening: Any) -> AsyncIterator[Any]:
    """What is opened for the body; None where that failed, which is written down."""
    async with contextlib.AsyncExitStack() as held:
        opened = None
        with stage.ledger.call(surface.name, verb, FAIR_LIMIT):
            opened = await held.enter_async_context(opening)
        yield opened


@contextlib.asynccontextmanager
async def _namespace(surface: Surface) -> AsyncIterator[str]:
    """A network namespace of one's own, made in a thread: the kernel takes its time."""
    making = kernel.named_namespace(f"{surface.name}{next(_numbers)}")
    path = await anyio.to_thread.run_sync(making.__enter__)
    try:
        yield path
    finally:
        await anyio.to_thread.run_sync(making.__exit__, None, None, None)


def _count(stage: Stage, name: str, told: int, received: int, by: Told) -> None:
    stage.ledger.count(
        **{
            f"{name} told": told,
            f"{name} received": received,
            f"{name} lost, told by overruns": by.drops,
            f"overruns of {name}": by.overruns,
        }
    )
