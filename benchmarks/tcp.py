"""How near the library comes to the kernel's own cost of a dump of TCP sockets.

::

    python benchmarks/tcp.py [--sockets 1000 10000 100000] [--rounds N] [--json FILE] [--all]

Run it as root, or in a user namespace where you are: every population lives in a network namespace
of its own.  It prints tables in Markdown, with what the figures are meant to be, and always ends
with status 0: a figure is not a test.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Final

import attrs

from floor import Floor
from holding import holds
from measure import compare
from population import enter_namespace, plan_of, population
from processes import peak_memory, start_of_the_command
from report import Crowd, Report, this_machine
from variants import DUMP, ROWS, of_others, of_the_kernel, of_the_library

SIZES: Final = (1_000, 10_000, 100_000)
#: Where hot and cold are worth telling apart: above it nothing fits a cache, below it all does.
TELLING: Final = 10_000
#: Above this, what is slow by nature is left out unless asked for.
SLOW: Final = 50_000
#: Where the event loop is watched: a population that could hold it for long.
LARGE: Final = 100_000
FEW: Final = 3
STARTS: Final = 15
REPEATS: Final = 9


def measure_crowd(size: int, rounds: int, everything: bool) -> Crowd:
    """Everything at one population, in a process and a namespace of their own."""
    enter_namespace()
    calls = max(1, min(10, SLOW // size))
    own = of_the_library()
    others = of_others(everything or size < SLOW)
    with population(plan_of(size)) as crowd, Floor() as floor:
        own += of_the_kernel(floor)
        results = compare(own, floor, crowd, rounds, calls, "hot")
        results += compare(others, floor, crowd, FEW, 1, "hot")
        if size == TELLING:
            results += compare(own, floor, crowd, rounds, 1, "cold")
        crowd.refresh()
        held = holds(REPEATS) if size >= LARGE else []
        memory = {what: peak_memory(what) for what in (DUMP, ROWS)}
    return Crowd(size, results, held, memory)


def main() -> None:
    """Measure, print, and write the same as JSON if a file is named."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sockets", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    parser.add_argument("--all", action="store_true", help="the slowest at every size, too")
    options = parser.parse_args()
    # A fresh process for each population: no thread, descriptor or cache of an earlier one is left.
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, fresh, max_tasks_per_child=1) as pool:
        crowds = [
            pool.submit(measure_crowd, size, options.rounds, options.all).result()
            for size in sorted(options.sockets)
        ]
    enter_namespace()
    start = start_of_the_command(STARTS)
    if options.json:
        figures = {
            "machine": attrs.asdict(this_machine()),
            "crowds": [attrs.asdict(crowd) for crowd in crowds],
            "start": attrs.asdict(start),
        }
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    print(Report(crowds, start))


if __name__ == "__main__":
    main()
