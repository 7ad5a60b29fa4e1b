"""How near the library comes to the kernel's own cost of a dump of TCP sockets, and who else does.

Each population lives in a process and a network namespace of its own, so that no thread, descriptor
or cache of an earlier one is left.

May call ``figures``, ``floor``, ``holding``, ``measure``, ``one_collection``,
``population``, ``processes`` and ``variants``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from figures import MEBIBYTE, MEBIBYTES, Figure
from floor import Floor
from holding import holds
from measure import compare
from one_collection import COLLECTIONS
from population import enter_namespace, plan_of, population
from processes import in_a_process_of_its_own, peak_memory
from variants import of_a_compiled_program, of_others, of_the_library

if TYPE_CHECKING:
    from collections.abc import Iterator

    from figures import Effort

#: Where hot and cold are worth telling apart: above it nothing fits a cache, below it all does.
TELLING: Final = 10_000
#: Calls to a round are so many sockets' worth.
AT_ONCE: Final = 50_000
REPEATS: Final = 9


def measure(effort: Effort) -> Iterator[Figure]:
    """Time, the event loop's longest hold, and memory, at each population."""
    smallest: dict[str, float] = {}
    for size in sorted(effort.sockets):
        for figure in in_a_process_of_its_own(measure_crowd, size, effort):
            yield figure
            if figure.study == "memory":
                growth = figure.value - smallest.setdefault(figure.name, figure.value)
                yield attrs.evolve(figure, name=f"growth, {figure.name}", value=growth)


def measure_crowd(size: int, effort: Effort) -> list[Figure]:
    """Everything at one population."""
    enter_namespace()
    calls = max(1, min(10, AT_ONCE // size))
    with population(plan_of(size)) as crowd, Floor() as floor:
        own, others = of_the_library() + of_a_compiled_program(floor), of_others()
        results = compare(own, floor, crowd, effort.rounds, calls, "hot")
        results += compare(others, floor, crowd, effort.few, 1, "hot")
        if size == TELLING:
            results += compare(of_the_library(), floor, crowd, effort.rounds, 1, "cold")
            results += compare(others, floor, crowd, effort.few, 1, "cold")
        crowd.refresh()
        if size == max(effort.sockets):
            results += holds(REPEATS, crowd.plan.sockets)
        for what in COLLECTIONS:
            peak = peak_memory(what) / MEBIBYTE
            results.append(
                Figure(study="memory", name=what, sockets=size, value=peak, unit=MEBIBYTES)
            )
    return results
