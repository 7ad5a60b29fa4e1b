"""What a doctor's look costs: among many processes, some of which hold netlink sockets.

The processes are its own, and end with it.

May call ``figures`` and ``processes``.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from typing import TYPE_CHECKING, Final

from figures import Figure
from netlink_safe.doctor import examine_blocking
from processes import in_a_process_of_its_own

if TYPE_CHECKING:
    from collections.abc import Iterator

    from figures import Effort

USERSOCK: Final = 2
INTERVAL: Final = 0.1
ROUNDS: Final = 5


def measure(effort: Effort) -> Iterator[Figure]:
    """The best of a few looks: what else the machine does makes them longer, never shorter."""
    yield from in_a_process_of_its_own(_look, effort.processes, effort.netlink_sockets)


def _look(processes: int, sockets: int) -> list[Figure]:
    taken = []
    with many(processes, sockets):
        for _ in range(ROUNDS):
            wall, processor = time.monotonic(), time.process_time()
            report = examine_blocking(INTERVAL, timeout=60)
            taken.append((time.monotonic() - wall - INTERVAL, time.process_time() - processor))
            if len(report.sockets) < sockets:
                raise RuntimeError(f"{sockets} sockets are there, {len(report.sockets)} were seen")
    wall, processor = min(taken)
    among = f"{sockets:,} sockets among {processes:,} processes"
    return [
        Figure(study="doctor", name=f"{name}, {among}", value=seconds, unit="s")
        for name, seconds in {
            "seconds beside the interval": wall,
            "seconds of a processor": processor,
        }.items()
    ]


@contextlib.contextmanager
def many(processes: int, sockets: int) -> Iterator[None]:
    """So many processes, the first of which hold a netlink socket each; all sleep."""
    reading, writing = os.pipe()
    pids = []
    try:
        for number in range(processes):
            pid = os.fork()
            if pid == 0:
                try:
                    _sleep(writing, number < sockets)
                finally:  # whatever it is, the parent's own code is none of a child's business
                    os._exit(1)
            pids.append(pid)
        os.close(writing)
        ready = 0
        while ready < processes:
            if not (told := os.read(reading, 65536)):  # nobody is left who would write
                raise RuntimeError(f"only {ready} of {processes} processes have their sockets")
            ready += len(told)
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        for pid in pids:
            os.waitpid(pid, 0)
        os.close(reading)


def _sleep(writing: int, with_socket: bool) -> None:
    with contextlib.ExitStack() as opened:
        if with_socket:
            sock = opened.enter_context(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, USERSOCK))
            sock.bind((0, 0))
        os.write(writing, b"x")
        os.close(writing)
        while True:
            signal.pause()
