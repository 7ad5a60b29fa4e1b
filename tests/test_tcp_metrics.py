"""TCP sockets as metrics: the right numbers under either names."""

from __future__ import annotations

import contextlib
import re
import socket
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

import faults
import kernel
import netlink_safe as nls
import oracles
from metrics_told import (
    LENGTH,
    LIMIT,
    MODES,
    SOCKETS,
    STATES,
    documented,
    every_state,
    nonzero,
    succeeded,
    value,
    values,
)
from netlink_safe.collectors.prometheus import TcpStatCollector
from tcp_states import FAMILIES

FILL = "netlink_safe_tcp_accept_queue_fill_ratio"


#: Histograms by a label, which the reference tells of in a sentence.
BY = re.compile("(bytes|second|seconds|segments)_by_")


@pytest.mark.parametrize("mode", MODES)
def test_registering_opens_no_socket_and_says_all_that_there_may_be(mode: dict[str, Any]) -> None:
    """What a scrape then has is what was described, down to kind and meaning."""
    opened: list[socket.socket] = []
    collector = TcpStatCollector(**mode)
    with faults.on_open(opened.append):
        CollectorRegistry().register(collector)
        described = collector.describe()
    assert opened == []
    assert not any(metric.samples for metric in described)
    known = {(metric.name, metric.type, metric.documentation) for metric in described}
    with every_state():
        scraped = collector.collect()
    assert {(metric.name, metric.type, metric.documentation) for metric in scraped} <= known
    assert len(scraped) >= len(described) - 1, "all but the errors"


def test_the_reference_names_every_metric_of_the_collector() -> None:
    """With its kind and its labels, and none that there is not."""
    described: dict[str, tuple[str, frozenset[str]]] = {}
    for mode in ({"info": True, "by": ("port", "uid", "cgroup")}, {"names": "node_exporter"}):
        for metric in TcpStatCollector(**mode).describe():
            kind = metric.type.replace("gaugehistogram", "gauge histogram")
            name = metric.name + ("_total" if kind == "counter" else "")
            described[name] = kind, frozenset(getattr(metric, "_labelnames"))  # noqa: B009  # untyped
    for name in filter(BY.search, list(described)):
        stem, _, label = name.rpartition("_by_")
        assert described.pop(name) == ("gauge histogram", frozenset({label}))
        assert stem in described
    assert described.items() <= documented().items()
    assert {name for name in documented() if "tcp" in name} <= described.keys()


def test_two_registered_in_one_registry_are_refused() -> None:
    """Prometheus would not take the same series twice, and says so at the registration."""
    registry = CollectorRegistry()
    registry.register(TcpStatCollector())
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        registry.register(TcpStatCollector(names="node_exporter"))


def test_states_are_told_by_family_and_zeros_are_zeros() -> None:
    """As the kernel's own tables have them, every state that there can be among them."""
    collector = TcpStatCollector()
    with every_state() as expected:
        metrics = collector.collect()
        for family in FAMILIES:
            assert nonzero(values(metrics, SOCKETS, family=family)) == expected[family]
        total = expected["inet"] + expected["inet6"]
        counted = TcpStatCollector(method="counters").collect()
        assert nonzero(values(counted, SOCKETS, family="both")) == total
    assert succeeded(metrics) == succeeded(counted) == 1
    assert len(values(metrics, SOCKETS, family="inet")) == len(oracles.SS_NAMES)


def test_queues_of_bytes_leave_listeners_out() -> None:
    """What waits to be read, and to be sent, of connections alone."""
    with (
        socket.create_server(("127.0.0.1", 0), backlog=7) as listener,
        socket.create_connection(listener.getsockname()) as client,
        listener.accept()[0] as server,
        socket.create_connection(listener.getsockname()),
    ):
        client.send(bytes(100))
        assert server.recv(1, socket.MSG_PEEK)
        metrics = TcpStatCollector().collect()
    assert value(metrics, "netlink_safe_tcp_receive_queue_bytes") == 100
    assert value(metrics, "netlink_safe_tcp_transmit_queue_bytes") == 0


@pytest.mark.parametrize("method", ["dump", "counters"])
def test_accept_queues_are_told_by_port(method: Any) -> None:
    """Those of all listeners of a port together, and how full the fullest of them is."""
    with contextlib.ExitStack() as held:
        port = 0
        for address, backlog, waiting in (("127.0.0.1", 4, 3), ("127.0.0.2", 100, 1)):
            listener = socket.create_server((address, port), backlog=backlog)
            port = held.enter_context(listener).getsockname()[1]
            for _ in range(waiting):
                held.enter_context(socket.create_connection((address, port)))
        idle = held.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        other = str(idle.getsockname()[1])
        metrics = TcpStatCollector(method=method).collect()
    assert values(metrics, LENGTH) == {str(port): 4, other: 0}
    assert values(metrics, LIMIT) == {str(port): 104, other: 0}
    assert values(metrics, FILL) == {str(port): 0.75, other: 0}


def test_what_overflows_is_counted_by_the_kernel() -> None:
    """An accept queue that is full drops connections, and how many is told."""
    name = "netlink_safe_tcp_listen_overflows_total"
    collector = TcpStatCollector()
    with contextlib.ExitStack() as held:
        listener = held.enter_context(socket.create_server(("127.0.0.1", 0), backlog=1))
        address = listener.getsockname()
        for _ in range(2):  # the kernel lets one more wait than it was told
            held.enter_context(socket.create_connection(address))
        before = collector.collect()
        late = held.enter_context(socket.socket())
        late.setblocking(False)
        late.connect_ex(address)
        kernel.until(lambda: value(collector.collect(), name) > 0)
    assert value(before, name) == 0
    assert value(before, FILL, port=str(address[1])) == 2
    assert value(before, "netlink_safe_tcp_segments_sent_total") > 0
    assert value(before, "netlink_safe_tcp_segments_retransmitted_total") == 0


def test_node_exporters_names_have_its_meaning() -> None:
    """States that somebody is in, and bytes among them, a listener's connections counted so."""
    with (
        socket.create_server(("127.0.0.1", 0), backlog=7) as listener,
        socket.create_connection(listener.getsockname()),
    ):
        metrics = TcpStatCollector(names="node_exporter").collect()
        counted = TcpStatCollector(names="node_exporter", method="counters").collect()
    assert values(metrics, STATES) == {
        "established": 2,
        "listen": 1,
        "rx_queued_bytes": 1,
        "tx_queued_bytes": 7,
    }
    assert values(counted, STATES) == {"established": 2, "listen": 1}
    assert list(values(metrics, STATES)) == sorted(values(metrics, STATES))
    assert values(TcpStatCollector(names="node_exporter").collect(), STATES) == {}


def test_histograms_are_of_what_the_sockets_say_of_themselves() -> None:
    """The same numbers as getsockopt has for each connection that is open."""
    prefix = "netlink_safe_tcp_"
    collector = TcpStatCollector(info=True, by="port")
    with contextlib.ExitStack() as held:
        listener = held.enter_context(socket.create_server(("127.0.0.1", 0)))
        ends = []
        for size in (10, 5000, 200_000):
            client = held.enter_context(socket.create_connection(listener.getsockname()))
            server = held.enter_context(listener.accept()[0])
            client.sendall(bytes(size))
            left = size
            while left:
                left -= len(server.recv(left))
            ends += [client, server]
        kernel.until(lambda: not any(info(end).unacked for end in ends))
        infos = [info(end) for end in ends]
        port = str(listener.getsockname()[1])
        metrics = collector.collect()
    rtts = [each.rtt or 0 for each in infos]
    sent = [each.bytes_sent or 0 for each in infos]  # with what a slow machine sends twice
    buckets = values(metrics, prefix + "sent_bytes_bucket")
    assert [buckets[bound] for bound in ("1000.0", "10000.0", "1e+06", "+Inf")] == [4, 5, 6, 6]
    assert value(metrics, prefix + "sent_bytes_gsum") == sum(sent)
    assert value(metrics, prefix + "received_bytes_gsum") == 205_010
    assert value(metrics, prefix + "smoothed_rtt_seconds_gcount") == sum(map(bool, rtts))
    assert value(metrics, prefix + "smoothed_rtt_seconds_gsum") == pytest.approx(sum(rtts) / 1e6)
    assert value(metrics, prefix + "retransmitted_segments_gsum") == sum(
        each.total_retrans or 0 for each in infos
    )
    assert values(metrics, prefix + "sent_bytes_by_port_gsum") == {port: 0, "other": sum(sent)}
    assert values(metrics, prefix + "received_bytes_by_port_gsum") == {port: 205_010, "other": 0}


def info(sock: socket.socket) -> nls.TcpInfo:
    """What the kernel says of a connection to whoever holds it."""
    return nls.TcpInfo(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 512))
