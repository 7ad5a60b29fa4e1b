"""What everybody who acts is given, and how they act: again and again, until it is over.

A room's ``turn`` is one act.  On trio and on asyncio all acts are tasks of one loop; in blocking
code each has a thread.  Threads are daemons: one that hangs is a failure, and not to be waited for.

May call ``soaking.accounts``, ``soaking.faults`` and the tests' ``surfaces``.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import threading
import traceback
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

import anyio
import attrs
import trio

from soaking.accounts import CANCELLED

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from soaking.accounts import Call, Ledger
    from soaking.faults import Weather
    from surfaces import Surface

#: Seconds that a call may take in fair weather; in foul, one of several.
FAIR_LIMIT: Final = 5.0
#: A doctor's look walks over every process and namespace of the machine, a few times.
EXAMINED_LIMIT: Final = 15.0
FOUL_LIMITS: Final = (0.2, 0.5, 1.0)
#: Seconds between two calls at most: all of them at once would be a test of the scheduler.
PAUSE: Final = 0.02
#: Of the calls that can be, so many are cancelled, within so many seconds.
CANCELLED_SHARE: Final = 0.25
CANCELLED_WITHIN: Final = 0.05
BREATH: Final = 0.1


@attrs.frozen(kw_only=True)
class Stage:
    """One run; ``round`` is how long something is listened to or posted, in seconds."""

    seed: int
    round: float
    directory: Path
    weather: Weather
    ledger: Ledger
    over: threading.Event = attrs.field(factory=threading.Event)
    #: Names of network namespaces that come and go.
    passing: list[str] = attrs.field(factory=list)
    #: Ports that are listened on all the time.
    standing: list[int] = attrs.field(factory=list)

    def draws(self, name: str) -> random.Random:
        """Random numbers of one who acts: the same ones in each run of a seed."""
        return random.Random(f"{self.seed} {name}")

    def limit(self, draws: random.Random) -> float:
        """How long the next call may take."""
        return draws.choice(FOUL_LIMITS) if self.weather.is_foul else FAIR_LIMIT


Turn: TypeAlias = "Callable[[Stage, Surface, random.Random], Awaitable[None]]"


def acting(stage: Stage, surface: Surface, turns: dict[str, Turn]) -> list[threading.Thread]:
    """Threads in which all of them act on a surface, not yet started."""
    if surface.name != "blocking":
        return [_thread(stage, surface, turns, surface.name)]
    return [
        _thread(stage, surface, {name: turn}, f"{surface.name} {name}")
        for name, turn in turns.items()
    ]


def looping(stage: Stage, name: str, turn: Callable[[random.Random], object]) -> threading.Thread:
    """A thread in which something is done again and again, not yet started."""

    def run() -> None:
        draws = stage.draws(name)
        while not stage.over.is_set():
            try:
                turn(draws)
            except Exception:
                stage.ledger.fail(f"{name} broke:\n{traceback.format_exc()}")
                stage.over.wait(BREATH)

    return threading.Thread(target=run, name=name, daemon=True)


@contextlib.contextmanager
def called(
    stage: Stage,
    surface: Surface,
    verb: str,
    limit: float,
    draws: random.Random,
    *allowed: type[Exception],
) -> Iterator[Call]:
    """Account for what the body does, which is cancelled now and then where that can be."""
    after = math.inf
    if surface.name != "blocking" and draws.random() < CANCELLED_SHARE:
        after = draws.uniform(0, CANCELLED_WITHIN)
    with stage.ledger.call(surface.name, verb, min(limit, after), *allowed) as call:
        with anyio.move_on_after(after) as scope:
            yield call
        if scope.cancelled_caught:
            call.outcome = CANCELLED


async def pause(draws: random.Random) -> None:
    """Between two calls."""
    await anyio.sleep(draws.uniform(0, PAUSE))


def _thread(stage: Stage, surface: Surface, turns: dict[str, Turn], name: str) -> threading.Thread:
    def run() -> None:
        try:
            anyio.run(_all_of, stage, surface, turns, backend=surface.backend)
        except BaseException:
            stage.ledger.fail(f"{name} broke:\n{traceback.format_exc()}")

    return threading.Thread(target=run, name=name, daemon=True)


async def _all_of(stage: Stage, surface: Surface, turns: dict[str, Turn]) -> None:
    before = tasks(surface.backend)
    async with anyio.create_task_group() as group:
        for name, turn in turns.items():
            group.start_soon(partial(_again, stage, surface, name, turn), name=name)
    beyond = tasks(surface.backend) - before
    stage.ledger.check(not beyond, f"{surface.name}: {beyond} tasks are left")


async def _again(stage: Stage, surface: Surface, name: str, turn: Turn) -> None:
    draws = stage.draws(f"{surface.name} {name}")
    while not stage.over.is_set():
        try:
            await turn(stage, surface, draws)
            stage.ledger.count(**{f"turns of {name}": 1})
        except Exception:
            stage.ledger.fail(f"{surface.name} {name} broke:\n{traceback.format_exc()}")
            await anyio.sleep(BREATH)


def tasks(backend: str) -> int:
    """How many the running loop has."""
    if backend == "trio":
        return int(trio.lowlevel.current_statistics().tasks_living)
    return len(asyncio.all_tasks())
