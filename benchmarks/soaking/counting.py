"""Sockets counted, by dump, fold and collector: what stands is found, what is a lie is not.

May call ``soaking.stage`` and ``netlink_safe``.
"""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING, Any, Final

import netlink_safe as nls
from netlink_safe.collectors.tcp_fold import StateFold
from netlink_safe.errors import LocalProtocolError
from soaking.faults import LIE
from soaking.stage import EXAMINED_LIMIT, FAIR_LIMIT, called, pause

if TYPE_CHECKING:
    import random

    from soaking.stage import Stage
    from surfaces import Surface

ALL: Final = nls.tcp_sockets()
CALLS: Final = 20
#: Shares of dumps that are left in the middle, and of acts that are a doctor's look.
LEFT_SHARE: Final = 0.2
EXAMINED_SHARE: Final = 0.1
INTERVAL: Final = 0.05
#: Of standing sockets so many may be missed while others come and go.
MISSED_SHARE: Final = 0.02
#: What a namespace that is not yet there, or no more, makes of a call.
GONE: Final = (FileNotFoundError, LocalProtocolError)


async def turn(stage: Stage, surface: Surface, draws: random.Random) -> None:
    """One object, and some calls; some of them open one of their own."""
    held = contextlib.AsyncExitStack()
    diag: Any = None
    with stage.ledger.call(surface.name, "open_sock_diag", FAIR_LIMIT):
        diag = await held.enter_async_context(surface.open_sock_diag(timeout=FAIR_LIMIT))
    if diag is None:
        return
    async with held:
        for _ in range(CALLS):
            if stage.over.is_set():
                break
            act = _examine if draws.random() < EXAMINED_SHARE else draws.choice(ACTS)
            await act(stage, surface, diag, draws)
            await pause(draws)
        why = set(diag.statistics().rejected)
        stage.ledger.check(why <= {"foreign_sender"}, f"{surface.name}: rejected for {why}")
        stage.ledger.count(**{"lies rejected": diag.statistics().rejected.get("foreign_sender", 0)})


async def _dump(stage: Stage, surface: Surface, diag: Any, draws: random.Random) -> None:
    limit = stage.limit(draws)
    cut = draws.randrange(40) if draws.random() < LEFT_SHARE else math.inf
    ports: list[int] = []
    with called(stage, surface, "dump of all", limit, draws) as call:
        dump = diag.dump(ALL, timeout=limit)
        async for row in dump:
            ports.append(row.source.port)
            if len(ports) > cut:
                await dump.aclose()
                break
    stage.ledger.check(LIE not in ports, f"{surface.name}: a stranger's row was believed")
    stage.ledger.count(rows=len(ports))
    if call.is_done and len(ports) <= cut:
        missed = len(set(stage.standing) - set(ports))
        stage.ledger.count(
            **{
                "standing sockets sought": len(stage.standing),
                "standing sockets found": len(stage.standing) - missed,
            }
        )


async def _fold(stage: Stage, surface: Surface, diag: Any, draws: random.Random) -> None:
    limit = stage.limit(draws)
    with called(stage, surface, "fold of all", limit, draws):
        await diag.fold(ALL, StateFold, timeout=limit)


async def _collect(stage: Stage, surface: Surface, _: Any, draws: random.Random) -> None:
    limit = stage.limit(draws)
    method = draws.choice(["dump", "counters"])
    stats: Any = None
    with called(stage, surface, f"collect by {method}", limit, draws):
        stats = await surface.collect(timeout=limit, method=method)
    if stats is not None:
        found, least = stats.states[nls.TcpState.LISTEN], len(stage.standing) * (1 - MISSED_SHARE)
        stage.ledger.check(found >= least, f"{surface.name}: {method} counts {found} listeners")


async def _elsewhere(stage: Stage, surface: Surface, _: Any, draws: random.Random) -> None:
    if not (names := list(stage.passing)):
        return
    limit = stage.limit(draws)
    where = draws.choice(names)
    with called(stage, surface, "collect in a passing netns", limit, draws, *GONE) as call:
        await surface.collect(timeout=limit, netns=where)
    if isinstance(call.error, LocalProtocolError):
        known = "is no network namespace" in str(call.error)
        stage.ledger.check(known, f"{surface.name}: {call.error}")


async def _examine(stage: Stage, surface: Surface, _: Any, draws: random.Random) -> None:
    with called(stage, surface, "examine", EXAMINED_LIMIT, draws):
        await surface.examine(interval=INTERVAL, timeout=EXAMINED_LIMIT)


ACTS: Final = (_dump, _fold, _collect, _elsewhere)
