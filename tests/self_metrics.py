"""What the library tells of itself, as a collector gives it."""

from __future__ import annotations

import contextlib
import gc
import warnings
from typing import TYPE_CHECKING, Any, Final

import pytest

import netlink_safe as nls
from netlink_safe.collectors.prometheus import NetlinkSelfCollector

if TYPE_CHECKING:
    from collections.abc import Iterator


FLOOR: Final = 32 * 1024


PREFIX: Final = "netlink_safe_"


BUFFER: Final = PREFIX + "socket_receive_buffer_bytes"


QUEUE: Final = PREFIX + "socket_receive_queue_bytes"


KINDS: Final = {"sock_diag", "route", "generic", "uevents", "notifications", "user"}


def samples(collector: NetlinkSelfCollector) -> dict[tuple[str, ...], float]:
    """Every sample by its name and the values of its labels."""
    return {
        (each.name, *each.labels.values()): each.value
        for metric in collector.collect()
        for each in metric.samples
    }


class Growth:
    """How far the samples have grown since this was made: a process has other tests behind it."""

    def __init__(self) -> None:
        self.collector = NetlinkSelfCollector()
        self._before = samples(self.collector)

    def __call__(self, name: str, *labels: str) -> float:
        key = (PREFIX + name, *labels)
        return samples(self.collector).get(key, 0) - self._before.get(key, 0)


@pytest.fixture
def growth() -> Growth:
    return Growth()


@contextlib.contextmanager
def forgetting() -> Iterator[None]:
    """In the body objects are dropped that nobody closed, of which Python tells."""
    with warnings.catch_warnings(action="ignore"):
        yield
        gc.collect()


async def count(diag: Any) -> int:
    """How many TCP sockets there are."""
    return len([row async for row in diag.dump(nls.tcp_sockets())])
