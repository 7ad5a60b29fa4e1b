"""Real TCP sockets, in the states and the disorder that a busy machine has them in.

For tests and benchmarks.  The caller enters a network namespace of its own with
``enter_namespace``; child processes then hold the sockets, as many in each as it may have
descriptors, and end when their standard input does, so that they never outlive who started them.

Peers are random addresses of 127.0.0.0/8 and fd00::/64, half of them each: populations with few
peers and ports in sequence flatter code that profits from runs of equal rows.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import resource
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import attrs
from pyroute2 import IPRoute

if TYPE_CHECKING:
    from collections.abc import Iterator

BUILDER: Final = Path(__file__).with_name("population_child.py")
CLONE_NEWNET: Final = 0x40000000
CLONE_NEWNS: Final = 0x00020000
MS_REC: Final = 0x4000
MS_PRIVATE: Final = 0x40000
MNT_DETACH: Final = 2
SIOCSIFFLAGS: Final = 0x8914
IFF_UP_AND_RUNNING: Final = 0x1 | 0x40
LOCAL_TABLE: Final = 255
LOOPBACK: Final = 1

#: Sockets to a child at most, and descriptors that a child needs for itself.
SHARE: Final = 12_000
SPARE: Final = 64
#: Two listeners of every eight have connections waiting, one of each address family.
GROUP: Final = 8
BACKLOGGED_IN_GROUP: Final = 2
#: Seconds that a child has to let go of its sockets.
PATIENCE: Final = 20.0


def enter_namespace() -> None:
    """Move the calling thread into a new network namespace whose loopback answers for fd00::/64.

    Takes CAP_SYS_ADMIN, which root has, and so has who is root in a user namespace.
    Other threads stay where they are; threads and processes started from here on come along.
    Raises OSError.
    """
    _unshare()
    request = struct.pack("16sh14x", b"lo", IFF_UP_AND_RUNNING)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, SIOCSIFFLAGS, request)
    # All of 127.0.0.0/8 is local by itself; IPv6 has one address until a route says otherwise.
    with IPRoute() as route:
        route.route(
            "add",
            type="local",
            dst="fd00::/64",
            oif=LOOPBACK,
            family=socket.AF_INET6,
            table=LOCAL_TABLE,
        )


if sys.version_info >= (3, 12):

    def _unshare() -> None:
        os.unshare(CLONE_NEWNET)

else:

    def _unshare() -> None:
        if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))


@attrs.frozen(slots=True, kw_only=True)
class Plan:
    """How many of what.

    ``established`` connections have two sockets each; in ``queued`` of them, one has bytes that
    nobody reads, or the other has bytes that cannot be sent.
    ``time_wait`` sockets have lost their peer.
    ``close_wait`` sockets each have a peer in FIN_WAIT2 that is held open.
    ``fin_wait2_orphans`` were closed in FIN_WAIT2: the kernel keeps a small remainder of each for a
    minute, and their peers are in CLOSE_WAIT.
    ``backlog`` connections wait to be accepted at each of two in eight ``listeners``.
    """

    established: int = 0
    time_wait: int = 0
    close_wait: int = 0
    fin_wait2_orphans: int = 0
    listeners: int = 2
    backlog: int = 0
    queued: int = 0
    seed: int = 1

    @property
    def backlogged(self) -> int:
        """How many listeners have connections waiting; none if ``backlog`` is 0."""
        return sum(has_backlog(index) for index in range(self.listeners)) if self.backlog else 0

    @property
    def states(self) -> dict[str, int]:
        """The number of sockets in each state, by its name; states that have none are left out."""
        counts = {
            "ESTABLISHED": 2 * (self.established + self.backlog * self.backlogged),
            "TIME_WAIT": self.time_wait,
            "FIN_WAIT2": self.close_wait + self.fin_wait2_orphans,
            "CLOSE_WAIT": self.close_wait + self.fin_wait2_orphans,
            "LISTEN": self.listeners,
        }
        return {name: count for name, count in counts.items() if count}

    @property
    def sockets(self) -> int:
        """All of them."""
        return sum(self.states.values())

    @property
    def descriptors(self) -> int:
        """What the children hold open."""
        return self.sockets - self.time_wait - self.fin_wait2_orphans


def plan_of(sockets: int, time_wait_share: float = 0.25, seed: int = 1) -> Plan:
    """About so many sockets: established ones, a share in TIME_WAIT, a few of everything else."""
    rest = Plan(
        time_wait=round(sockets * time_wait_share),
        close_wait=sockets // 200,
        fin_wait2_orphans=sockets // 500,
        listeners=max(2, min(64, sockets // 50)),
        backlog=min(3, sockets // 200),
    )
    established = max(0, sockets - rest.sockets) // 2
    return attrs.evolve(rest, established=established, queued=established // 50, seed=seed)


def has_backlog(index: int) -> bool:
    """Whether the listener of this number has connections waiting."""
    return index % GROUP < BACKLOGGED_IN_GROUP


class PopulationError(Exception):
    """A child could not make its sockets; the text is its own account."""


class Population:
    """Sockets that exist."""

    def __init__(self, plan: Plan, children: list[_Child]) -> None:
        self.plan = plan
        self._children = children

    def refresh(self) -> None:
        """Make anew what the kernel has let go of, so that the numbers are those of the plan.

        TIME_WAIT and the remainders in FIN_WAIT2 last for 60 seconds, and nothing prolongs them.
        """
        _ask(self._children, [{"do": "renew_orphans"}] * len(self._children))
        remaining = _ask(self._children[:1], [{"do": "time_wait", "count": 0}])[0]["time_wait"]
        missing = max(0, self.plan.time_wait + self.plan.fin_wait2_orphans - remaining)
        shares = _shares(missing, len(self._children))
        _ask(self._children, [{"do": "time_wait", "count": share} for share in shares])


@contextlib.contextmanager
def population(plan: Plan) -> Iterator[Population]:
    """The sockets of a plan, in the calling thread's network namespace, for as long as it lasts.

    TIME_WAIT outlives it by up to a minute: give each population a namespace of its own.
    Raises PopulationError, ValueError for a plan that cannot be.
    """
    with contextlib.ExitStack() as stack:
        orders = _orders(plan)
        children = [stack.enter_context(_Child()) for _ in orders]
        _ask(children, orders)
        yield Population(plan, children)


def _orders(plan: Plan) -> list[dict[str, Any]]:
    """What to tell each child: the same plan, in equal shares."""
    counts = attrs.asdict(plan)
    if min(counts.values()) < 0 or plan.queued > plan.established:
        raise ValueError(f"{plan} cannot be")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    most = SHARE if hard == resource.RLIM_INFINITY else min(SHARE, hard - SPARE)
    # one more for each listener of the short while in which TIME_WAIT is made anew
    count = max(1, -(-plan.descriptors // most), -(-plan.sockets // (2 * SHARE)))
    if plan.listeners < 2 * count:
        raise ValueError(f"{plan.sockets} sockets take {2 * count} listeners, not {plan.listeners}")
    shared = ("established", "time_wait", "close_wait", "fin_wait2_orphans", "queued", "listeners")
    shares = {name: _shares(counts[name], count) for name in shared}
    orders = []
    first = 0
    for index in range(count):
        order: dict[str, Any] = {name: shares[name][index] for name in shared}
        numbers = range(first, first + order.pop("listeners"))
        first = numbers.stop
        order["listeners"] = [[number % 2, has_backlog(number)] for number in numbers]
        orders.append(
            {"do": "build", "backlog": plan.backlog, "seed": f"{plan.seed} {index}", **order}
        )
    return orders


def _shares(total: int, count: int) -> list[int]:
    """A total in equal parts, or as near to it as whole numbers come."""
    return [total * (index + 1) // count - total * index // count for index in range(count)]


def _ask(children: list[_Child], orders: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give every child its order first, so that all work at once, and then wait for each."""
    for child, order in zip(children, orders, strict=True):
        child.send(order)
    return [child.receive() for child in children]


class _Child:
    """A process that makes sockets and holds them.

    It is a new interpreter rather than a fork of this one, so that threads, locks and exit hooks
    of whoever calls, a test runner perhaps, are none of its business.
    """

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(BUILDER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        process = self._process
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()  # type: ignore[union-attr]  # both are pipes
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        finally:
            process.stdout.close()  # type: ignore[union-attr]

    def send(self, order: dict[str, Any]) -> None:
        """Give an order."""
        with contextlib.suppress(BrokenPipeError):  # why it ended, receive() says
            self._process.stdin.write(json.dumps(order) + "\n")  # type: ignore[union-attr]
            self._process.stdin.flush()  # type: ignore[union-attr]

    def receive(self) -> dict[str, Any]:
        """Wait until the order was carried out.  Raises PopulationError if it could not be."""
        line = self._process.stdout.readline()  # type: ignore[union-attr]
        reply: dict[str, Any] = json.loads(line) if line else {"error": "the child has ended"}
        if "error" in reply:
            raise PopulationError(reply["error"])
        return reply


@contextlib.contextmanager
def mounted_sysfs(where: str) -> Iterator[None]:
    """The sysfs of the calling thread's network namespace, at an empty directory."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.unshare(CLONE_NEWNS)
    for arguments in (
        (b"none", b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None),
        (b"sysfs", where.encode(), b"sysfs", ctypes.c_ulong(0), None),
    ):
        if libc.mount(*arguments):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    try:
        yield
    finally:
        libc.umount2(where.encode(), MNT_DETACH)
