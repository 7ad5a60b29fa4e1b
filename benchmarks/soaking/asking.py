"""Every verb that may wait, in any order, cancelled or closed at random; of ``tests/verbs.py``.

May call ``soaking.stage`` and the tests' ``verbs``.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Final

import attrs

from netlink_safe.errors import ClosedError, KernelError, LocalProtocolError, NetlinkTimeout
from soaking.stage import EXAMINED_LIMIT, called, pause
from verbs import opened, verbs_of

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

    from soaking.stage import Stage
    from surfaces import Surface
    from verbs import Opened

#: What a verb may end in when nothing is wrong.
UNHARMED: Final[dict[str, type[Exception]]] = {
    **dict.fromkeys(
        ("uevents.receive", "user.receive", "heard.receive", "uevents.next", "heard.next"),
        NetlinkTimeout,
    ),
    **dict.fromkeys(("request", "delete_link"), KernelError),
    "destroy": LocalProtocolError,  # several are meant, and that was not said
}
#: Behind these the object is of no more use.
LAST: Final = frozenset({"uevents.next", "heard.next", "outbox.close"})
#: Seconds that all openings of a session may take, one after the other, and all its closings.
OPENINGS: Final = 40.0
CLOSINGS: Final = 7.0
CALLS: Final = 40
#: The share of sessions whose objects another thread closes.
CLOSED_SHARE: Final = 0.25


async def turn(stage: Stage, surface: Surface, draws: random.Random) -> None:
    """One of each object, and some calls of their verbs."""
    idle = draws.uniform(0.02, 0.2)
    held = contextlib.AsyncExitStack()
    it: Opened | None = None
    with stage.ledger.call(surface.name, "open all", OPENINGS):
        it = await held.enter_async_context(opened(surface, idle))
    if it is not None:
        with _closer(stage, it, draws) as is_closing:
            allowed = (ClosedError,) if is_closing else ()
            await _calls(stage, it, draws, *allowed)
    with stage.ledger.call(surface.name, "close all", CLOSINGS):
        await held.aclose()


async def _calls(stage: Stage, it: Opened, draws: random.Random, *allowed: type[Exception]) -> None:
    verbs = list(verbs_of(it.surface))
    for _ in range(CALLS):
        verb = draws.choice(verbs)
        await _called(stage, it, verb, draws, *allowed)
        if verb in LAST or stage.over.is_set():
            return
        await pause(draws)


async def _called(
    stage: Stage, it: Opened, verb: str, draws: random.Random, *allowed: type[Exception]
) -> None:
    limit = stage.limit(draws)
    if verb.endswith(".receive") or verb in LAST:
        limit = it.timeout if verb in LAST else draws.uniform(0.01, 0.2)
    elif verb == "examine" and not stage.weather.is_foul:
        limit = EXAMINED_LIMIT
    there = attrs.evolve(it, timeout=limit)
    own = (UNHARMED[verb],) if verb in UNHARMED else ()
    with called(stage, it.surface, verb, _limit_of(verb, limit), draws, *own, *allowed):
        await there.verbs[verb]()


def _limit_of(verb: str, limit: float) -> float:
    """What a verb may take: an outbox is closed by its own time, an opening has a closing, too."""
    return limit + 1 if verb in {"outbox.close", "Outbox"} else limit


@contextlib.contextmanager
def _closer(stage: Stage, it: Opened, draws: random.Random) -> Iterator[bool]:
    """Perhaps somebody who closes all objects from another thread, after a while."""
    if it.surface.name != "blocking" or draws.random() >= CLOSED_SHARE:
        yield False
        return

    def close() -> None:
        for each in (it.diag, it.genl):
            each._diag.close()
        for each in (it.events, it.user, it.heard):
            each._events.close()
        stage.ledger.count(**{"closed by another thread": 1})

    timer = threading.Timer(draws.uniform(0, 1), close)
    timer.daemon = True
    timer.start()
    try:
        yield True
    finally:
        timer.join()
