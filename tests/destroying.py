"""Connections to be destroyed, and what is seen of their end."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest

import tcp_states

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator


@pytest.fixture
def listener(family: socket.AddressFamily) -> Iterator[socket.socket]:
    """A listener on loopback."""
    with tcp_states.listening(family, 16) as sock:
        yield sock


@pytest.fixture
def pairs(listener: socket.socket) -> Iterator[list[tuple[socket.socket, socket.socket]]]:
    """Four connections to one listener, both ends of each."""
    with contextlib.ExitStack() as held:
        yield [held.enter_context(tcp_states.connection(listener)) for _ in range(4)]


def works(client: socket.socket, server: socket.socket) -> bool:
    """Whether what one end says arrives at the other, either way."""
    client.sendall(b"there")
    server.sendall(b"back")
    return (server.recv(5), client.recv(4)) == (b"there", b"back")


def ends(client: socket.socket) -> tuple[Any, Any]:
    """What tcp_socket() takes."""
    return client.getsockname()[:2], client.getpeername()[:2]


def port_of(sock: socket.socket) -> int:
    """Its own port."""
    return int(sock.getsockname()[1])
