"""What only a process of its own shows: peak memory, and how long the command takes to start.

As a program it makes one collection and prints the growth of its own memory.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import attrs

from variants import DUMP, ROWS, TIMEOUT, rows_blocking

COMMAND: Final = Path(sys.executable).with_name("netlink-safe")
TOOL: Final = [str(COMMAND), "tcpstat", "--json"]
#: What a command made of these could not do without.
BARE: Final = [sys.executable, "-c", "import click, attrs, json, socket"]
#: What /proc/self/clear_refs takes for VmHWM to start again.
RESET_PEAK: Final = "5"
#: An installed program has its bytecode beside it, so that nothing is compiled as it starts.
BYTECODE: Final = Path(__file__).with_name("_build") / "bytecode"


@attrs.frozen(slots=True)
class Start:
    """Whole processes: the command, and an interpreter that imports what any such command would.

    ``problem`` says why there is no figure.
    """

    seconds: float = 0.0
    bare_seconds: float = 0.0
    ratio: float = 0.0
    problem: str | None = None


def peak_memory(what: str) -> int:
    """The most bytes that a fresh process holds while it collects once in this namespace."""
    for _ in range(2):  # the first may still have to compile its modules, which takes memory
        done = subprocess.run(
            [sys.executable, __file__, what],
            stdout=subprocess.PIPE,
            env=_environment(),
            text=True,
            check=True,
        )
    return int(done.stdout)


def start_of_the_command(rounds: int) -> Start:
    """The command against bare imports, taking turns, after one of each to fill caches."""
    if not COMMAND.exists():
        return Start(problem=f"there is no {COMMAND.name} beside this interpreter")
    done = subprocess.run(TOOL, capture_output=True, env=_environment(), text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["nothing said"])[-1]
        return Start(problem=f"{COMMAND.name} tcpstat --json failed: {last}")
    _process_seconds(BARE)
    pairs = [(_process_seconds(TOOL), _process_seconds(BARE)) for _ in range(rounds)]
    return Start(
        statistics.median(own for own, _ in pairs),
        statistics.median(bare for _, bare in pairs),
        statistics.median(own / bare for own, bare in pairs),
    )


def _process_seconds(command: list[str]) -> float:
    environment = _environment()
    start = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, env=environment, check=True)
    return time.perf_counter() - start


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"PYTHONPYCACHEPREFIX": str(BYTECODE)}


def _own_peak() -> int:
    """VmHWM in bytes; ru_maxrss would have the parent's in it from before the exec."""
    with open("/proc/self/status", encoding="ascii") as file:
        line = next(line for line in file if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def _collect_once(what: str) -> None:
    from netlink_safe.collectors.tcpstat import collect_blocking

    # Forget the peak of the imports, which would hide a growth below it.
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write(RESET_PEAK)
    if what == ROWS:
        rows_blocking()
    else:
        collect_blocking(TIMEOUT, "dump" if what == DUMP else "counters")


if __name__ == "__main__":
    _collect_once(sys.argv[1])
    print(_own_peak())
