"""Samples of TCP metrics, by name and label."""

from __future__ import annotations

import contextlib
import pathlib
import re
from typing import TYPE_CHECKING, Any, TypeVar

import oracles
import tcp_states
from tcp_states import FAMILIES

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable, Iterator, Mapping

    from prometheus_client.metrics_core import Metric


N = TypeVar("N", int, float)

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


STATES = "node_tcp_connection_states"


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


def nonzero(counts: Mapping[str, N]) -> dict[str, N]:
    return {name: count for name, count in counts.items() if count}


@contextlib.contextmanager
def every_state() -> Iterator[dict[str, Counter[str]]]:
    """Sockets in every state, by family, as the kernel's own tables have them."""
    with contextlib.ExitStack() as held:
        for family in FAMILIES.values():
            held.enter_context(tcp_states.every_state(family))
        yield {family: oracles.proc_states(family) for family in FAMILIES}


def documented() -> dict[str, tuple[str, frozenset[str]]]:
    """Every metric of the reference: its kind, and its labels."""
    text = (pathlib.Path(__file__).parent.parent / "docs/reference/metrics.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)` \| ([a-z ]+) \|([^|]*)\|", text, re.MULTILINE)
    return {name: (kind, frozenset(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}
