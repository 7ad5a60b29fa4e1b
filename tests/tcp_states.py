"""One real TCP socket in every state that a row can have, in either address family.

States that last only until a packet comes are held by a filter that drops what reaches one end.
"""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING, Final

import pytest

import faults

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FAMILIES: Final = {"inet": socket.AF_INET, "inet6": socket.AF_INET6}


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> socket.AddressFamily:
    """Either address family."""
    return FAMILIES[request.param]


LOOPBACK: Final = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
TCP_DEFER_ACCEPT: Final = 9
FIN_WAIT2: Final = 5
CLOSING: Final = 11


@contextlib.contextmanager
def listening(family: socket.AddressFamily, backlog: int) -> Iterator[socket.socket]:
    """A listener on loopback."""
    with socket.socket(family) as sock:
        sock.bind((LOOPBACK[family], 0))
        sock.listen(backlog)
        yield sock


@contextlib.contextmanager
def connection(listener: socket.socket) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of one."""
    with (
        socket.create_connection(listener.getsockname()[:2]) as client,
        listener.accept()[0] as server,
    ):
        yield client, server


@contextlib.contextmanager
def every_state(family: socket.AddressFamily) -> Iterator[dict[str, int]]:
    """Hold sockets in every state; yield how many there are of each, by its name."""
    with contextlib.ExitStack() as held:
        world = _World(family, held.enter_context)
        for make in (
            world.established,
            world.syn_sent,
            world.syn_recv,
            world.fin_wait1,
            world.fin_wait2_and_close_wait,
            world.time_wait,
            world.last_ack,
            world.closing,
        ):
            make()
        yield world.counts


def until(sock: socket.socket, state: int) -> None:
    """Let the packets that are on their way arrive: an ack may be delayed by 40 ms."""
    for _ in range(1_000_000):
        if sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == state:
            return
        os.sched_yield()
    raise AssertionError(f"{sock} never reached state {state}")


class _World:
    def __init__(
        self, family: socket.AddressFamily, hold: Callable[[socket.socket], socket.socket]
    ) -> None:
        self._family = family
        self._hold = hold
        self.counts: dict[str, int] = {}
        self._listener = self._listen(16)

    def established(self) -> None:
        """Two ends of one connection."""
        self._pair()
        self._count(established=2)

    def syn_sent(self) -> None:
        """A connection to a listener that hears nothing."""
        listener = self._listen(16)
        faults.attach(listener, faults.DEAF)
        client = self._hold(socket.socket(self._family))
        client.setblocking(False)
        client.connect_ex(listener.getsockname())
        self._count(syn_sent=1)

    def syn_recv(self) -> None:
        """A connection to a listener that defers: its half stays open until data comes."""
        listener = self._listen(16)
        listener.setsockopt(socket.IPPROTO_TCP, TCP_DEFER_ACCEPT, 60)
        self._hold(socket.create_connection(listener.getsockname()[:2]))
        self._count(syn_recv=1, established=1)

    def fin_wait1(self) -> None:
        """One end closes, the other does not hear it."""
        client, server = self._pair()
        faults.attach(server, faults.DEAF)
        client.shutdown(socket.SHUT_WR)
        self._count(fin_wait1=1, established=1)

    def fin_wait2_and_close_wait(self) -> None:
        """One end closes, the other hears it and leaves it at that."""
        client, _ = self._pair()
        client.shutdown(socket.SHUT_WR)
        until(client, FIN_WAIT2)
        self._count(fin_wait2=1, close_wait=1)

    def time_wait(self) -> None:
        """Both ends close, one after the other."""
        client, server = self._pair()
        client.shutdown(socket.SHUT_WR)
        until(client, FIN_WAIT2)
        client.close()
        server.close()
        self._count(time_wait=1)

    def last_ack(self) -> None:
        """The end that closes last is not heard by the one that closed first."""
        client, server = self._pair()
        client.shutdown(socket.SHUT_WR)
        until(client, FIN_WAIT2)
        faults.attach(client, faults.DEAF)
        server.shutdown(socket.SHUT_WR)
        self._count(fin_wait2=1, last_ack=1)

    def closing(self) -> None:
        """Both ends close at once, and one does not hear the other."""
        client, server = self._pair()
        faults.attach(server, faults.DEAF)
        client.shutdown(socket.SHUT_WR)
        server.shutdown(socket.SHUT_WR)
        until(client, CLOSING)
        self._count(closing=1, fin_wait1=1)

    def _listen(self, backlog: int) -> socket.socket:
        listener = self._hold(socket.socket(self._family))
        listener.bind((LOOPBACK[self._family], 0))
        listener.listen(backlog)
        self._count(listen=1)
        return listener

    def _pair(self) -> tuple[socket.socket, socket.socket]:
        client = self._hold(socket.create_connection(self._listener.getsockname()[:2]))
        return client, self._hold(self._listener.accept()[0])

    def _count(self, **states: int) -> None:
        for state, number in states.items():
            self.counts[state] = self.counts.get(state, 0) + number
