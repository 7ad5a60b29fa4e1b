"""What the code of the pages for agents costs, before by after, on the same sockets.

::

    python benchmarks/agents.py [--sockets 10000] [--rounds 9]

Run it as root, or in a user namespace where you are: the population lives in a network namespace of
its own.  Each block is held by an interpreter of its own, which makes one call that is not counted;
both take turns then, and a figure is the median of their ratios.  It prints a table in Markdown and
always ends with status 0: a figure is not a test.
"""

from __future__ import annotations

import argparse
import multiprocessing
import runpy
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING, Final

from agent_pages import block, blocks_of, pages
from population import enter_namespace, plan_of, population
from report import this_machine

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent_pages import Block

HEADER: Final = """
| page | block | before | after | before by after |
|---|---|---|---|---|"""
#: The function of the block that this process holds.
_held: Callable[[], object]


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


def compared(before: Block, after: Block, rounds: int) -> tuple[float, float, float]:
    """Median seconds of both, and the median of their ratios."""
    first, second = Worker(before), Worker(after)
    with first.pool, second.pool:
        pairs = [(first.seconds(), second.seconds()) for _ in range(rounds)]
    ratio = statistics.median(old / new for old, new in pairs)
    old, new = (statistics.median(each) for each in zip(*pairs, strict=True))
    return old, new, ratio


def main() -> None:
    """Measure every pair of blocks that has a function without parameters to be given."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sockets", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    enter_namespace()
    print(f"{options.sockets} sockets, {this_machine()}")
    print(HEADER)
    with population(plan_of(options.sockets)) as crowd:
        for page in pages():
            for before in blocks_of(page):
                if before.when == "before" and before.function not in {"", "observe"}:
                    crowd.refresh()
                    after = block(page, "after", before.name)
                    old, new, ratio = compared(before, after, options.rounds)
                    times = f"{1000 * old:.1f} ms | {1000 * new:.1f} ms"
                    print(f"| {page} | {before.name} | {times} | {ratio:.2g} |", flush=True)


if __name__ == "__main__":
    main()
