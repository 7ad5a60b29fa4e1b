"""What was measured, as records: figures, what they are meant to be, and the machine they are of.

May call nothing of the others.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

MILLISECONDS: Final = "ms"
MEBIBYTES: Final = "MiB"
MEBIBYTE: Final = 1 << 20


@attrs.frozen(slots=True, kw_only=True)
class Figure:
    """One thing that was measured: ``value`` is in ``unit``, the median where it was repeated.

    ``study`` is the table that it stands in, ``sockets`` how many there were, 0 where none matter.
    ``ratio`` is to what the study compares with: the median over rounds, and their ``quartiles``.
    """

    study: str
    name: str
    sockets: int = 0
    caches: str = ""
    value: float
    unit: str
    ratio: float | None = None
    quartiles: tuple[float, float] | None = None


@attrs.frozen(slots=True, kw_only=True)
class Effort:
    """How much is measured: populations, rounds of each, and the sizes of everything else."""

    sockets: tuple[int, ...]
    rounds: int
    #: For what takes long: all that others do at the largest population.
    few: int
    starts: int
    events: int
    storm: int
    sends: int
    processes: int
    netlink_sockets: int


FULL: Final = Effort(
    sockets=(1_000, 10_000, 100_000),
    rounds=31,
    few=5,
    starts=15,
    events=50_000,
    storm=100_000,
    sends=100_000,
    processes=5_000,
    netlink_sockets=1_000,
)
#: Whether all of it works; its figures tell nothing.
QUICK: Final = Effort(
    sockets=(200, 400),
    rounds=2,
    few=1,
    starts=1,
    events=2_000,
    storm=2_000,
    sends=2_000,
    processes=50,
    netlink_sockets=10,
)


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


def ratio_of(pairs: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """The first of each pair by its second, as ``Figure`` takes it."""
    ratios = [one / other for one, other in pairs]
    low, _, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    return {"ratio": statistics.median(ratios), "quartiles": (low, high)}


def milliseconds(seconds: Iterable[float]) -> dict[str, Any]:
    """The median of times, as ``Figure`` takes it."""
    return {"value": statistics.median(seconds) * 1000, "unit": MILLISECONDS}


def save(directory: Path, machine: Machine, figures: Iterable[Figure]) -> None:
    """Write a file for each study, and leave the files of others as they are."""
    directory.mkdir(parents=True, exist_ok=True)
    for study, own in by_study(figures).items():
        told = {"machine": attrs.asdict(machine), "figures": [attrs.asdict(each) for each in own]}
        text = json.dumps(told, indent=1) + "\n"
        (directory / f"{study}.json").write_text(text, encoding="utf-8")


def load(directory: Path) -> tuple[list[Machine], list[Figure]]:
    """What ``save`` has written: the figures, and every machine that some of them are of."""
    machines: dict[Machine, None] = {}
    figures = []
    for path in sorted(directory.glob("*.json")):
        told = json.loads(path.read_text(encoding="utf-8"))
        machines[Machine(**told["machine"])] = None
        for each in told["figures"]:
            quartiles = each.pop("quartiles")
            figures.append(Figure(**each, quartiles=quartiles and tuple(quartiles)))
    return list(machines), figures


def by_study(figures: Iterable[Figure]) -> Mapping[str, list[Figure]]:
    """The figures of each study, in their order."""
    found: dict[str, list[Figure]] = {}
    for figure in figures:
        found.setdefault(figure.study, []).append(figure)
    return found
