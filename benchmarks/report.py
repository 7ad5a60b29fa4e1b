"""The figures as a table, beside what they are meant to be."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

import attrs

from holding import NOTHING, Hold
from variants import COUNTERS, DUMP, ROWS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from measure import Result
    from processes import Start

#: By what is measured, sockets and caches, the highest ratio to the floor that is good enough.
RATIOS: Final = {
    (DUMP, 100_000, "hot"): 1.3,
    (DUMP, 10_000, "hot"): 1.5,
    (COUNTERS, 100_000, "hot"): 0.2,
}
#: The same for rows, whatever the population.
ROWS_RATIO: Final = 1.7
MEMORY_GROWTH: Final = 4 * 1024 * 1024
LONGEST_HOLD: Final = 0.005
START_RATIO: Final = 1.6

Line: TypeAlias = tuple[str, ...]
HEADS: Final[dict[str, Line]] = {
    "ratios": (
        "what", "sockets", "caches", "ms", "floor, ms", "ratio", "quartiles", "target", "verdict",
    ),
    "memory": ("what", "sockets", "peak, MiB", "growth, MiB", "target", "verdict"),
    "holds": ("while", "loop", "usual, ms", "worst, ms", "target", "verdict"),
    "start": ("what", "ms", "bare imports, ms", "ratio", "target", "verdict"),
}  # fmt: skip


@attrs.frozen(slots=True)
class Crowd:
    """All that was measured at one population; ``target`` is the size it was made for."""

    target: int
    results: list[Result]
    holds: list[Hold]
    memory: dict[str, int]


@attrs.frozen(slots=True)
class Machine:
    """What the figures are of."""

    kernel: str
    processor: str
    processors: int
    python: str

    def __str__(self) -> str:
        return (
            f"Linux {self.kernel}, {self.processors} processors ({self.processor}), "
            f"Python {self.python}"
        )


def this_machine() -> Machine:
    """What is known of it."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return Machine(
        platform.release(),
        names[0] if names else platform.machine(),
        len(os.sched_getaffinity(0)),
        platform.python_version(),
    )


class Report:
    """Lines of tables, and what fell short."""

    def __init__(self, crowds: Sequence[Crowd], start: Start | None) -> None:
        self._shortfalls: list[str] = []
        self._tables = {
            "ratios": [self._ratio(result, it.target) for it in crowds for result in it.results],
            "holds": [self._hold(hold, it) for it in crowds for hold in it.holds],
            "memory": list(self._memory(crowds)),
            "start": [] if start is None else [self._start(start)],
        }

    def __str__(self) -> str:
        parts = [str(this_machine())]
        for name, lines in self._tables.items():
            if lines:
                head = HEADS[name]
                parts.append("\n".join(map(_line, (head, ["---"] * len(head), *lines))))
        short = "\n".join(f"- {shortfall}" for shortfall in self._shortfalls)
        parts.append(
            f"Fell short:\n\n{short}" if short else "Every target that was measured holds."
        )
        return "\n\n".join(parts)

    def _judge(self, what: str, value: float, target: float) -> str:
        if value <= target:
            return "holds"
        verdict = f"falls short by {(value / target - 1) * 100:.0f} %"
        self._shortfalls.append(f"{what} {verdict}")
        return verdict

    def _ratio(self, result: Result, size: int) -> Line:
        base = result.name.partition(",")[0]
        target = ROWS_RATIO if base == ROWS else RATIOS.get((base, size, result.caches))
        where = f"{result.name}, {size:,} sockets, {result.caches},"
        verdict = "" if target is None else self._judge(where, result.ratio, target)
        low, high = result.quartiles
        return (
            result.name,
            f"{result.sockets:,}",
            result.caches,
            f"{result.seconds * 1000:.2f}",
            f"{result.floor_seconds * 1000:.2f}",
            f"{result.ratio:.2f}",
            f"{low:.2f} to {high:.2f}",
            "" if target is None else f"{target:g}",
            verdict,
        )

    def _memory(self, crowds: Sequence[Crowd]) -> Iterable[Line]:
        for crowd in crowds:
            for what, peak in crowd.memory.items():
                growth = peak - crowds[0].memory[what]
                verdict = target = ""
                if crowd is not crowds[0]:
                    where = f"memory, {what}, {crowd.target:,} sockets,"
                    target = f"{MEMORY_GROWTH / 2**20:.1f}"
                    verdict = self._judge(where, growth, MEMORY_GROWTH)
                mebibytes = f"{peak / 2**20:.1f}", f"{growth / 2**20:.1f}"
                yield (what, f"{crowd.target:,}", *mebibytes, target, verdict)

    def _hold(self, hold: Hold, crowd: Crowd) -> Line:
        """A verdict only where the machine itself holds the loop for less than the target."""
        target = verdict = ""
        if hold.name != NOTHING:
            target = f"{LONGEST_HOLD * 1000:g}"
            where = f"hold of {hold.backend}, {hold.name}, {crowd.target:,} sockets,"
            noise = max(
                quiet.worst
                for quiet in crowd.holds
                if quiet.name == NOTHING and quiet.backend == hold.backend
            )
            if hold.usual > LONGEST_HOLD and noise > LONGEST_HOLD:
                verdict = "cannot be told: with nothing running it is no better"
            else:
                verdict = self._judge(where, hold.usual, LONGEST_HOLD)
        usual, worst = f"{hold.usual * 1000:.2f}", f"{hold.worst * 1000:.2f}"
        return hold.name, hold.backend, usual, worst, target, verdict

    def _start(self, start: Start) -> Line:
        name = "`netlink-safe tcpstat --json`"
        if start.problem is not None:
            return name, "", "", "", f"{START_RATIO:g}", f"not measured: {start.problem}"
        return (
            name,
            f"{start.seconds * 1000:.0f}",
            f"{start.bare_seconds * 1000:.0f}",
            f"{start.ratio:.2f}",
            f"{START_RATIO:g}",
            self._judge("the command's start", start.ratio, START_RATIO),
        )


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
