"""The kernels that a contract is held against: the one that runs, and the scripted one."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Final, Protocol

import pytest

import uevents
from netlink_safe.testing import ScriptedKernel, TcpFigure

if TYPE_CHECKING:
    from collections.abc import Iterator

UEVENT: Final = 15


class World(Protocol):
    """What a contract needs to have there."""

    def listeners(self, number: int) -> contextlib.AbstractContextManager[list[int]]:
        """So many TCP sockets that listen on 127.0.0.1; yields their ports."""

    def tell(self, text: bytes) -> None:
        """Have the kernel broadcast an event."""


class Running:
    """The running kernel, in a network namespace of the test's own."""

    def listeners(self, number: int) -> contextlib.AbstractContextManager[list[int]]:
        return _real_listeners(number)

    def tell(self, text: bytes) -> None:
        uevents.inject(text)


class Scripted:
    """The scripted one, which is in place as long as the test runs."""

    def __init__(self, kernel: ScriptedKernel) -> None:
        self.kernel = kernel
        kernel.tcp()

    def listeners(self, number: int) -> contextlib.AbstractContextManager[list[int]]:
        return _figures(self.kernel, number)

    def tell(self, text: bytes) -> None:
        self.kernel.multicast(UEVENT, 1, text)


@contextlib.contextmanager
def _real_listeners(number: int) -> Iterator[list[int]]:
    with contextlib.ExitStack() as held:
        made = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)]
        yield [each.getsockname()[1] for each in made]


@contextlib.contextmanager
def _figures(kernel: ScriptedKernel, number: int) -> Iterator[list[int]]:
    ports = list(range(1, number + 1))
    kernel.tcp(
        *(TcpFigure(state="listen", source=("127.0.0.1", port), send_queue=128) for port in ports)
    )
    yield ports
    kernel.tcp()


@pytest.fixture(params=["running", "scripted"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """Each of them in turn."""
    if request.param == "running":
        yield Running()
        return
    with ScriptedKernel() as kernel:
        yield Scripted(kernel)
