"""What is left when everything is closed, and what memory has grown by meanwhile.

May call nothing of ours but the tests' ``kernel``.
"""

from __future__ import annotations

import ctypes
import gc
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs

import kernel
from netlink_safe.transport.census import census
from netlink_safe.transport.locks import held

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Seconds for which threads of the library may be idle before they go, and some for them to go.
PATIENCE: Final = 20.0
#: MiB a minute by which memory may grow in the second half of a run.
BOUND: Final = 0.5
#: Seconds that a run is to take for the slope to be judged: in a short one it is all warming up.
JUDGED: Final = 600.0
_libc: Final = ctypes.CDLL(None)
PAGE: Final = os.sysconf("SC_PAGE_SIZE")


@attrs.frozen(slots=True, kw_only=True)
class Left:
    """What there is of each: the same at the end as at the beginning."""

    descriptors: frozenset[str]
    threads: int
    netlink_sockets: int
    namespaces: tuple[str, ...]
    mounts: int
    open_objects: int
    held_locks: int

    def beyond(self, before: Left) -> list[str]:
        """What is here that was not there."""
        found = []
        for field in attrs.fields(Left):
            was: Any = getattr(before, field.name)
            now: Any = getattr(self, field.name)
            if isinstance(now, frozenset) and now - was:
                found.append(f"{field.name} beyond the beginning: {', '.join(sorted(now - was))}")
            elif not isinstance(now, frozenset) and now != was:
                found.append(f"{field.name}: {was} at the beginning, {now} at the end")
        return found


def left() -> Left:
    """What there is now, of this process and in its network namespace."""
    opened = census()
    return Left(
        descriptors=frozenset(f"{number} {what}" for number, what in kernel.descriptors()),
        threads=kernel.threads(),
        netlink_sockets=netlink_sockets(),
        namespaces=tuple(sorted(os.listdir("/run/netns"))),
        mounts=len(Path("/proc/self/mountinfo").read_text("utf-8").splitlines()),
        open_objects=len(opened.sockets) + len(opened.outboxes),
        held_locks=len(held),
    )


def netlink_sockets() -> int:
    """How many there are in this network namespace, but for the kernel's own."""
    lines = Path("/proc/thread-self/net/netlink").read_text("ascii").splitlines()[1:]
    return sum(int(line.split()[2]) != 0 for line in lines)


def left_at_last(before: Left) -> list[str]:
    """What stays, however long one waits."""
    end = time.monotonic() + PATIENCE
    while (beyond := left().beyond(before)) and time.monotonic() < end:
        time.sleep(0.2)
    return beyond


def resident(pid: int | str = "self") -> int:
    """Bytes of memory that a process has."""
    return int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]) * PAGE


class Memory:
    """Samples of it; of this process' own behind a collection of garbage.

    What the C library has free in the arenas of threads that are gone, it gives back before.
    """

    def __init__(self) -> None:
        self._samples: list[tuple[float, int]] = []

    def sample(self, pid: int | str = "self") -> None:
        """Take one."""
        if pid == "self":
            gc.collect()
            _libc.malloc_trim(0)
        self._samples.append((time.monotonic(), resident(pid)))

    @property
    def mebibytes(self) -> list[float]:
        """Each of them."""
        return [round(size / 2**20, 1) for _, size in self._samples]

    @property
    def peak(self) -> float:
        """In MiB."""
        return max(self.mebibytes)

    @property
    def slope(self) -> float:
        """MiB a minute over the second half, by least squares."""
        return slope(self._samples[len(self._samples) // 2 :]) * 60 / 2**20


def slope(samples: Sequence[tuple[float, float]]) -> float:
    """Of the line that is nearest to some points; 0 of fewer than two."""
    if len(samples) < 2:
        return 0.0
    at = sum(x for x, _ in samples) / len(samples)
    mean = sum(y for _, y in samples) / len(samples)
    spread = sum((x - at) ** 2 for x, _ in samples)
    return sum((x - at) * (y - mean) for x, y in samples) / spread
