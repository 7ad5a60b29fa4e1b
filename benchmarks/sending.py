"""What sending costs: to a full peer, to wait for one, into an outbox, beside busy threads.

::

    python benchmarks/sending.py [--tries 100000] [--json FILE]

It needs no privilege.  It prints a table in Markdown, with what the figures are meant to be, and
always ends with status 0: a figure is not a test.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import socket
import statistics
import threading
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio
import attrs
import trio

import netlink_safe as nls
from netlink_safe import blocking
from netlink_safe.transport.locks import check_blocking_wait, held
from report import this_machine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

USERSOCK: Final = 2
ALARM: Final = b"x" * 1000
BATCH: Final = 500
ROUNDS: Final = 400


@attrs.frozen
class Figure:
    """One line of the table."""

    name: str
    value: float
    unit: str
    aim: str = ""

    def __str__(self) -> str:
        return f"| {self.name} | {self.value:.3g} {self.unit} | {self.aim} |"


@contextlib.contextmanager
def full_peer() -> Iterator[int]:
    """The port ID of a peer whose queue has no room for an alarm."""
    with usersock() as full, usersock() as filler:
        port_id = int(full.getsockname()[0])
        with contextlib.suppress(BlockingIOError):
            while True:
                filler.sendto(ALARM, socket.MSG_DONTWAIT, (port_id, 0))
        yield port_id


def usersock() -> socket.socket:
    """A plain socket, with a port ID."""
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, USERSOCK)
    sock.bind((0, 0))
    return sock


def refused_sends(tries: int) -> Figure:
    """How long ``send_nowait`` takes where there is no room, one in a thousand taking longer."""
    taken = []
    with full_peer() as port_id, blocking.open_user() as user:
        for _ in range(tries):
            start = time.perf_counter()
            try:
                user.send_nowait(ALARM, port_id=port_id)
            except nls.PeerQueueFull:
                taken.append(time.perf_counter() - start)
    taken.sort()
    worst = taken[len(taken) * 999 // 1000]
    return Figure("`send_nowait` to a full peer, 99.9th percentile", worst * 1e6, "us", "1000 us")


def waiting_sends() -> list[Figure]:
    """The part of a processor that waiting for a full peer takes, for a second."""

    async def ours(port_id: int) -> float:
        async with nls.open_user() as user:
            start = time.thread_time()
            with contextlib.suppress(nls.NetlinkTimeout):
                await user.send(ALARM, port_id=port_id, timeout=1.0)
            return time.thread_time() - start

    async def theirs(port_id: int) -> float:
        with trio.socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, USERSOCK) as sender:
            start = time.thread_time()
            with trio.move_on_after(1.0):
                await sender.sendto(ALARM, (port_id, 0))
            return time.thread_time() - start

    with full_peer() as port_id:
        return [
            Figure(f"`await send`, {backend}, waiting for a full peer", 100 * spent, "%", "2 %")
            for backend in ("trio", "asyncio")
            for spent in [anyio.run(ours, port_id, backend=backend)]
        ] + [Figure("`trio.socket`, the same", 100 * trio.run(theirs, port_id), "%")]


def posting() -> Figure:
    """A post by an append, in turn; the ring is emptied between batches, as a pump would."""
    outbox, ring, payload = nls.Outbox(BATCH + 1), deque[bytes](), b"alarm"

    def append() -> None:
        for _ in range(BATCH):
            ring.append(payload)

    def post() -> None:
        for _ in range(BATCH):
            outbox.post(payload, port_id=77)

    ratios = []
    for _ in range(ROUNDS):
        plain, own = seconds_of(append), seconds_of(post)
        ratios.append(own / plain)
        ring.clear()
        outbox._backlog.ring.clear()
    anyio.run(outbox.aclose)
    return Figure("`Outbox.post` by `deque.append`", statistics.median(ratios), "times", "15 times")


def watching() -> Figure:
    """The part of a small request that the look for watched locks takes."""

    def look() -> None:
        for _ in range(BATCH):
            if held:
                check_blocking_wait()
            check_blocking_wait()
            check_blocking_wait()

    listeners = nls.tcp_sockets(states=["listen"], families="inet")
    parts = []
    with blocking.open_sock_diag() as diag:
        for _ in range(ROUNDS):
            request = seconds_of(lambda: list(diag.dump(listeners)))
            parts.append(seconds_of(look) / BATCH / request)
    name = "looks for watched locks, of a dump of listeners"
    return Figure(name, 100 * statistics.median(parts), "%", "2 %")


@contextlib.contextmanager
def busy_threads(number: int) -> Iterator[None]:
    """So many threads that never stop, until the end of the body."""
    done = threading.Event()

    def spin() -> None:
        while not done.is_set():
            pass

    threads = [threading.Thread(target=spin) for _ in range(number)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        done.set()
        for thread in threads:
            thread.join()


def pumped(busy: int) -> Figure:
    """Messages a second through an outbox, beside threads that never stop."""
    with (
        blocking.open_user(receive_buffer=64 << 20) as peer,
        blocking.Outbox(20_000) as outbox,
        busy_threads(busy),
    ):
        start = time.perf_counter()
        for _ in range(10_000):
            outbox.post(b"alarm", port_id=peer.port_id)
        outbox.flush(60)
        rate = outbox.statistics().sent / (time.perf_counter() - start)
    return Figure(f"through an outbox, beside {busy} busy threads", rate, "messages/s")


def plain_sends(busy: int, messages: int = 200) -> Figure:
    """The same by ``socket.sendto``, which lets go of the interpreter each time."""
    with usersock() as sender, usersock() as peer, busy_threads(busy):
        address = peer.getsockname()
        start = time.perf_counter()
        for _ in range(messages):
            sender.sendto(b"alarm", socket.MSG_DONTWAIT, address)
        rate = messages / (time.perf_counter() - start)
    return Figure(f"by `socket.sendto`, beside {busy} busy threads", rate, "messages/s")


def seconds_of(call: Callable[[], object]) -> float:
    """How long it takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tries", type=int, default=100_000)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    options = parser.parse_args()
    figures = [
        refused_sends(options.tries),
        *waiting_sends(),
        posting(),
        watching(),
        *(pumped(busy) for busy in (0, 2)),
        *(plain_sends(busy) for busy in (0, 2)),
    ]
    print(f"{this_machine()}\n\n| what | figure | aim |\n| --- | --- | --- |")
    print("\n".join(map(str, figures)))
    if options.json:
        plain = {
            "machine": attrs.asdict(this_machine()),
            "figures": list(map(attrs.asdict, figures)),
        }
        options.json.write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
