"""What sending costs: to a full peer, to wait for one, into an outbox, beside busy threads.

May call ``figures``.
"""

from __future__ import annotations

import contextlib
import socket
import statistics
import threading
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio
import trio

import netlink_safe as nls
from figures import Figure, ratio_of
from netlink_safe import blocking
from netlink_safe.transport.locks import check_blocking_wait, held

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from figures import Effort

USERSOCK: Final = 2
ALARM: Final = b"x" * 1000
BATCH: Final = 500
ROUNDS: Final = 400
#: A queue holds so many; they are sent in some turns, and taken out between.
SENDS: Final = 200
TURNS: Final = 10
POSTS: Final = 10_000
MESSAGES_A_SECOND: Final = "messages/s"

_figure = partial(Figure, study="sending")


def measure(effort: Effort) -> Iterator[Figure]:
    """All of it; nothing here needs a privilege."""
    yield refused_sends(effort.sends)
    yield from waiting_sends()
    yield posting()
    yield watching()
    for busy in (0, 2):
        yield pumped(busy)
        yield plain_sends(busy)


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
    name = "`send_nowait` to a full peer, 99.9th percentile"
    return _figure(name=name, value=worst * 1000, unit="ms")


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

    name = "waiting for a full peer, of a processor"
    with full_peer() as port_id:
        taken = {
            f"`await send`, {backend}": anyio.run(ours, port_id, backend=backend)
            for backend in ("trio", "asyncio")
        }
        taken["`trio.socket`"] = trio.run(theirs, port_id)
    return [
        _figure(name=f"{sender}, {name}", value=100 * spent, unit="%")
        for sender, spent in taken.items()
    ]


def posting() -> Figure:
    """A post by an append, in turn; the ring is emptied between batches, as a pump would."""
    outbox, ring, payload = nls.Outbox(BATCH + 1), deque[bytes](), b"alarm"

    def append() -> None:
        for _ in range(BATCH):
            ring.append(payload)

    def post() -> None:
        for _ in range(BATCH):
            outbox.post(payload, port_id=77)

    pairs = []
    for _ in range(ROUNDS):
        pairs.append((seconds_of(post), seconds_of(append)))
        ring.clear()
        outbox._backlog.ring.clear()
    anyio.run(outbox.aclose)
    micro = statistics.median(own for own, _ in pairs) / BATCH * 1e6
    name = "`Outbox.post`, by `deque.append`"
    return _figure(name=name, value=micro, unit="µs", **ratio_of(pairs))


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
    return _figure(name=name, value=100 * statistics.median(parts), unit="%")


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
        for _ in range(POSTS):
            outbox.post(b"alarm", port_id=peer.port_id)
        outbox.flush(60)
        rate = outbox.statistics().sent / (time.perf_counter() - start)
    name = f"through an outbox, beside {busy} busy threads"
    return _figure(name=name, value=rate, unit=MESSAGES_A_SECOND)


def plain_sends(busy: int) -> Figure:
    """The same by ``socket.sendto``, which lets go of the interpreter each time."""
    with usersock() as sender, usersock() as peer, busy_threads(busy):
        address = peer.getsockname()
        taken = []
        for _ in range(TURNS):
            start = time.perf_counter()
            for _ in range(SENDS):
                sender.sendto(b"alarm", socket.MSG_DONTWAIT, address)
            taken.append(time.perf_counter() - start)
            for _ in range(SENDS):
                peer.recv(100)
        rate = TURNS * SENDS / sum(taken)
    name = f"by `socket.sendto`, beside {busy} busy threads"
    return _figure(name=name, value=rate, unit=MESSAGES_A_SECOND)


def seconds_of(call: Callable[[], object]) -> float:
    """How long it takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
