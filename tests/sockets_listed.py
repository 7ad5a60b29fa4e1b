"""What the command lists."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from typing import TYPE_CHECKING, Any

import tcp_states
from test_command import run

if TYPE_CHECKING:
    from collections.abc import Iterator


IPPROTO_MPTCP = 262


@contextlib.contextmanager
def every_kind() -> Iterator[dict[str, socket.socket]]:
    """A socket of each kind that any kernel has, beside TCP in every state."""
    with contextlib.ExitStack() as held:
        for family in (socket.AF_INET, socket.AF_INET6):
            held.enter_context(tcp_states.every_state(family))
            bound = held.enter_context(socket.socket(family, socket.SOCK_DGRAM))
            bound.bind((tcp_states.LOOPBACK[family], 0))
            joined = held.enter_context(socket.socket(family, socket.SOCK_DGRAM))
            joined.connect(bound.getsockname()[:2])
        one, other = socket.socketpair()
        found = {
            "tcp": socket.create_server(("127.0.0.1", 0)),
            "udp": bound,
            "unix": socket.socket(socket.AF_UNIX),
            "netlink": socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 15),
            "packet": socket.socket(socket.AF_PACKET, socket.SOCK_RAW),
            "mptcp": socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP),
        }
        for sock in (one, other, *found.values()):
            held.enter_context(sock)
        found["unix"].bind(b"\0of all kinds")
        found["unix"].listen(7)
        found["netlink"].bind((0, 3))
        found["packet"].bind(("lo", 0x0800))
        found["mptcp"].bind(("127.0.0.1", 0))
        found["mptcp"].listen(3)
        yield found


def listed(*arguments: str) -> list[dict[str, Any]]:
    ended = run("sockets", "--json", *arguments)
    assert (ended.returncode, ended.stderr) == (0, "")
    found = json.loads(ended.stdout)
    assert isinstance(found, list)
    return found


def inode_of(sock: socket.socket) -> int:
    return os.fstat(sock.fileno()).st_ino
