"""Everything at once on the real kernel, and faults: nothing hangs, is lost unsaid, or is left.

::

    python benchmarks/soak.py --minutes N [--seed S] [--grace SECONDS] [--json FILE]

Run it as root or as yourself: it enters namespaces of its own.  It takes what tests take.
On trio, asyncio and in blocking threads, all in one process: every verb, cancelled and closed at
random; dumps while sockets and namespaces come and go; listeners in storms; outboxes to peers that
do not read; scrapes, also of the exporter as a process.  One fault after another is put in place.
It prints what was called and counted, and ends with status 1 where anything was late, in a way that
no fault excuses, unaccounted for or left over; the seed repeats who does what, not when.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import logging
import os
import random
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs

sys.path.append(str(Path(__file__).parent.parent / "tests"))

import exporters
import kernel
from figures import this_machine
from soaking import asking, counting, crowds, leaks, listening, metronome, posting, scraping
from soaking.accounts import Ledger
from soaking.faults import Weather
from soaking.stage import Stage, acting, looping
from surfaces import SURFACES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from soaking.stage import Turn

#: Seconds that a call may take beyond its deadline where all of this runs at once, unless said.
GRACE: Final = 2.0
#: Seconds between two looks at memory, and the fewest looks.
SAMPLED: Final = 5.0
SAMPLES: Final = 12
#: Seconds that one listens or posts at a stretch: a share of the run, within bounds.
ROUND: Final = (0.5, 8.0)
ROUND_SHARE: Final = 0.1
#: Seconds in which everybody comes to an end when it is over.
ENDING: Final = 120.0

#: The release that brought the generic family that tells of network devices.
NETDEV_SINCE: Final = (6, 3)

TURNS: Final[dict[str, Turn]] = {
    "verbs": asking.turn,
    "dumps": counting.turn,
    "uevents": listening.devices,
    "closings": listening.closings,
    "outboxes": posting.turn,
}
if kernel.release() >= NETDEV_SINCE:
    TURNS["notifications"] = listening.notifications


class _Noted(logging.Handler):
    """Whatever is logged as an error is a failure."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__(logging.ERROR)
        self._ledger = ledger

    def emit(self, record: logging.LogRecord) -> None:
        self._ledger.fail(f"logged: {self.format(record)}")


@contextlib.contextmanager
def noticing(ledger: Ledger) -> Iterator[None]:
    """What would only be printed, in a thread's end or the garbage collector, is a failure."""
    noted = _Noted(ledger)
    logging.getLogger().addHandler(noted)
    warnings.simplefilter("error", ResourceWarning)
    hooks = sys.unraisablehook, threading.excepthook
    sys.unraisablehook = lambda it: ledger.fail(f"unraisable in {it.object!r}: {it.exc_value!r}")
    threading.excepthook = lambda it: ledger.fail(f"a thread ended by {it.exc_value!r}")
    try:
        yield
    finally:
        gc.collect()
        sys.unraisablehook, threading.excepthook = hooks
        logging.getLogger().removeHandler(noted)


def soak(seconds: float, seed: int, grace: float, directory: Path) -> dict[str, Any]:
    """Run for so long; the figures, and the failures among them."""
    weather = Weather(random.Random(f"{seed} weather"))
    ledger = Ledger(weather, grace)
    least, most = ROUND
    stage = Stage(
        seed=seed,
        round=min(max(seconds * ROUND_SHARE, least), most),
        directory=directory,
        weather=weather,
        ledger=ledger,
    )
    before = leaks.left()
    memory = leaks.Memory()
    with noticing(ledger):
        with contextlib.ExitStack() as held:
            held.enter_context(metronome.ticking(weather))
            scraped = scraping.Scraped(stage, held.enter_context(exporters.running()))
            connections = held.enter_context(contextlib.closing(crowds.Connections(stage)))
            held.enter_context(crowds.standing(stage))
            threads = [each for surface in SURFACES for each in acting(stage, surface, TURNS)]
            threads += [
                looping(stage, "weather", lambda _: weather.turn(stage.over)),
                looping(stage, "connections", connections.turn),
                looping(stage, "links", crowds.pairs(stage)),
                looping(stage, "namespaces", crowds.namespaces(stage)),
                looping(stage, "registry", scraping.registry(stage)),
                looping(stage, "scraper", scraped.turn),
                looping(stage, "another scraper", scraped.turn),
            ]
            for thread in threads:
                thread.start()
            sample(seconds, memory, scraped)
            stage.over.set()
            end = time.monotonic() + ENDING
            for thread in threads:
                thread.join(max(0.0, end - time.monotonic()))
                ledger.check(not thread.is_alive(), f"{thread.name} does not come to its end")
            for beyond in scraped.beyond():
                ledger.fail(beyond)
        for beyond in leaks.left_at_last(before):
            ledger.fail(beyond)
    growth = {"soak": memory, "exporter": scraped.memory}
    for name, each in growth.items():
        is_bounded = seconds < leaks.JUDGED or each.slope <= leaks.BOUND
        ledger.check(is_bounded, f"the {name}'s memory grows by {each.slope:.2f} MiB a minute")
    return {
        "machine": attrs.asdict(this_machine()),
        "seconds": seconds,
        "grace": grace,
        "seed": seed,
        "verbs": [
            {"verb": verb, "surface": surface, **attrs.asdict(it), "calls": it.calls}
            for (surface, verb), it in ledger.verbs().items()
        ],
        "faults": weather.begun,
        "counts": ledger.counts,
        "memory": {
            name: {"peak_mib": each.peak, "mib_a_minute": each.slope, "mib": each.mebibytes}
            for name, each in growth.items()
        },
        "failed": ledger.failed,
        "failures": ledger.failures,
    }


def sample(seconds: float, memory: leaks.Memory, scraped: scraping.Scraped) -> None:
    """Look at memory now and then, until the time is over."""
    end = time.monotonic() + seconds
    every = min(SAMPLED, seconds / SAMPLES)
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(every, left))
        memory.sample()
        scraped.sample()


def table(figures: dict[str, Any]) -> str:
    """The same, for people."""
    lines = ["| verb | on | calls | how they ended | worst lateness, ms |", "|---|---|---|---|---|"]
    for it in figures["verbs"]:
        ends = ", ".join(f"{name} {count:,}" for name, count in it["outcomes"].items())
        late = f"{it['worst'] * 1000:.0f}"
        lines.append(f"| {it['verb']} | {it['surface']} | {it['calls']:,} | {ends} | {late} |")
    lines += ["", "| counted | |", "|---|---|"]
    lines += [f"| {name} | {count:,} |" for name, count in figures["counts"].items()]
    lines += [f"| fault: {name} | {count:,} |" for name, count in figures["faults"].items()]
    for name, it in figures["memory"].items():
        lines.append(f"| {name}: peak of memory, MiB | {it['peak_mib']:.1f} |")
        lines.append(f"| {name}: its growth in MiB a minute | {it['mib_a_minute']:.3f} |")
    return "\n".join(lines)


def main() -> None:
    """Run, print, and end with 1 where anything failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--grace", type=float, default=GRACE, metavar="SECONDS")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    options = parser.parse_args()
    print(f"{this_machine()}\nseed {options.seed}, grace {options.grace:g} s\n", flush=True)
    if os.geteuid() != 0:
        kernel.become_root_of_a_user_namespace()
    kernel.enter_own_namespaces()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        figures = soak(options.minutes * 60, options.seed, options.grace, Path(directory))
    print(table(figures))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    for failure in figures["failures"]:
        print(f"\nFAILED: {failure}")
    print(f"\n{figures['failed']} failures; --seed {figures['seed']} draws the same again")
    sys.exit(1 if figures["failed"] else 0)


if __name__ == "__main__":
    main()
