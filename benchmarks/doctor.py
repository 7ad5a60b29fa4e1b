"""What a doctor's look costs: among many processes, some of which hold netlink sockets.

::

    python benchmarks/doctor.py [--processes 5000] [--sockets 1000] [--json FILE]

It needs no privilege.  The processes are its own, and end with it.  It prints a table in Markdown,
and always ends with status 0: a figure is not a test.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

from netlink_safe.doctor import examine_blocking
from report import this_machine

if TYPE_CHECKING:
    from collections.abc import Iterator

USERSOCK = 2
INTERVAL = 0.1
ROUNDS = 5


@contextlib.contextmanager
def many(processes: int, sockets: int) -> Iterator[None]:
    """So many processes, the first of which hold a netlink socket each; all sleep."""
    reading, writing = os.pipe()
    pids = []
    try:
        for number in range(processes):
            pid = os.fork()
            if pid == 0:
                _sleep(writing, number < sockets)
            pids.append(pid)
        ready = 0
        while ready < processes:
            ready += len(os.read(reading, 65536))
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        for pid in pids:
            os.waitpid(pid, 0)
        os.close(reading)
        os.close(writing)


def _sleep(writing: int, with_socket: bool) -> None:
    with contextlib.ExitStack() as opened:
        if with_socket:
            sock = opened.enter_context(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, USERSOCK))
            sock.bind((0, 0))
        os.write(writing, b"x")
        while True:
            signal.pause()


def main() -> None:
    """Make the processes, look a few times, and print the best."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--processes", type=int, default=5000)
    parser.add_argument("--sockets", type=int, default=1000)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    figures = []
    with many(asked.processes, asked.sockets):
        for _ in range(ROUNDS):
            wall, processor = time.monotonic(), time.process_time()
            report = examine_blocking(INTERVAL, timeout=60)
            figures.append((time.monotonic() - wall - INTERVAL, time.process_time() - processor))
            assert len(report.sockets) >= asked.sockets
    wall, processor = min(figures)
    print(f"{this_machine()}\n")
    print("| processes | sockets | seconds beside the interval | processor seconds |")
    print("|---|---|---|---|")
    print(f"| {asked.processes:,} | {asked.sockets:,} | {wall:.2f} | {processor:.2f} |")
    if asked.json:
        told = {"processes": asked.processes, "sockets": asked.sockets, "wall": wall}
        asked.json.write_text(json.dumps({**told, "processor": processor}) + "\n", "utf-8")


if __name__ == "__main__":
    main()
