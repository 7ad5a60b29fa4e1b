"""How fast uevents are drained, and what a small listener weighs.

::

    python benchmarks/uevent.py [--events 50000] [--rounds N] [--json FILE]

Run it as root, or in a user namespace where you are.  Events are real: a network namespace of its
own, and writes to the ``uevent`` file of its loopback device, while nobody reads; then everybody in
turn drains as many.  It prints tables in Markdown and always ends with status 0.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import select
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio
import attrs

import netlink_safe
from netlink_safe import blocking
from population import enter_namespace, mounted_sysfs
from report import this_machine

if TYPE_CHECKING:
    from collections.abc import Callable

UEVENT: Final = 15
SO_RCVBUFFORCE: Final = 33
BUFFER: Final = 128 << 20
BASELINE: Final = "plain `recv` and a dict of properties"
OURS: Final = "netlink_safe, blocking"
EXAMPLE: Final = Path(__file__).parent.parent / "examples" / "usb_hotplug.py"
BARE: Final = [sys.executable, "-c", "import time\nprint('ready', flush=True)\ntime.sleep(60)"]
STORM: Final = 100_000

#: What was promised: by what it is compared with, the least ratio.
TARGETS: Final = {BASELINE: 450 / 540, "pyudev": 4.0, "pyroute2": 10.0}
WEIGHT: Final = 2.0


@attrs.frozen
class Way:
    """One way to drain: ``prepare`` subscribes and gives what drains so many and then closes."""

    name: str
    prepare: Callable[[], Callable[[int], None]]


@attrs.frozen
class Figure:
    """The median over rounds, in events a second."""

    name: str
    rate: float


def plain() -> Callable[[int], None]:
    """What one writes by hand: no trust, no resync, nothing else."""
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, UEVENT)
    sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
    sock.bind((0, 1))

    def drain(events: int) -> None:
        receive = sock.recv
        for _ in range(events):
            dict(line.split(b"=", 1) for line in receive(65536).split(b"\0")[1:-1])
        sock.close()

    return drain


def ours() -> Callable[[int], None]:
    """Uevents of the blocking surface."""
    opened = blocking.open_uevents(receive_buffer=BUFFER)

    def drain(events: int) -> None:
        for _, _event in zip(range(events), opened, strict=False):
            pass
        opened.close()

    return drain


def ours_async(backend: str) -> Callable[[], Callable[[int], None]]:
    """Uevents of the async surface; the events come while its loop is there already."""

    def prepare() -> Callable[[int], None]:
        async def run(events: int) -> float:
            async with netlink_safe.open_uevents(receive_buffer=BUFFER) as opened:
                make_events(events)
                start = time.perf_counter()
                left = events
                async for _ in opened:
                    left -= 1
                    if not left:
                        break
                return time.perf_counter() - start

        def drain(events: int) -> None:
            drain.seconds = anyio.run(run, events, backend=backend)  # type: ignore[attr-defined]

        return drain

    return prepare


def pyudev_monitor() -> Callable[[int], None]:
    """pyudev's Monitor, polled."""
    import pyudev

    monitor = pyudev.Monitor.from_netlink(pyudev.Context(), source="kernel")
    monitor.set_receive_buffer_size(BUFFER)
    monitor.start()

    def drain(events: int) -> None:
        for _ in range(events):
            if monitor.poll(timeout=5) is None:
                raise RuntimeError("pyudev heard less than was said")

    return drain


def pyroute2_socket() -> Callable[[int], None]:
    """pyroute2's UeventSocket."""
    from pyroute2 import UeventSocket

    sock = UeventSocket()
    sock.bind()

    def drain(events: int) -> None:
        left = events
        while left > 0:
            left -= sum(1 for _ in sock.get())
        sock.close()

    return drain


def ways() -> list[Way]:
    """Those that are installed."""
    found = [
        Way(BASELINE, plain),
        Way(OURS, ours),
        Way("netlink_safe, trio", ours_async("trio")),
        Way("netlink_safe, asyncio", ours_async("asyncio")),
    ]
    if importlib.util.find_spec("pyudev"):
        found.append(Way("pyudev", pyudev_monitor))
    if importlib.util.find_spec("pyroute2"):
        found.append(Way("pyroute2", pyroute2_socket))
    return found


def make_events(number: int) -> None:
    """So many real events of the loopback device."""
    file = os.open(f"{SYS}/class/net/lo/uevent", os.O_WRONLY)
    for index in range(number):
        os.write(file, b"add" if index % 2 else b"change")
    os.close(file)


def measured(way: Way, events: int) -> float:
    """Seconds to drain so many; pyroute2, whose buffer is its own, gets a hundredth at a time."""
    if way.name == "pyroute2":
        return sum(_one(way, 100) for _ in range(events // 2000)) * 20
    return _one(way, events)


def _one(way: Way, events: int) -> float:
    drain = way.prepare()
    if "trio" in way.name or "asyncio" in way.name:
        drain(events)
        return float(drain.seconds)  # type: ignore[attr-defined]
    make_events(events)
    start = time.perf_counter()
    drain(events)
    return time.perf_counter() - start


def rates(events: int, rounds: int) -> list[Figure]:
    """All of them in turn, each round beginning with another."""
    present = ways()
    taken: dict[str, list[float]] = {way.name: [] for way in present}
    for number in range(rounds):
        first = number % len(present)
        for way in (*present[first:], *present[:first]):
            taken[way.name].append(measured(way, events))
    return [Figure(name, events / statistics.median(seconds)) for name, seconds in taken.items()]


def weights() -> tuple[int, int, int]:
    """Resident bytes of a bare interpreter, of the example, and of it behind a storm."""
    with subprocess.Popen(BARE, stdout=subprocess.PIPE) as bare:
        bare.stdout.readline()  # type: ignore[union-attr]  # it is a pipe
        lightest = resident(bare.pid)
        bare.kill()
    with subprocess.Popen([sys.executable, str(EXAMPLE)], stdout=subprocess.DEVNULL) as example:
        until_idle(example.pid)
        before = resident(example.pid)
        make_events(STORM)
        until_idle(example.pid)
        after = resident(example.pid)
        example.kill()
    return lightest, before, after


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


def main() -> None:
    """Measure and print."""
    global SYS  # noqa: PLW0603  # where the namespace's sysfs stands, known once it is mounted
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--events", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    options = parser.parse_args()
    enter_namespace()
    with tempfile.TemporaryDirectory() as where, mounted_sysfs(where):
        SYS = where
        figures = rates(options.events, options.rounds)
        bare, before, after = weights()
    print(
        f"{this_machine()}\n\n| what | events/s | ours by it | target |\n| --- | --- | --- | --- |"
    )
    own = next(figure.rate for figure in figures if figure.name == OURS)
    for figure in figures:
        target = TARGETS.get(figure.name)
        told = "" if target is None else f"at least {target:.2g}"
        print(f"| {figure.name} | {figure.rate:,.0f} | {own / figure.rate:.2f} | {told} |")
    print(
        "\n| process | resident, MiB | by bare Python | target |\n| --- | --- | --- | --- |\n"
        f"| bare Python, asleep | {bare / 2**20:.1f} | 1 | |\n"
        f"| examples/usb_hotplug.py | {before / 2**20:.1f} | {before / bare:.2f} | {WEIGHT:g} |\n"
        f"| the same behind {STORM:,} events | {after / 2**20:.1f} | {after / bare:.2f} | |"
    )
    if options.json:
        figures_plain = {figure.name: figure.rate for figure in figures}
        weighed = {"bare": bare, "example": before, "behind_a_storm": after}
        plain_all = {"machine": attrs.asdict(this_machine()), "rates": figures_plain, **weighed}
        options.json.write_text(json.dumps(plain_all, indent=1) + "\n", encoding="utf-8")


SYS = "/sys"

if __name__ == "__main__":
    main()
