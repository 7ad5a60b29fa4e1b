"""How fast uevents are drained, and what a small listener weighs.

Events are real: a network namespace of its own, and writes to the ``uevent`` file of its loopback
device, while nobody reads; then everybody in turn drains as many.

May call ``figures``, ``floor``, ``population`` and ``processes``.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import select
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

import anyio

import netlink_safe
from figures import MEBIBYTE, MEBIBYTES, Figure, ratio_of
from floor import compiled
from netlink_safe import blocking
from population import enter_namespace, mounted_sysfs
from processes import in_a_process_of_its_own

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from figures import Effort

UEVENT: Final = 15
SO_RCVBUFFORCE: Final = 33
BUFFER: Final = 128 << 20
OURS: Final = "netlink_safe, blocking"
#: What pyroute2's buffer holds for certain; nobody can make it larger.
FEW: Final = 100
#: Of how many events one is made for it, and its time multiplied.
PART: Final = 20
EXAMPLE: Final = Path(__file__).parent.parent / "examples" / "usb_hotplug.py"
BARE: Final = [sys.executable, "-c", "import time\nprint('ready', flush=True)\ntime.sleep(60)"]

#: Makes so many events.
Make: TypeAlias = "Callable[[int], None]"
#: Subscribes, has so many events made, drains them, and says in how many seconds.
Way: TypeAlias = "Callable[[int, Make], float]"


def measure(effort: Effort) -> Iterator[Figure]:
    """Events a second, and what of memory is resident."""
    yield from in_a_process_of_its_own(_measured, effort)


def _measured(effort: Effort) -> list[Figure]:
    enter_namespace()
    with tempfile.TemporaryDirectory() as where, mounted_sysfs(where):
        make = partial(make_events, f"{where}/class/net/lo/uevent")
        return rates(effort.events, effort.rounds, make) + weights(effort.storm, make)


def drained(drain: Callable[[int], object], events: int, make: Make) -> float:
    """Seconds that a function takes for what was queued before."""
    make(events)
    start = time.perf_counter()
    drain(events)
    return time.perf_counter() - start


def plain(events: int, make: Make) -> float:
    """What one writes by hand: no trust, no resync, nothing else."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, UEVENT) as sock:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
        sock.bind((0, 1))

        def drain(events: int) -> None:
            receive = sock.recv
            for _ in range(events):
                dict(line.split(b"=", 1) for line in receive(65536).split(b"\0")[1:-1])

        return drained(drain, events, make)


def in_c(events: int, make: Make) -> float:
    """A program that walks the texts and makes nothing of them."""
    command = [str(compiled("drain")), str(BUFFER)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as program:
        program.stdout.readline()  # type: ignore[union-attr]  # both are pipes
        make(events)
        told, _ = program.communicate(f"{events}\n")
    return int(told) / 1e9


def ours(events: int, make: Make) -> float:
    """Uevents of the blocking surface."""
    with blocking.open_uevents(receive_buffer=BUFFER) as opened:

        def drain(events: int) -> None:
            for _, _event in zip(range(events), opened, strict=False):
                pass

        return drained(drain, events, make)


def ours_and_all_properties(events: int, make: Make) -> float:
    """The same, whose consumer looks at every property of every event."""
    with blocking.open_uevents(receive_buffer=BUFFER) as opened:

        def drain(events: int) -> None:
            for _, item in zip(range(events), opened, strict=False):
                if isinstance(item, netlink_safe.Uevent):
                    dict(item.properties)

        return drained(drain, events, make)


def ours_async(backend: str, events: int, make: Make) -> float:
    """Uevents of the async surface; the events come while its loop is there already."""

    async def run() -> float:
        async with netlink_safe.open_uevents(receive_buffer=BUFFER) as opened:
            make(events)
            start = time.perf_counter()
            left = events
            async for _ in opened:
                left -= 1
                if not left:
                    break
            return time.perf_counter() - start

    return anyio.run(run, backend=backend)


def pyudev_monitor(events: int, make: Make) -> float:
    """pyudev's Monitor, polled."""
    import pyudev

    monitor = pyudev.Monitor.from_netlink(pyudev.Context(), source="kernel")
    monitor.set_receive_buffer_size(BUFFER)
    monitor.start()

    def drain(events: int) -> None:
        for _ in range(events):
            if monitor.poll(timeout=5) is None:
                raise RuntimeError("pyudev heard less than was said")

    return drained(drain, events, make)


def pyroute2_socket(events: int, make: Make) -> float:
    """pyroute2's UeventSocket, whose buffer is its own: a few at a time, and a part of them all."""
    from pyroute2 import UeventSocket

    def drain_few() -> float:
        with UeventSocket() as sock:
            sock.bind()

            def drain(events: int) -> None:
                left = events
                while left > 0:
                    left -= sum(1 for _ in sock.get())

            return drained(drain, FEW, make)

    times = max(1, events // FEW // PART)
    return sum(drain_few() for _ in range(times)) / (times * FEW) * events


def ways() -> dict[str, Way]:
    """Those that are installed."""
    found: dict[str, Way] = {
        OURS: ours,
        "netlink_safe, every property looked at": ours_and_all_properties,
        "netlink_safe, trio": partial(ours_async, "trio"),
        "netlink_safe, asyncio": partial(ours_async, "asyncio"),
        "plain `recv` and a dict of properties": plain,
        "C: many in a call, properties counted": in_c,
    }
    if importlib.util.find_spec("pyudev"):
        found["pyudev's Monitor"] = pyudev_monitor
    found["pyroute2's UeventSocket"] = pyroute2_socket
    return found


def make_events(path: str, number: int) -> None:
    """So many real events of the device whose file it is."""
    file = os.open(path, os.O_WRONLY)
    for index in range(number):
        os.write(file, b"add" if index % 2 else b"change")
    os.close(file)


def rates(events: int, rounds: int, make: Make) -> list[Figure]:
    """All of them in turn, each round beginning with another; the ratio is theirs by ours."""
    present = list(ways().items())
    taken: list[dict[str, float]] = []
    for number in range(rounds):
        first = number % len(present)
        turns = (*present[first:], *present[:first])
        taken.append({name: way(events, make) for name, way in turns})
    return [
        Figure(
            study="uevents",
            name=name,
            value=events / statistics.median(each[name] for each in taken),
            unit="events/s",
            **ratio_of([(each[name], each[OURS]) for each in taken]),
        )
        for name, _ in present
    ]


def weights(storm: int, make: Make) -> list[Figure]:
    """Resident memory of a bare interpreter, of the example, and of it behind a storm."""
    with running(BARE, subprocess.PIPE) as bare:
        bare.stdout.readline()  # type: ignore[union-attr]  # it is a pipe
        lightest = resident(bare.pid)
    taken = {"bare Python, asleep": lightest}
    with running([sys.executable, str(EXAMPLE)], subprocess.DEVNULL) as example:
        until_idle(example.pid)
        taken["`examples/usb_hotplug.py`"] = resident(example.pid)
        make(storm)
        until_idle(example.pid)
        taken[f"the same behind {storm:,} events"] = resident(example.pid)
    return [
        Figure(
            study="weight",
            name=name,
            value=size / MEBIBYTE,
            unit=MEBIBYTES,
            ratio=size / lightest,
        )
        for name, size in taken.items()
    ]


@contextlib.contextmanager
def running(command: list[str], output: int) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is ended with the body, however that ends."""
    with subprocess.Popen(command, stdout=output) as process:
        try:
            yield process
        finally:
            process.kill()


def resident(pid: int) -> int:
    """VmRSS in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))


def until_idle(pid: int) -> None:
    """Wait until it sleeps in poll, with nothing to read."""
    for _ in range(600):
        with open(f"/proc/{pid}/wchan", encoding="ascii") as file:
            if "poll" in file.read():
                return
        select.select([], [], [], 0.05)
    raise RuntimeError("the example never came to rest")
