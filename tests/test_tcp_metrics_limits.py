"""Limits on the labels of TCP metrics, and what owners and cgroups come to."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import struct
from typing import TYPE_CHECKING, Any

import pytest

import population
import tcp_states
from metrics_told import LENGTH, LIMIT, SOCKETS, values
from netlink_safe.collectors.prometheus import TcpStatCollector
from netlink_safe.collectors.prometheus.places import Places
from netlink_safe.collectors.tcp_detail import DetailFold
from netlink_safe.collectors.tcp_fold import fill_of
from netlink_safe.protocol.deadline import Deadline
from netlink_safe.transport import cgroups
from netlink_safe.wire.attributes import build_attribute
from netlink_safe.wire.header import Strides, build_message
from test_deadline import Clock

if TYPE_CHECKING:
    from collections.abc import Iterator


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


@pytest.mark.crowd
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


def test_cgroups_are_found_again_and_the_dead_are_not_looked_for_twice(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """A walk is made for numbers that are new, and ends at the deadline."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    walks = []

    def root() -> str:
        walks.append(1)
        return str(tmp_path)

    monkeypatch.setattr(cgroups, "mounted_at", root)
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


def test_a_full_queue_with_a_limit_of_0_is_more_than_full() -> None:
    """Where one connection may wait, one that waits is one too many for the next."""
    assert fill_of(0, 0) == 0
    assert fill_of(1, 0) > 1
    assert fill_of(129, 128) > 1 == fill_of(128, 128)


def test_a_mount_point_may_be_called_anything(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """Letters beyond ASCII stay what they are; what the kernel escapes is read back."""
    mounts = tmp_path / "mountinfo"
    mounts.write_text("31 24 0:27 / /a\\040grüppe\\134x rw - cgroup2 cgroup2 rw\n", "utf-8")
    monkeypatch.setattr(cgroups, "MOUNTS", str(mounts))
    assert cgroups.mounted_at() == "/a grüppe\\x"
