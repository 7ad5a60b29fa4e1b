"""The process that makes sockets and holds them; started by ``population``, told what by JSON.

One order in a line of standard input, one reply in a line of standard output.  The end of the input
is the end of the process, and of its sockets.
"""

from __future__ import annotations

import json
import random
import resource
import socket
import struct
import sys
import time
import traceback
from typing import Any, Final, TypeAlias

# socket has no names for these two in Python 3.11.
IP_BIND_ADDRESS_NO_PORT: Final = 24
IPV6_FREEBIND: Final = 78
#: Closing with this sends a reset, and leaves nothing behind in the namespace.
ABORT: Final = struct.pack("ii", 1, 0)
ACCEPT_LIMIT: Final = 128
#: Bytes: a receive buffer that is small, and more than it and its window can take.
SMALL_BUFFER: Final = 4096
TOO_MUCH: Final = 64 * 1024

FIN_WAIT2: Final = 5
#: Seconds between two looks at a socket whose peer's acknowledgement is still to come.
PAUSE: Final = 0.002

Pair: TypeAlias = tuple[socket.socket, socket.socket]


class Builder:
    """Makes connections to listeners of this process, and leaves their ends in some state."""

    def __init__(self) -> None:
        self._random = random.Random()
        self._kept: list[socket.socket] = []
        self._orphaned: list[socket.socket] = []
        self._half_open: list[socket.socket] = []
        self._to_orphan: list[socket.socket] = []
        self._listeners: list[socket.socket] = []

    def build(self, order: dict[str, Any]) -> None:
        """Make this process's share of a plan."""
        self._random.seed(order["seed"])
        backlog: int = order["backlog"]
        marks = order["listeners"]
        self._listeners = [self._listen(bool(is_v6), backlog) for is_v6, _ in marks]
        self._kept += self._listeners
        established: int = order["established"]
        queued: int = order["queued"]
        kinds = ["time_wait"] * order["time_wait"] + ["close_wait"] * order["close_wait"]
        kinds += ["orphan"] * order["fin_wait2_orphans"]
        kinds += ["plain"] * (established - queued)
        kinds += ["unread"] * (queued // 2) + ["unsent"] * (queued - queued // 2)
        self._random.shuffle(kinds)
        for kind in kinds:
            getattr(self, f"_{kind}")(self._random.choice(self._listeners))
        self._settle()
        # Last of all: a listener hands out its connections in the order in which they came.
        for listener, (_, has_backlog) in zip(self._listeners, marks, strict=True):
            for _ in range(backlog * has_backlog):
                self._kept.append(self._connect(listener))

    def renew_orphans(self) -> None:
        """Replace the remainders in FIN_WAIT2, which their peers' resets end at once."""
        count = len(self._orphaned)
        _abort(self._orphaned)
        self._with_own_listeners("_orphan", count)
        self._settle()

    def time_wait(self, count: int) -> None:
        """Make so many more."""
        self._with_own_listeners("_time_wait", count)

    def close(self) -> None:
        """Let go of every socket without leaving another TIME_WAIT."""
        _abort(self._kept)
        _abort(self._orphaned)

    def _with_own_listeners(self, kind: str, count: int) -> None:
        """Listeners of the plan may have connections waiting, which accept would hand out first."""
        listeners = [self._listen(is_v6, 0) for is_v6 in (False, True)] if count else []
        for number in range(count):
            getattr(self, kind)(listeners[number % 2])
        for listener in listeners:
            listener.close()

    def _listen(self, is_v6: bool, backlog: int) -> socket.socket:
        while True:
            sock = self._bound(is_v6, self._random.randrange(1024, 60_000))
            try:
                sock.listen(max(ACCEPT_LIMIT, backlog))
            except OSError:  # the same address and port twice; there are plenty of others
                sock.close()
            else:
                return sock

    def _bound(self, is_v6: bool, port: int) -> socket.socket:
        draw = self._random.randrange
        sock = socket.socket(socket.AF_INET6 if is_v6 else socket.AF_INET)
        # The port is chosen with the peer known, so that 28,000 ports are enough for everyone.
        sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        if is_v6:
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
            groups = ":".join(f"{draw(0x10000):x}" for _ in range(4))
            sock.bind((f"fd00:0:0:0:{groups}", port))
        else:
            sock.bind((f"127.{draw(1, 255)}.{draw(256)}.{draw(1, 255)}", port))
        return sock

    def _connect(self, listener: socket.socket, receive_buffer: int = 0) -> socket.socket:
        client = self._bound(listener.family == socket.AF_INET6, 0)
        if receive_buffer:  # only before connecting does it make the window small
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        client.connect(listener.getsockname()[:2])
        return client

    def _pair(self, listener: socket.socket, receive_buffer: int = 0) -> Pair:
        client = self._connect(listener, receive_buffer)
        server, _ = listener.accept()
        return client, server

    def _either_first(self, listener: socket.socket) -> Pair:
        client, server = self._pair(listener)
        return (client, server) if self._random.random() < 0.5 else (server, client)

    def _plain(self, listener: socket.socket) -> None:
        self._kept += self._pair(listener)

    def _unread(self, listener: socket.socket) -> None:
        writer, reader = self._either_first(listener)
        writer.send(bytes(self._random.randrange(1, 3000)))
        self._kept += (writer, reader)

    def _unsent(self, listener: socket.socket) -> None:
        client, server = self._pair(listener, SMALL_BUFFER)
        server.setblocking(False)
        server.send(bytes(TOO_MUCH))
        self._kept += (client, server)

    def _time_wait(self, listener: socket.socket) -> None:
        first, second = self._either_first(listener)
        first.close()
        # Who closes before the other's FIN has come makes two TIME_WAIT of one connection.
        second.recv(1)
        second.close()

    def _close_wait(self, listener: socket.socket) -> None:
        first, second = self._half_closed(listener)
        self._half_open.append(first)
        self._kept += (first, second)

    def _orphan(self, listener: socket.socket) -> None:
        first, second = self._half_closed(listener)
        self._to_orphan.append(first)
        self._orphaned.append(second)

    def _half_closed(self, listener: socket.socket) -> Pair:
        first, second = self._either_first(listener)
        first.shutdown(socket.SHUT_WR)
        second.recv(1, socket.MSG_PEEK)
        return first, second

    def _settle(self) -> None:
        """Wait until what was half closed is in FIN_WAIT2; acknowledging may take 40 ms."""
        for sock in self._half_open + self._to_orphan:
            while sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != FIN_WAIT2:
                time.sleep(PAUSE)
        for sock in self._to_orphan:
            sock.close()
        self._half_open.clear()
        self._to_orphan.clear()


def _abort(sockets: list[socket.socket]) -> None:
    for sock in sockets:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
        sock.close()
    sockets.clear()


def _time_wait_now() -> int:
    """The kernel's count in this namespace, the remainders in FIN_WAIT2 among them."""
    with open("/proc/thread-self/net/sockstat", encoding="ascii") as file:
        words = next(line for line in file if line.startswith("TCP:")).split()
    return int(words[words.index("tw") + 1])


def main() -> None:
    """Carry out orders until there are none to come."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    builder = Builder()
    for line in sys.stdin:
        order = json.loads(line)
        try:
            if order["do"] == "build":
                builder.build(order)
            elif order["do"] == "renew_orphans":
                builder.renew_orphans()
            else:
                builder.time_wait(order["count"])
            reply: dict[str, Any] = {"time_wait": _time_wait_now()}
        except Exception:
            reply = {"error": traceback.format_exc()}
        sys.stdout.write(json.dumps(reply) + "\n")
        sys.stdout.flush()
    builder.close()


if __name__ == "__main__":
    main()
