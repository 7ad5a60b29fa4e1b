"""Many sockets to dump, and dumps of them."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Any

import pytest

import netlink_safe as nls
from netlink_safe.transport import workers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

#: Connections and listeners are a dump each.
TABLES = 2


def connections(number: int) -> contextlib.ExitStack:
    """A listener and so many connections on loopback, both ends held until closed."""
    held = contextlib.ExitStack()
    listener = held.enter_context(socket.create_server(("127.0.0.1", 0)))
    for _ in range(number):
        held.enter_context(socket.create_connection(listener.getsockname()))
        held.enter_context(listener.accept()[0])
    return held


@pytest.fixture
def many() -> Iterator[int]:
    """More sockets than one chunk of a dump holds; yields how many rows that is."""
    with connections(200):
        yield 401


@pytest.fixture
def one_datagram_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """No rows gather in a worker: what is half-way for the consumer is half-way for the kernel."""
    monkeypatch.setattr(workers, "GATHER_SECONDS", 0)


@contextlib.asynccontextmanager
async def fresh(diag: Any) -> AsyncIterator[Any]:
    """Without the kernel socket from its opening, so that the first verb opens one."""
    async with diag:
        diag._pool._idle.pop().close()
        yield diag


async def exhaust(dump: Any) -> None:
    """Take every row that is left."""
    async for _ in dump:
        pass


async def count(diag: Any, **options: Any) -> int:
    return len([row async for row in diag.dump(nls.tcp_sockets(families="inet"), **options)])
