"""What only a process of its own shows: peak memory, how long imports and the command take.

May call ``figures`` and ``population``.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

from figures import Figure, milliseconds, ratio_of
from population import enter_namespace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from figures import Effort

T = TypeVar("T")
P = ParamSpec("P")

COMMAND: Final = str(Path(sys.executable).with_name("netlink-safe"))
COLLECTION: Final = Path(__file__).with_name("one_collection.py")
TOOL: Final = (COMMAND, "tcpstat", "--json")
BASELINE: Final = "import of click, attrs, json and socket"
#: What is imported, by what the tables call it; the first is what a command could not do without.
IMPORTS: Final = {
    BASELINE: "click, attrs, json, socket",
    "nothing": "sys",
    "import of netlink_safe.blocking": "netlink_safe.blocking",
    "the same, and a name of it used": "netlink_safe.blocking; netlink_safe.blocking.open_uevents",
    "import of netlink_safe on trio": "trio, netlink_safe; netlink_safe.open_uevents",
    "import of pyroute2": "pyroute2",
    "import of pyudev": "pyudev",
    "import of psutil": "psutil",
}
#: An installed program has its bytecode beside it, so that nothing is compiled as it starts.
BYTECODE: Final = Path(__file__).with_name("_build") / "bytecode"


def in_a_process_of_its_own(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What a function comes to in a new interpreter, which is gone then."""
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, fresh) as pool:
        return pool.submit(call, *args, **kwargs).result()


def peak_memory(what: str) -> int:
    """The most bytes that a fresh process holds while it collects once in this namespace."""
    for _ in range(2):  # the first may still have to compile its modules, which takes memory
        done = subprocess.run(
            [sys.executable, str(COLLECTION), what],
            stdout=subprocess.PIPE,
            env=_environment(),
            text=True,
            check=True,
        )
    return int(done.stdout)


def measure(effort: Effort) -> Iterator[Figure]:
    """Whole processes, by one that imports what any such command would, taking turns."""
    yield from in_a_process_of_its_own(_starts, effort)


def _starts(effort: Effort) -> list[Figure]:
    enter_namespace()
    commands = {"`netlink-safe tcpstat --json`": TOOL}
    for name, imported in IMPORTS.items():
        modules = imported.partition(";")[0].split(", ")
        if all(importlib.util.find_spec(module.partition(".")[0]) for module in modules):
            commands[name] = (sys.executable, "-c", f"import {imported}")
    for command in commands.values():  # once to fill caches
        _process_seconds(command)
    rounds = [
        {name: _process_seconds(command) for name, command in commands.items()}
        for _ in range(effort.starts)
    ]
    return [
        Figure(
            study="starts",
            name=name,
            **milliseconds(each[name] for each in rounds),
            **ratio_of([(each[name], each[BASELINE]) for each in rounds]),
        )
        for name in commands
    ]


def _process_seconds(command: tuple[str, ...]) -> float:
    environment = _environment()
    start = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, env=environment, check=True)
    return time.perf_counter() - start


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"PYTHONPYCACHEPREFIX": str(BYTECODE)}
