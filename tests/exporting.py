"""An exporter to ask, and connections to it."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from exporters import Exporter, running

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def exporter() -> Iterator[Exporter]:
    """One with no options."""
    with running() as started:
        yield started


def connected(exporter: Exporter, receive_buffer: int = 0) -> socket.socket:
    """A bare connection to it."""
    found = socket.getaddrinfo(exporter.host, exporter.port, type=socket.SOCK_STREAM)
    family, kind, _, _, address = found[0]  # localhost may be ::1
    sock = socket.socket(family, kind)
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.connect(address)
    return sock
