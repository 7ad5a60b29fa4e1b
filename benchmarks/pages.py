"""What the code of the pages for agents costs, before by after, on the same sockets.

Each block is held by an interpreter of its own, which makes one call that is not counted; both take
turns then, and a figure is the median of their ratios.

May call ``agent_pages``, ``figures``, ``population`` and ``processes``.
"""

from __future__ import annotations

import multiprocessing
import runpy
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING, Final

from agent_pages import block, blocks_of, pages
from figures import Figure, milliseconds, ratio_of
from population import enter_namespace, plan_of, population
from processes import in_a_process_of_its_own

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from agent_pages import Block
    from figures import Effort

SOCKETS: Final = 10_000
#: The function of the block that this process holds.
_held: Callable[[], object]


def measure(effort: Effort) -> Iterator[Figure]:
    """Every pair of blocks that has a function without parameters to be given."""
    size = min(SOCKETS, max(effort.sockets))
    yield from in_a_process_of_its_own(_compare_pages, size, effort.rounds)


def _compare_pages(size: int, rounds: int) -> list[Figure]:
    enter_namespace()
    found = []
    with population(plan_of(size)) as crowd:
        for page in pages():
            for before in blocks_of(page):
                if before.when == "before" and before.function not in {"", "observe"}:
                    crowd.refresh()
                    pairs = compared(before, block(page, "after", before.name), rounds)
                    found.append(
                        Figure(
                            study="agents",
                            name=f"{page}, {before.name}",
                            sockets=size,
                            **milliseconds(after for _, after in pairs),
                            **ratio_of(pairs),
                        )
                    )
    return found


class Worker:
    """A process that holds a block."""

    def __init__(self, held: Block) -> None:
        fresh = multiprocessing.get_context("spawn")
        self.pool = ProcessPoolExecutor(1, fresh, hold, (held,))
        self.seconds()

    def seconds(self) -> float:
        """How long one call takes."""
        return self.pool.submit(measured).result()


def hold(block: Block) -> None:
    """Run the block as the program that it is, and keep its function."""
    global _held  # noqa: PLW0603  # it is what this process is for
    with tempfile.NamedTemporaryFile("w", suffix=".py") as program:
        program.write(block.code)
        program.flush()
        _held = runpy.run_path(program.name)[block.function]


def measured() -> float:
    """How long one call of the held function takes, in seconds."""
    start = time.perf_counter()
    _held()
    return time.perf_counter() - start


def compared(before: Block, after: Block, rounds: int) -> list[tuple[float, float]]:
    """Seconds of both, round by round."""
    first, second = Worker(before), Worker(after)
    with first.pool, second.pool:
        return [(first.seconds(), second.seconds()) for _ in range(rounds)]
