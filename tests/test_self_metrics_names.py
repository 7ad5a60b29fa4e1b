"""Which metrics the library has of itself: named, limited, there from the beginning."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import pytest
from prometheus_client import CollectorRegistry, generate_latest

import faults
import kernel
import netlink_safe as nls
from metrics_told import documented, values
from netlink_safe import blocking
from netlink_safe.collectors.prometheus import NetlinkSelfCollector
from netlink_safe.transport.socket import KernelSocket
from outboxes import NOBODY
from self_metrics import BUFFER, FLOOR, KINDS, PREFIX, QUEUE, Growth, growth, samples

if TYPE_CHECKING:
    import socket

    from netlink_safe.transport.socket import Memory


__all__ = ["growth"]  # a fixture


#: The metrics that this collector has, and no other one.
OWN: Final = re.compile(PREFIX + "(open|socket|outbox)_")


def test_what_can_be_counted_is_there_from_the_beginning() -> None:
    """With zeros, for every kind: what begins at 1 has not grown, as Prometheus sees it."""

    def in_the_child() -> str:
        told = samples(NetlinkSelfCollector())
        kinds = {key[1] for key in told if key[0] == PREFIX + "socket_drops_total"}
        names = {key[0].removeprefix(PREFIX) for key in told}
        missing = names_of_counters() - {"socket_rejected_total"} - names
        return f"{kinds == KINDS} {missing} {PREFIX + 'socket_receive_buffer_bytes' in names}"

    assert kernel.in_child(in_the_child) == "True set() False"


def names_of_counters() -> set[str]:
    return {
        metric.name.removeprefix(PREFIX) + "_total"
        for metric in NetlinkSelfCollector().describe()
        if metric.type == "counter"
    }


def test_a_socket_that_is_closed_meanwhile_is_left_out(
    growth: Growth, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing is raised."""
    look = KernelSocket.memory

    def closed_first(sock: KernelSocket) -> Memory:
        sock.close()
        return look(sock)

    with blocking.open_sock_diag(), blocking.open_user():
        assert growth("open_sockets", "sock_diag") == 1
        monkeypatch.setattr(KernelSocket, "memory", closed_first)
        assert growth("open_sockets", "sock_diag") == growth("open_sockets", "user") == 0
        assert values(growth.collector.collect(), BUFFER) == {}


def test_sockets_beyond_the_limit_share_a_series() -> None:
    """The sums are of all; who has a series keeps it, and a free one goes to the fullest."""

    class Narrow(NetlinkSelfCollector):
        SOCKETS = 2

    collector = Narrow()
    with contextlib.ExitStack() as held:
        users = {
            port_id: held.enter_context(blocking.open_user(port_id=port_id, receive_buffer=FLOOR))
            for port_id in range(1, 6)
        }
        held.enter_context(blocking.open_uevents())
        users[1].send_nowait(bytes(100), port_id=4)
        users[1].send_nowait(bytes(9000), port_id=5)
        metrics = collector.collect()
        assert set(values(metrics, BUFFER, kind="user")) == {"4", "5", "other"}
        assert set(values(metrics, BUFFER, kind="uevents")) == {"other"}
        assert sum(values(metrics, BUFFER, kind="user").values()) == 5 * 2 * FLOOR
        assert values(metrics, PREFIX + "open_sockets")["user"] == 5
        users[1].send_nowait(bytes(500), port_id=3)
        users[4].receive()
        assert set(values(collector.collect(), QUEUE, kind="user")) == {"4", "5", "other"}
        users[5].close()
        queues = values(collector.collect(), QUEUE, kind="user")
        assert set(queues) == {"4", "3", "other"}
        assert queues["4"] == queues["other"] == 0 < queues["3"]


def test_sockets_of_two_namespaces_that_have_one_port_id_are_told_as_one() -> None:
    """Prometheus would refuse the same series twice."""
    with (
        kernel.named_namespace("other"),
        blocking.open_user(port_id=5) as here,
        blocking.open_user(port_id=5, netns="other"),
    ):
        told = values(NetlinkSelfCollector().collect(), BUFFER, kind="user")
        assert told == {"5": 2 * here.statistics().receive_buffer}


def test_other_protocols_have_a_kind_when_there_are_some(growth: Growth) -> None:
    """Such as a program opens that builds something of its own."""
    from netlink_safe.lowlevel import Namespace, SocketPool

    audit = 9
    namespace = Namespace(None)
    pool = SocketPool(audit, FLOOR, namespace)
    pool.open()
    assert growth("open_sockets", "other") == 1
    pool.close()


def test_registering_opens_no_socket_and_says_all_that_there_may_be() -> None:
    """A scrape has what was described, down to kind and meaning, and all of it."""
    opened: list[socket.socket] = []
    collector = NetlinkSelfCollector()
    registry = CollectorRegistry()
    with faults.on_open(opened.append):
        registry.register(collector)
        described = collector.describe()
        generate_latest(registry)
    assert opened == []
    assert not any(metric.samples for metric in described)
    known = {(metric.name, metric.type, metric.documentation) for metric in described}
    box = nls.Outbox()
    with blocking.open_sock_diag() as diag:
        (sock,) = diag._pool._idle
        faults.spoof(sock.port_id, b"believe me")
        list(diag.dump(blocking.tcp_sockets()))
        box.post(b"x", port_id=NOBODY)
        scraped = collector.collect()
    box._pump.end()
    assert {(metric.name, metric.type, metric.documentation) for metric in scraped} == known


def test_the_reference_names_every_metric() -> None:
    """With its kind and its labels, and none that there is not."""
    described = {
        metric.name + ("_total" if metric.type == "counter" else ""): (
            metric.type,
            frozenset(getattr(metric, "_labelnames")),  # noqa: B009  # untyped
        )
        for metric in NetlinkSelfCollector().describe()
    }
    assert described == {name: row for name, row in documented().items() if OWN.match(name)}


def test_it_waits_for_nothing() -> None:
    """So that it may be asked under any lock, and takes a timeout only as others do."""
    collector = NetlinkSelfCollector()
    with nls.no_waiting():
        assert collector.collect(timeout=0.001)
    with pytest.raises(nls.LocalProtocolError, match="above 0 seconds"):
        collector.collect(timeout=0)


def test_without_prometheus_client_it_says_what_to_install() -> None:
    """And nothing else of the library needs it."""
    program = """
import sys
sys.modules["prometheus_client"] = None
import netlink_safe.collectors.tcpstat, netlink_safe.blocking
from netlink_safe.collectors.prometheus import NetlinkSelfCollector
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 1
    assert "pip install 'netlink-safe[prometheus]'" in ended.stderr.splitlines()[-1]
