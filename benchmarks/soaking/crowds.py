"""Who comes and goes: TCP connections, veth pairs, network namespaces.

May call ``soaking.stage`` and the tests' ``kernel`` and ``links``.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import struct
from typing import TYPE_CHECKING, Final

import kernel
from links import Links

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator

    from soaking.stage import Stage

STANDING: Final = 60
MOST: Final = 150
#: Closing with this sends a reset, and leaves nothing behind in TIME_WAIT.
ABORT: Final = struct.pack("ii", 1, 0)
#: Namespaces that there are at once, and seconds that one lives.
NAMESPACES: Final = 3
LIFE: Final = (0.05, 0.5)

_numbers = itertools.count()


@contextlib.contextmanager
def standing(stage: Stage) -> Iterator[None]:
    """Listeners that stay, to be found by every dump."""
    with contextlib.ExitStack() as held:
        for _ in range(STANDING):
            listener = held.enter_context(socket.create_server(("127.0.0.1", 0)))
            stage.standing.append(listener.getsockname()[1])
        yield


class Connections:
    """Connections that come and go."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []

    def turn(self, draws: random.Random) -> None:
        """Some come, some go."""
        for _ in range(draws.randrange(20)):
            self._open.append(socket.create_connection(self._listener.getsockname()))
            self._open.append(self._listener.accept()[0])
        draws.shuffle(self._open)
        fewest = max(0, len(self._open) - MOST)
        going = draws.randrange(fewest, len(self._open) + 1)
        abort(self._open[:going])
        del self._open[:going]
        self._stage.ledger.count(**{"connections closed": going})
        self._stage.over.wait(draws.uniform(0, 0.05))

    def close(self) -> None:
        """Let go of all."""
        abort(self._open)
        self._listener.close()


def abort(sockets: list[socket.socket]) -> None:
    """Close, and leave nothing behind."""
    for sock in sockets:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
        sock.close()


def pairs(stage: Stage) -> Callable[[random.Random], None]:
    """veth pairs, made and deleted, under the kernel's rtnl_lock."""

    def turn(draws: random.Random) -> None:
        with Links() as links:
            for number in range(draws.randrange(1, 8)):
                links.make(f"passing{number}", f"other{number}")
            links.delete_all()
        stage.ledger.count(**{"storms of links": 1})
        stage.over.wait(draws.uniform(0, 0.3))

    return turn


def namespaces(stage: Stage) -> Callable[[random.Random], None]:
    """Network namespaces with a few sockets, which are looked into while they come and go."""

    def turn(draws: random.Random) -> None:
        with contextlib.ExitStack() as held:
            for _ in range(draws.randrange(1, NAMESPACES + 1)):
                name = f"passing{next(_numbers)}"
                stage.passing.append(name)  # before it is there
                held.callback(stage.passing.remove, name)
                path = held.enter_context(kernel.named_namespace(name))
                for sock in kernel.in_namespace(path, _listeners):
                    held.callback(sock.close)
                stage.ledger.count(**{"namespaces made": 1})
                stage.over.wait(draws.uniform(*LIFE))

    return turn


def _listeners() -> list[socket.socket]:
    return [socket.create_server(("127.0.0.1", 0)) for _ in range(5)]
