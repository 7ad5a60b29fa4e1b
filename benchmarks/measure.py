"""Taking turns with the floor: what is measured, in rounds, each time beside its own floor.

Absolute times change with whatever else a machine is doing, from one second to the next; the ratio
of two measurements made one after the other changes little, and its median over rounds less.

May call ``figures``, ``floor`` and ``population``.
"""

from __future__ import annotations

import statistics
import time
from functools import partial
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import anyio
import attrs

from figures import Figure, milliseconds, ratio_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from floor import Floor
    from population import Population

Caches: TypeAlias = Literal["hot", "cold"]
Backend: TypeAlias = Literal["trio", "asyncio"]

CACHE_LINE: Final = 64
#: Bytes to walk before a cold measurement; several times the largest cache.
WALK: Final = 256 * 1024 * 1024


@attrs.frozen(slots=True)
class Variant:
    """One way to ask: ``measure`` makes calls, each after the other function, and times each.

    ``extensions`` is the mask of the floor that it is compared with.
    """

    name: str
    measure: Callable[[int, Callable[[], None]], list[float]]
    extensions: int = 0


def blocking(name: str, call: Callable[[], object], extensions: int = 0) -> Variant:
    """A variant that is a plain call."""

    def measure(calls: int, before: Callable[[], None]) -> list[float]:
        seconds = []
        for _ in range(calls):
            before()
            start = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - start)
        return seconds

    return Variant(name, measure, extensions)


def timed(name: str, call: Callable[[], float], extensions: int = 0) -> Variant:
    """A variant that takes its own time, as a program in C does that is told to."""

    def measure(calls: int, before: Callable[[], None]) -> list[float]:
        seconds = []
        for _ in range(calls):
            before()
            seconds.append(call())
        return seconds

    return Variant(name, measure, extensions)


def evented(
    name: str, backend: Backend, call: Callable[[], Awaitable[object]], extensions: int = 0
) -> Variant:
    """A variant that is awaited, in an event loop that is there before and after all its calls."""

    async def measure_inside(calls: int, before: Callable[[], None]) -> list[float]:
        seconds = []
        for _ in range(calls):
            before()
            start = time.perf_counter()
            await call()
            seconds.append(time.perf_counter() - start)
        return seconds

    def measure(calls: int, before: Callable[[], None]) -> list[float]:
        return anyio.run(measure_inside, calls, before, backend=backend)

    return Variant(f"{name}, {backend}", measure, extensions)


def compare(
    variants: Sequence[Variant],
    floor: Floor,
    crowd: Population,
    rounds: int,
    calls: int,
    caches: Caches,
) -> list[Figure]:
    """Each variant's ratio to the floor: in every round its turn comes at another place.

    Of more calls than one, the first only warms the caches up.
    """
    thrash = WALK if caches == "cold" else 0
    before = partial(_walk, bytearray(b"x") * WALK) if thrash else _nothing
    taken: dict[str, list[tuple[float, float]]] = {variant.name: [] for variant in variants}
    for number in range(rounds):
        crowd.refresh()
        first = number % len(variants) if variants else 0
        for variant in (*variants[first:], *variants[:first]):
            floors = [floor.seconds(variant.extensions, thrash=thrash) for _ in range(calls)]
            own = variant.measure(calls, before)
            taken[variant.name].append((_middle(own), _middle(floors)))
    return [
        Figure(
            study="dumps",
            name=name,
            sockets=crowd.plan.sockets,
            caches=caches,
            **milliseconds(own for own, _ in pairs),
            **ratio_of(pairs),
        )
        for name, pairs in taken.items()
    ]


def _middle(seconds: list[float]) -> float:
    return statistics.median(seconds[1:] or seconds)


def _walk(memory: bytearray) -> None:
    """Read one byte of each line; the memory was written, so that its pages are its own."""
    memory[::CACHE_LINE]


def _nothing() -> None:
    """Leave the caches as they are."""
