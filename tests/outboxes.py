"""Peers of outboxes that sleep or read, and what an outbox accounts for."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Any

import anyio
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    import netlink_safe as nls


USERSOCK = 2


NOBODY = 4242


#: As large as a message can be: one or two of them fill a small queue.
LARGE = b"x" * 30_000


@pytest.fixture
def sleeper() -> Iterator[socket.socket]:
    """A peer that does not read, unless told to, and that is soon full."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, USERSOCK) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 * 1024)
        sock.bind((0, 0))
        yield sock


def port_of(sock: socket.socket) -> int:
    """What to send to."""
    return int(sock.getsockname()[0])


def read_all(sock: socket.socket) -> list[bytes]:
    """What is queued now."""
    heard = []
    with contextlib.suppress(BlockingIOError):
        while True:
            heard.append(sock.recv(65536, socket.MSG_DONTWAIT))
    return heard


def accounted(now: nls.OutboxStatistics) -> int:
    """How many messages are somewhere."""
    return now.sent + sum(now.dropped.values()) + now.undelivered + now.held


async def settled(box: Any, condition: Any) -> None:
    """Let the pump run until something is so; it must be so in time."""
    with anyio.fail_after(20):
        while not condition(box.statistics()):  # noqa: ASYNC110  # counts have no event
            await anyio.sleep(0.001)


async def filled(box: Any, sock: socket.socket) -> int:
    """Post until a peer is full; how many it has in its queue, while one is held."""
    sent = box.statistics().sent
    while not box.statistics().full_peers:
        box.post(LARGE, port_id=port_of(sock))
        await settled(box, lambda now: now.full_peers or not now.held)
    return int(box.statistics().sent - sent)
