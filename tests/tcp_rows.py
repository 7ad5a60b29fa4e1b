"""A listener, its connections, and their rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import netlink_safe as nls
import tcp_states
from tcp_states import FAMILIES

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from netlink_safe.families.inet_rows import TcpSocket
    from surfaces import Surface


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    """Either address family."""
    return str(request.param)


@pytest.fixture
def listener(family: str) -> Iterator[socket.socket]:
    """A listener on loopback."""
    with tcp_states.listening(FAMILIES[family], 5) as sock:
        yield sock


@pytest.fixture
def pair(listener: socket.socket) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a connection."""
    with tcp_states.connection(listener) as ends:
        yield ends


async def rows_of(surface: Surface, **options: Any) -> list[TcpSocket]:
    async with surface.open_sock_diag() as diag:
        return [row async for row in diag.dump(nls.tcp_sockets(**options))]
