"""Under node_exporter's names, the numbers are those of Debian's node_exporter itself."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any
from wsgiref.util import setup_testing_defaults

import pytest
from prometheus_client.parser import text_string_to_metric_families

import debian_peers
import kernel
import population
import tcp_states
from netlink_safe.collectors.prometheus import TcpStatCollector, exposition
from tcp_states import FAMILIES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.metrics_core import Metric

NAME = "node_tcp_connection_states"


@pytest.fixture
def node_exporter() -> Iterator[debian_peers.NodeExporter]:
    """One that looks into the namespace of the test."""
    with debian_peers.running_node_exporter() as running:
        yield running


def theirs(exporter: debian_peers.NodeExporter) -> list[Metric]:
    families = text_string_to_metric_families(exporter.scrape())
    return [metric for metric in families if metric.name == NAME]


def ours(collector: TcpStatCollector) -> list[Metric]:
    return [metric for metric in collector.collect() if metric.name == NAME]


def compared(exporter: debian_peers.NodeExporter) -> tuple[list[Metric], list[Metric]]:
    """Both of the same sockets: what they say at a moment when nothing moves."""
    collector = TcpStatCollector(names="node_exporter")
    found: list[tuple[list[Metric], list[Metric]]] = []

    def is_still() -> bool:
        before, own, behind = theirs(exporter), ours(collector), theirs(exporter)
        found.append((before, own))
        return before == behind

    kernel.until(is_still)
    return found[-1]


def test_of_no_socket_both_say_nothing(node_exporter: debian_peers.NodeExporter) -> None:
    """No line at all, not even what the metric is."""
    assert compared(node_exporter) == ([], [])


@pytest.mark.parametrize("families", [["inet"], ["inet6"], ["inet", "inet6"]])
def test_of_every_state_both_say_the_same(
    node_exporter: debian_peers.NodeExporter, families: list[str]
) -> None:
    """In either family and in both: states, bytes, order, help and type."""
    with contextlib.ExitStack() as held:
        for family in families:
            states = held.enter_context(tcp_states.every_state(FAMILIES[family]))
        expected, found = compared(node_exporter)
    assert found == expected
    told = [sample.labels["state"] for sample in expected[0].samples]
    assert told == sorted([*states, "rx_queued_bytes", "tx_queued_bytes"])


def test_of_thousands_both_say_the_same() -> None:
    """A population as a busy machine has it, with bytes that wait in both directions."""
    population.enter_namespace()
    plan = population.plan_of(5_000)
    with debian_peers.running_node_exporter() as exporter, population.population(plan):
        expected, found = compared(exporter)
    assert found == expected
    told = {sample.labels["state"]: sample.value for sample in expected[0].samples}
    assert sum(value for state, value in told.items() if "queued" not in state) >= 4_900
    assert min(told["rx_queued_bytes"], told["tx_queued_bytes"]) > 0


def told(text: str) -> list[str]:
    """The lines of the metric, its help and its type among them."""
    return [line for line in text.splitlines() if NAME in line]


def served() -> str:
    """What the exporter answers to a scrape, without a server, whose socket would count as well."""
    application = exposition.application([TcpStatCollector(names="node_exporter")], "test")
    environ: dict[str, Any] = {}
    setup_testing_defaults(environ)
    environ["PATH_INFO"] = "/metrics"
    return b"".join(application(environ, lambda *_: print)).decode()


def test_the_exporter_serves_the_very_same_text() -> None:
    """Line by line, character by character: of every state, and of thousands of sockets."""
    population.enter_namespace()
    plan = population.plan_of(3_000, seed=7)
    with (
        debian_peers.running_node_exporter() as exporter,
        population.population(plan),
        contextlib.ExitStack() as held,
    ):
        for family in FAMILIES.values():
            held.enter_context(tcp_states.every_state(family))
        texts: list[str] = []

        def is_still() -> bool:
            texts[:] = exporter.scrape(), served(), exporter.scrape()
            return told(texts[0]) == told(texts[2])

        kernel.until(is_still)
    assert told(texts[1]) == told(texts[0])
    assert len(told(texts[0])) == 14, "two of them for help and type"
