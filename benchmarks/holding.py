"""How long an operation keeps an event loop from its other tasks.

May call ``figures``, ``measure`` and ``variants``.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Final, get_args

import anyio
from anyio.lowlevel import checkpoint

from figures import Figure, milliseconds
from measure import Backend
from variants import AWAITED

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

NOTHING: Final = "nothing"
#: Seconds for which the loop is watched while nothing else runs: about what a dump takes.
QUIET: Final = 0.2


def holds(repeats: int, sockets: int) -> list[Figure]:
    """Every awaited operation on either event loop, and none, which is the machine's own noise.

    The median of the longest gaps of a task that does nothing but let others run.
    """
    operations: dict[str, Callable[[], Awaitable[object]]] = {
        NOTHING: partial(anyio.sleep, QUIET),
        **AWAITED,
    }
    return [
        Figure(
            study="holds",
            name=f"{name}, {backend}",
            sockets=sockets,
            **milliseconds(anyio.run(_longest_gap, call, backend=backend) for _ in range(repeats)),
        )
        for backend in get_args(Backend)
        for name, call in operations.items()
    ]


async def _longest_gap(operation: Callable[[], Awaitable[object]]) -> float:
    await operation()  # what is imported and opened for the first time is another matter
    longest = 0.0

    async def tick() -> None:
        nonlocal longest
        last = time.perf_counter()
        while True:
            await checkpoint()
            now = time.perf_counter()
            longest = max(longest, now - last)
            last = now

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(tick)
        await checkpoint()
        await operation()
        await checkpoint()  # a hold at the very end is seen by the next tick
        tasks.cancel_scope.cancel()
    return longest
