"""The collector, by both methods, against what the kernel's own tables and ss say."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from typing import Any

import anyio
import pytest

import netlink_safe as nls
import oracles
import population
import tcp_states
from metrics_told import nonzero
from netlink_safe.collectors import tcpstat
from netlink_safe.collectors.tcp_fold import Listener, ListenFold, RareFold, StateFold
from netlink_safe.collectors.tcp_stats import named
from netlink_safe.collectors.tcp_survey import summarize_counters, summarize_rows
from netlink_safe.families.inet_diag import AddressFamily
from netlink_safe.wire.header import Strides, build_message
from surfaces import Surface, on_every_surface
from tcp_states import FAMILIES

#: Connections and listeners are a dump each.
TABLES = 2

KEYS = [
    "version",
    "netns",
    "taken_at",
    "elapsed_seconds",
    "method",
    "states",
    "families",
    "receive_queue_bytes",
    "transmit_queue_bytes",
    "accept_queue",
    "socket",
]
STATES = [
    "established",
    "syn_sent",
    "syn_recv",
    "fin_wait1",
    "fin_wait2",
    "time_wait",
    "close",
    "close_wait",
    "last_ack",
    "listen",
    "closing",
    "new_syn_recv",
]


def quietly_collected() -> tuple[dict[str, Any], list[tuple[int, int]]]:
    """What is counted while nothing moves: a probe of a full peer may take bytes along."""
    while True:
        before = [oracles.proc_queues(family) for family in FAMILIES]
        stats = tcpstat.collect_blocking().as_dict()
        if before == [oracles.proc_queues(family) for family in FAMILIES]:
            return stats, before


def test_thousands_of_sockets_are_counted_as_ss_counts_them() -> None:
    """States by family, queues and accept queues of a mixed population, by both methods."""
    population.enter_namespace()
    plan = population.plan_of(5000, seed=11)
    with population.population(plan) as made:
        made.refresh()
        stats, queues = quietly_collected()
        counted = tcpstat.collect_blocking(method="counters").as_dict()
        for family in FAMILIES:
            expected = oracles.proc_states(family)
            assert nonzero(stats["families"][family]) == expected
            assert oracles.ss_states(family) in (expected, None)
    expected_states = {name.lower(): count for name, count in plan.states.items()}
    assert nonzero(stats["states"]) == expected_states
    assert nonzero(counted["states"]) == expected_states
    assert stats["receive_queue_bytes"] == sum(receive for receive, _ in queues) > 0
    assert stats["transmit_queue_bytes"] == sum(transmit for _, transmit in queues) > 0
    assert stats["accept_queue"]["length"] == plan.backlog * plan.backlogged > 0
    assert stats["accept_queue"]["fullest"]["length"] == plan.backlog


@on_every_surface
@pytest.mark.parametrize("method", ["dump", "counters"])
async def test_every_state_is_counted_in_both_families_at_once(
    surface: Surface, method: str
) -> None:
    """The rarest as well, and a remainder of FIN_WAIT2 is not taken for TIME_WAIT."""
    with contextlib.ExitStack() as held:
        made = [held.enter_context(tcp_states.every_state(family)) for family in FAMILIES.values()]
        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = socket.create_connection(listener.getsockname())
            server = held.enter_context(listener.accept()[0])
            client.shutdown(socket.SHUT_WR)
            tcp_states.until(client, tcp_states.FIN_WAIT2)
            client.close()  # now the kernel keeps a remainder, which says FIN_WAIT2
            stats = await surface.collect(method=method)
        del server
    expected = {name: made[0].get(name, 0) + made[1].get(name, 0) for name in made[0]}
    expected["fin_wait2"] += 1
    expected["close_wait"] += 1
    expected["listen"] += 1
    assert nonzero(stats.as_dict()["states"]) == expected


@on_every_surface
async def test_an_empty_namespace_is_all_zeros(surface: Surface) -> None:
    """Every state is there with a 0, and nobody is the fullest listener."""
    stats = (await surface.collect()).as_dict()
    assert list(stats) == KEYS
    assert list(stats["states"]) == STATES
    assert {name: list(counts) for name, counts in stats["families"].items()} == {
        "inet": STATES,
        "inet6": STATES,
    }
    assert nonzero(stats["states"]) == {}
    assert stats["accept_queue"] == {"length": 0, "limit": 0, "fullest": None}
    assert list(stats["socket"]) == [
        "receive_buffer",
        "drops",
        "datagrams",
        "rejected",
        "attempts",
    ]
    assert (stats["version"], stats["netns"], stats["method"]) == (1, None, "dump")
    assert stats["socket"]["attempts"] == TABLES
    assert abs(stats["taken_at"] - time.time()) < 60
    assert 0 < stats["elapsed_seconds"] < 5
    json.dumps(stats)


@on_every_surface
async def test_counters_says_what_it_cannot_know(surface: Surface) -> None:
    """None, not 0: values by family, queues, accept queues."""
    with socket.create_server(("127.0.0.1", 0)):
        stats = (await surface.collect(method="counters")).as_dict()
    assert list(stats) == KEYS
    assert nonzero(stats["states"]) == {"listen": 1}
    unknown = ("families", "receive_queue_bytes", "transmit_queue_bytes", "accept_queue")
    assert [stats[key] for key in unknown] == [None] * 4
    assert stats["method"] == "counters"


@on_every_surface
async def test_only_the_families_asked_for_are_counted(surface: Surface) -> None:
    """What was not looked at is left out, and is no 0."""
    with socket.create_server(("127.0.0.1", 0)):
        stats = (await surface.collect(families="inet6")).as_dict()
    assert list(stats["families"]) == ["inet6"]
    assert stats["states"]["listen"] == 0
    assert stats["socket"]["attempts"] == TABLES


@on_every_surface
async def test_the_fullest_listener_is_named(surface: Surface) -> None:
    """By how full its accept queue is, not by how long."""
    with contextlib.ExitStack() as held:
        for backlog, waiting in ((100, 3), (2, 2), (50, 1)):
            listener = held.enter_context(socket.create_server(("127.0.0.1", 0), backlog=backlog))
            if backlog == 2:
                port = listener.getsockname()[1]
            for _ in range(waiting):
                held.enter_context(socket.create_connection(listener.getsockname()))
        stats = (await surface.collect()).as_dict()
    assert stats["accept_queue"] == {
        "length": 6,
        "limit": 152,
        "fullest": {"address": "127.0.0.1", "port": port, "length": 2, "limit": 2},
    }
    assert stats["receive_queue_bytes"] == 0, "connections are no bytes"


@on_every_surface
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "guess"}, "neither 'dump' nor 'counters'"),
        ({"method": "counters", "families": "inet"}, "counts both address families together"),
        ({"families": "ipx"}, "'ipx' is no address family"),
        ({"timeout": -1}, r"math\.inf"),
    ],
)
async def test_nonsense_is_refused(surface: Surface, options: dict[str, Any], said: str) -> None:
    """Before a socket is opened, with what to do instead."""
    with pytest.raises(nls.LocalProtocolError, match=said):
        await surface.collect(**options)


@on_every_surface
async def test_a_kernel_without_counters_is_an_error_and_not_a_zero(
    surface: Surface, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A /proc/net/snmp that says nothing of CurrEstab is not taken for none established."""
    from netlink_safe.transport.namespace import Namespace

    monkeypatch.setattr(Namespace, "read", lambda *_: ["Tcp: A\nTcp: 1\n", "TCP: inuse 1\n", ""])
    with pytest.raises(nls.RemoteProtocolError, match="CurrEstab"):
        await surface.collect(method="counters")


@pytest.mark.parametrize(("since_6_10", "current_established"), [(True, 9), (False, 7)])
def test_currestab_is_understood_as_the_running_kernel_means_it(
    since_6_10: bool, current_established: int
) -> None:
    """Older kernels leave CLOSE_WAIT out of it; the sockets in use tell which kind this is."""
    fold = RareFold()
    states = nls.TcpState
    listening = ListenFold()
    rows = {states.CLOSE_WAIT: 2, states.LISTEN: 3, states.SYN_RECV: 4, states.FIN_WAIT2: 5}
    for state, count in rows.items():
        timer = 3 if state is states.FIN_WAIT2 else 0
        row = build_message(20, 2, 5, 6, bytes([2, state, timer]) + bytes(69))
        taking = listening if state is states.LISTEN else fold
        taking.read(row * count, 0, Strides(20, 88, 5, 6))
    assert (fold.rows, fold.remainders, listening.rows) == (11, 5, 3)
    files = {
        "snmp": f"Tcp: CurrEstab\nTcp: {current_established}\n",
        "sockstat": "TCP: inuse 8 orphan 0 tw 11\n",
        "sockstat6": "TCP6: inuse 4\n",
    }
    counted = summarize_counters(([fold], [listening]), files)["states"]
    assert counted[states.ESTABLISHED] == 7
    assert counted[states.TIME_WAIT] == 6
    assert since_6_10 == (current_established == 9)


@pytest.mark.anywhere
def test_a_state_that_nobody_knows_is_counted_under_its_number() -> None:
    """A newer kernel's state is neither lost nor taken for another."""
    row = build_message(20, 2, 5, 6, bytes([2, 200]) + bytes(70))
    fold = StateFold()
    assert fold.read(row * 3, 0, Strides(20, 88, 5, 6)) == 3 * len(row)
    stats = summarize_rows([AddressFamily.INET], ([fold], []), {})
    assert stats["states"][nls.TcpState(200)] == 3
    assert named(stats["states"])["state_200"] == 3


@pytest.mark.anywhere
def test_a_fold_refuses_a_row_that_ends_past_its_datagram() -> None:
    """Enough of the row is there to be counted, and still it is not whole."""
    row = build_message(20, 2, 5, 6, bytes([2, 1]) + bytes(106))
    with pytest.raises(nls.DecodeError, match="past the datagram's end") as caught:
        StateFold().read((row * 2)[:-1], 0, Strides(20, 88, 5, 6))
    assert caught.value.offset == len(row)


@pytest.mark.anywhere
def test_a_fold_leaves_what_is_no_row_to_the_engine() -> None:
    """It stops at the first message that is too short to be one, and counts what came before."""
    row = build_message(20, 2, 5, 6, bytes([2, 1]) + bytes(106))
    fold = StateFold()
    assert fold.read(row + row[:60], 0, Strides(20, 88, 5, 6)) == len(row)
    assert fold.counts(AddressFamily.INET) == {1: 1}


@pytest.mark.anywhere
def test_listeners_are_compared_by_fill_and_then_by_length() -> None:
    """2 of 2 is fuller than 3 of 100, and 4 of 4 than 2 of 2; a limit of 0 divides nothing."""
    queues = [(0, 0), (3, 100), (2, 2), (4, 4)]
    listeners = [Listener("::", 1, length, limit) for length, limit in queues]
    assert sorted(listeners, key=lambda listener: listener.fill) == listeners


def test_the_example_of_the_package_runs_on_both_backends() -> None:
    """What the documentation shows first."""
    import importlib.util
    import pathlib

    path = pathlib.Path(__file__).parent.parent / "examples" / "tcp_dump.py"
    specification = importlib.util.spec_from_file_location("tcp_dump", path)
    assert specification is not None
    assert specification.loader is not None
    example = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(example)
    with socket.create_server(("127.0.0.1", 0)):
        for backend in ("trio", "asyncio"):
            anyio.run(example.main, backend=backend)
