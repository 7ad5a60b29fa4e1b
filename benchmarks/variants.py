"""The ways to ask: the library's own, a compiled program's, and what a user would take instead.

May call ``measure`` and ``one_collection``.
"""

from __future__ import annotations

import importlib.util
import shutil
import socket
import subprocess
from functools import partial
from typing import TYPE_CHECKING, Final, get_args

from measure import Backend, Variant, blocking, evented, timed
from netlink_safe.aio.sock_diag import open_sock_diag
from netlink_safe.collectors.tcpstat import collect, collect_blocking
from netlink_safe.families.tcp import tcp_sockets
from one_collection import COLLECTIONS, DUMP, ROWS, TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from floor import Floor

COUNTERS: Final = "counters"
#: A floor for COUNTERS: what the kernel takes to find the rows that it asks for.
RARE: Final = "C: both dumps, of rare states alone"
COMPILED: Final = "C: one walk, every row counted"
COMPILED_ROWS: Final = "C: the same with tcp_info"
#: Every everyday state but ESTABLISHED and TIME_WAIT.
RARE_STATES: Final = 0xFFE & ~(1 << 1 | 1 << 6)
#: The mask that asks for tcp_info.
INFO: Final = 2

#: What an async program may have under way, by its name.
AWAITED: Final[dict[str, Callable[[], Awaitable[object]]]] = {}


async def rows() -> None:
    """Do what ``one_collection.rows`` does, in an event loop."""
    async with open_sock_diag(timeout=TIMEOUT) as diag:
        async for _ in diag.dump(tcp_sockets(extensions=["info"])):
            pass


AWAITED[DUMP] = partial(collect, TIMEOUT, "dump")
AWAITED[COUNTERS] = partial(collect, TIMEOUT, "counters")
AWAITED[ROWS] = rows


def of_the_library() -> list[Variant]:
    """Counts by a dump, counts by counters, and rows: in blocking code, on trio, on asyncio."""
    variants = [
        blocking(DUMP, COLLECTIONS[DUMP]),
        blocking(COUNTERS, partial(collect_blocking, TIMEOUT, "counters")),
        blocking(ROWS, COLLECTIONS[ROWS], INFO),
    ]
    for backend in get_args(Backend):
        for name, call in AWAITED.items():
            variants.append(evented(name, backend, call, INFO if name == ROWS else 0))
    return variants


def of_a_compiled_program(floor: Floor) -> list[Variant]:
    """What the library cannot go below, and what it would come to if it were written in C."""
    return [
        timed(RARE, partial(floor.seconds, states=RARE_STATES)),
        timed(COMPILED, floor.counting),
        timed(COMPILED_ROWS, partial(floor.counting, INFO), INFO),
    ]


def of_others() -> list[Variant]:
    """What is installed."""
    variants = [blocking("lines of /proc/net/tcp and tcp6", _count_lines)]
    if shutil.which("ss"):
        variants.append(blocking("`ss -Htan`", partial(_run, "ss", "-Htan")))
        variants.append(blocking("`ss -Htani`", partial(_run, "ss", "-Htani"), INFO))
    if importlib.util.find_spec("psutil"):
        variants.append(blocking("psutil.net_connections", _ask_psutil))
    variants.append(blocking("pyroute2's DiagSocket", _ask_pyroute2))
    return variants


def _run(*command: str) -> None:
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)


def _count_lines() -> int:
    count = 0
    for name in ("tcp", "tcp6"):
        with open(f"/proc/thread-self/net/{name}", "rb") as file:
            count += sum(1 for _ in file)
    return count


def _ask_psutil() -> object:
    import psutil

    return psutil.net_connections("tcp")


def _ask_pyroute2() -> int:
    from pyroute2 import DiagSocket

    with DiagSocket() as diag:
        diag.bind()
        families = (socket.AF_INET, socket.AF_INET6)
        return sum(len(list(diag.get_sock_stats(family=family))) for family in families)
