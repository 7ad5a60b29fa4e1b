"""TCP sockets as metrics: the right numbers under either names, and limits on their labels."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import resource
import socket
import struct
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import CollectorRegistry

import faults
import kernel
import netlink_safe as nls
import oracles
import population
import tcp_states
from netlink_safe.collectors.prometheus import TcpStatCollector
from netlink_safe.collectors.prometheus.places import Places
from netlink_safe.collectors.tcp_detail import DetailFold
from netlink_safe.protocol.deadline import Deadline
from netlink_safe.transport import cgroups
from netlink_safe.wire.attributes import build_attribute
from netlink_safe.wire.header import Strides, build_message
from test_deadline import Clock
from test_tcp_sockets import FAMILIES

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable, Iterator

    from prometheus_client.metrics_core import Metric

EVERYTHING: dict[str, Any] = {"info": True, "by": ("port", "uid", "cgroup")}
MODES: tuple[dict[str, Any], ...] = (
    {},
    {"method": "counters"},
    {"names": "node_exporter"},
    {"names": "node_exporter", "method": "counters"},
    EVERYTHING,
)
SUCCESS = "netlink_safe_collector_success"
TIMEOUTS = "netlink_safe_collector_timeouts_total"
ERRORS = "netlink_safe_collector_errors_total"
SOCKETS = "netlink_safe_tcp_sockets"
LENGTH = "netlink_safe_tcp_accept_queue_length"
LIMIT = "netlink_safe_tcp_accept_queue_limit"
FILL = "netlink_safe_tcp_accept_queue_fill_ratio"
STATES = "node_tcp_connection_states"
#: Histograms by a label, which the reference tells of in a sentence.
BY = re.compile("(bytes|second|seconds|segments)_by_")


def values(metrics: Iterable[Metric], name: str, **labels: str) -> dict[Any, float]:
    """The samples of a name that have these labels, by the values of their other labels."""
    found = {}
    for metric in metrics:
        for each in metric.samples:
            if each.name == name and labels.items() <= each.labels.items():
                rest = [value for key, value in each.labels.items() if key not in labels]
                found[rest[0] if len(rest) == 1 else tuple(rest)] = each.value
    return found


def value(metrics: Iterable[Metric], name: str, **labels: str) -> float:
    """The one sample of a name and its labels."""
    (found,) = values(metrics, name, **labels).values()
    return found


def succeeded(metrics: Iterable[Metric], **labels: str) -> float:
    return value(metrics, SUCCESS, collector="tcpstat", **labels)


def nonzero(counts: dict[str, float]) -> dict[str, float]:
    return {name: count for name, count in counts.items() if count}


@contextlib.contextmanager
def every_state() -> Iterator[dict[str, Counter[str]]]:
    """Sockets in every state, by family, as the kernel's own tables have them."""
    with contextlib.ExitStack() as held:
        for family in FAMILIES.values():
            held.enter_context(tcp_states.every_state(family))
        yield {family: oracles.proc_states(family) for family in FAMILIES}


@contextlib.contextmanager
def many_listeners(most: int, backlog: int) -> Iterator[list[socket.socket]]:
    """Listeners on ports of their own, as many as the machine lets one process have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with contextlib.ExitStack() as held:
        held.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        yield [
            held.enter_context(socket.create_server(("127.0.0.1", 20_000 + n), backlog=backlog))
            for n in range(min(most, hard - 200))
        ]


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


def documented() -> dict[str, tuple[str, frozenset[str]]]:
    """Every metric of the reference: its kind, and its labels."""
    text = (pathlib.Path(__file__).parent.parent / "docs/reference/metrics.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)` \| ([a-z ]+) \|([^|]*)\|", text, re.MULTILINE)
    return {name: (kind, frozenset(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}


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


def test_ten_thousand_listening_ports_are_as_many_series_as_the_limit_says() -> None:
    """Those that are full come first, the rest is one more, and nothing is missing from the sum."""
    with many_listeners(10_000, backlog=8) as listeners, contextlib.ExitStack() as held:
        for _ in range(3):
            held.enter_context(socket.create_connection(listeners[-1].getsockname()))
        fullest = str(listeners[-1].getsockname()[1])
        collector = TcpStatCollector(limit=20, by="port")
        metrics = collector.collect()
    lengths, limits = values(metrics, LENGTH), values(metrics, LIMIT)
    assert len(lengths) == 21
    assert lengths[fullest] == 3
    assert lengths["other"] == 0
    assert sum(limits.values()) == 8 * len(listeners)
    assert len(values(metrics, "netlink_safe_tcp_sockets_by_port")) <= 21


@pytest.mark.timeout(600)  # an emulated machine takes minutes to connect as many
def test_peers_and_their_ports_make_no_series() -> None:
    """A server's port has its connections, ports that nobody listens on share a value."""
    name = "netlink_safe_tcp_sockets_by_port"
    population.enter_namespace()
    plan = population.plan_of(10_000, seed=5)
    collector = TcpStatCollector(by="port", limit=10)
    with population.population(plan):
        metrics = collector.collect()
        by_port = values(metrics, name)
        total = sum(values(metrics, SOCKETS).values())
        listeners = sum(values(metrics, SOCKETS, state="listen").values())
    assert len({port for port, _ in by_port}) <= 11
    assert sum(by_port.values()) == total - listeners


def row(state: int, cgroup: int, uid: int = 0, inode: int = 1) -> bytes:
    """One row of inet_diag, of a socket that somebody holds."""
    body = bytes([2, state]) + bytes(62) + struct.pack("=II", uid, inode)
    attributes = build_attribute(21, struct.pack("=Q", cgroup))
    return build_message(20, 2, 5, 6, body + attributes)


def detail(rows: bytes, *dimensions: Any) -> DetailFold:
    fold = DetailFold(False, dimensions, frozenset())
    assert fold.read(rows, 0, Strides(20, 88, 5, 6)) == len(rows)
    return fold


def test_ten_thousand_cgroups_are_as_many_series_as_the_limit_says() -> None:
    """And uids as well; the largest have a place, the others are added up."""
    from netlink_safe.collectors.prometheus import looks, tcp_metrics
    from netlink_safe.collectors.prometheus.definitions import Families
    from netlink_safe.collectors.tcpstat import collect_blocking

    rows = b"".join(row(1, 2**40 + n, uid=n) for n in range(10_000))
    rows += row(1, 2**40 + 77, uid=77) * 5
    fold = detail(rows, "cgroup", "uid")
    texts = dict.fromkeys(tcp_metrics.FILES, "")
    families = Families(tcp_metrics.definitions("dump", False, ("cgroup", "uid")))
    tcp_metrics.Teller(30, False).tell(looks.Sight(collect_blocking(), texts, fold), families, [])
    for label, largest in (("cgroup", f"id:{2**40 + 77}"), ("uid", "77")):
        told = values(
            families.filled(), f"netlink_safe_tcp_sockets_by_{label}", state="established"
        )
        assert len(told) == 31
        assert told[largest] == 6
        assert sum(told.values()) == 10_005


def test_who_has_a_place_keeps_it() -> None:
    """Though others have grown larger; once it is gone, the largest of them has it."""
    places: Places[str] = Places(2)
    assert places.assign({"a": 1, "b": 2, "c": 3}) == {"b", "c"}
    assert places.assign({"a": 9, "b": 2, "c": 1}) == {"b", "c"}
    assert places.assign({"a": 9, "b": 2, "d": 10}) == {"b", "d"}
    assert places.assign({}) == frozenset()


def test_sockets_are_told_by_who_owns_them() -> None:
    """By uid and cgroup, if a process holds them; what nobody holds is nobody's, and not root's."""
    name = "netlink_safe_tcp_sockets_by_"
    collector = TcpStatCollector(by=["uid", "cgroup"])
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as client,
    ):
        server, _ = listener.accept()
        client.shutdown(socket.SHUT_WR)
        tcp_states.until(client, tcp_states.FIN_WAIT2)
        server.close()  # the client is in TIME_WAIT now, and is no full socket any more
        with (
            socket.create_connection(listener.getsockname()),
            listener.accept()[0],
        ):
            metrics = collector.collect()
    with open("/proc/self/cgroup", encoding="utf-8") as file:
        own = next(line.rstrip().split(":", 2)[2] for line in file if line.startswith("0::"))
    assert values(metrics, name + "uid") == {
        (str(os.getuid()), "established"): 2,
        ("none", "time_wait"): 1,
    }
    assert values(metrics, name + "cgroup") == {(own, "established"): 2, ("none", "time_wait"): 1}


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


def test_cgroups_are_found_again_and_the_dead_are_not_looked_for_twice(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """A walk is made for numbers that are new, and ends at the deadline."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    walks = []

    def root() -> str:
        walks.append(1)
        return str(tmp_path)

    monkeypatch.setattr(cgroups, "_root", root)
    with os.scandir(tmp_path / "a") as entries:
        inner = next(entries).inode()  # on some file systems stat() has another number
    paths = cgroups.CgroupPaths()
    top = os.stat(tmp_path).st_ino
    for _ in range(2):
        paths.look_for({inner, top, 1}, Deadline(5))
        assert (paths.path(inner), paths.path(top), paths.path(1)) == ("/a/b", "/", None)
    assert len(walks) == 1
    clock = Clock()
    late = Deadline(1, clock)
    clock.now += 2
    paths = cgroups.CgroupPaths()
    paths.look_for({inner}, late)
    assert paths.path(inner) is None
    paths.look_for({inner}, Deadline(5))
    assert paths.path(inner) == "/a/b"
