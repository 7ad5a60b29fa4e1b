"""Debian's Prometheus, promtool and node_exporter, where tests/peers/install.sh has put them."""

from __future__ import annotations

import contextlib
import http.client
import os
import pathlib
import shutil
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import pytest

import kernel

if TYPE_CHECKING:
    from collections.abc import Iterator

CACHE: Final = pathlib.Path(__file__).parent / "peers" / ".cache" / "usr" / "bin"
#: CI fetches them, and there their absence is a failure.
MUST_HAVE: Final = "NETLINK_SAFE_REQUIRE_PEERS" in os.environ
#: Seconds in which a peer is up and has answered.
PATIENCE: Final = 30.0
#: Starts a program with a socket that listens already, in the way of systemd (sd_listen_fds(3)).
ACTIVATE: Final = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.execve(sys.argv[2], sys.argv[2:], os.environ | {"LISTEN_PID": str(os.getpid())})
"""


def prometheus() -> str:
    """Where the server is; skips the test, or fails it, where it is missing."""
    return _found("prometheus")


def promtool() -> str:
    """The same for what checks its files."""
    return _found("promtool")


def node_exporter() -> str:
    """The same for node_exporter."""
    return _found("prometheus-node-exporter")


def compiler() -> str:
    """The same for what compiles the programs in C that the benchmarks compare with."""
    return _found("cc", "install gcc")


def iproute2(name: str) -> str:
    """The same for a program of iproute2."""
    return _found(name, "install iproute2")


def _found(name: str, remedy: str = "run tests/peers/install.sh") -> str:
    path = shutil.which(name) or shutil.which(name, path=f"{CACHE}:/usr/sbin:/sbin")
    if path is None:
        absent = f"{name} is missing: {remedy}"
        if MUST_HAVE:
            pytest.fail(absent)
        pytest.skip(absent)
    return path


class NodeExporter:
    """One that runs, and is asked over a connection that stays open."""

    def __init__(self, connection: http.client.HTTPConnection) -> None:
        self._connection = connection

    def scrape(self) -> str:
        """What it has to say; waits until it is up."""
        self._connection.request("GET", "/metrics")
        answer = self._connection.getresponse()
        assert answer.status == http.HTTPStatus.OK
        return answer.read().decode()


@contextlib.contextmanager
def running_node_exporter() -> Iterator[NodeExporter]:
    """One with nothing but tcpstat, which looks into the calling thread's network namespace.

    It is asked from another namespace, so that neither its listener nor the connection to it is
    among what it counts.
    """
    program = node_exporter()
    listener, client = kernel.in_thread(_connection_elsewhere)
    options = ["--collector.disable-defaults", "--collector.tcpstat", "--web.systemd-socket"]
    options += ["--web.disable-exporter-metrics", "--log.level=error"]
    with listener, contextlib.closing(http.client.HTTPConnection("elsewhere")) as connection:
        connection.sock = client
        with subprocess.Popen(
            [sys.executable, "-c", ACTIVATE, str(listener.fileno()), program, *options],
            pass_fds=[listener.fileno()],
            env=os.environ | {"LISTEN_FDS": "1"},
            stdin=subprocess.DEVNULL,
        ) as process:
            try:
                yield NodeExporter(connection)
            finally:
                process.kill()


def _connection_elsewhere() -> tuple[socket.socket, socket.socket]:
    """A listener and a connection that waits there, in a namespace that ends with them."""
    kernel.unshare(kernel.CLONE_NEWNET)
    kernel.set_up_loopback()
    listener = socket.create_server(("127.0.0.1", 0))
    return listener, socket.create_connection(listener.getsockname(), PATIENCE)
