"""Taking turns with the floor: what is measured, in rounds, each time beside its own floor.

Absolute times change with whatever else a machine is doing, from one second to the next; the ratio
of two measurements made one after the other changes little, and its median over rounds less.
"""

from __future__ import annotations

import statistics
import time
from functools import partial
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import anyio
import attrs

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


@attrs.frozen(slots=True)
class Result:
    """A variant at one population: medians in seconds, and of the ratios of the rounds."""

    name: str
    sockets: int
    caches: Caches
    rounds: int
    seconds: float
    floor_seconds: float
    ratio: float
    quartiles: tuple[float, float]


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
) -> list[Result]:
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
        _result(variant.name, crowd.plan.sockets, caches, taken[variant.name])
        for variant in variants
    ]


def _middle(seconds: list[float]) -> float:
    return statistics.median(seconds[1:] or seconds)


def _result(
    name: str, sockets: int, caches: Caches, pairs: Sequence[tuple[float, float]]
) -> Result:
    ratios = [own / floor for own, floor in pairs]
    low, _, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    return Result(
        name=name,
        sockets=sockets,
        caches=caches,
        rounds=len(pairs),
        seconds=statistics.median(own for own, _ in pairs),
        floor_seconds=statistics.median(floor for _, floor in pairs),
        ratio=statistics.median(ratios),
        quartiles=(low, high),
    )


def _walk(memory: bytearray) -> None:
    """Read one byte of each line; the memory was written, so that its pages are its own."""
    memory[::CACHE_LINE]


def _nothing() -> None:
    """Leave the caches as they are."""
