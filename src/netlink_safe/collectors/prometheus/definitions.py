"""What a metric is called and what it means, as data; and families of samples made by such a table.

May call prometheus_client.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

try:
    from prometheus_client.metrics_core import (
        CounterMetricFamily,
        GaugeHistogramMetricFamily,
        GaugeMetricFamily,
        Metric,
    )
except ImportError as _missing:
    raise ImportError(
        "collectors for Prometheus need prometheus_client: pip install 'netlink-safe[prometheus]'"
    ) from _missing

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


@attrs.frozen(slots=True)
class Definition:
    """One metric; ``kind`` is its class in prometheus_client, ``labels`` are in order."""

    name: str
    kind: type[Any]
    documentation: str
    labels: tuple[str, ...] = ()


def gauge(name: str, documentation: str, *labels: str) -> Definition:
    """What goes up and down."""
    return Definition(name, GaugeMetricFamily, documentation, labels)


def counter(name: str, documentation: str, *labels: str) -> Definition:
    """What only grows; its samples are called ``name`` and ``_total``."""
    return Definition(name, CounterMetricFamily, documentation, labels)


def gauge_histogram(name: str, documentation: str, *labels: str) -> Definition:
    """How what is there now is distributed: its buckets go up and down."""
    return Definition(name, GaugeHistogramMetricFamily, documentation, labels)


class Families:
    """Samples by a table of definitions, each with the labels that all of them have in common."""

    def __init__(self, definitions: Iterable[Definition], common: Sequence[str] = ()) -> None:
        self._families = {
            definition.name: definition.kind(
                definition.name,
                definition.documentation,
                labels=[*common, *definition.labels],
            )
            for definition in definitions
        }

    def add(self, name: str, labels: Sequence[str], *numbers: Any) -> None:
        """Add a sample; of a histogram its buckets and its sum."""
        self._families[name].add_metric([*map(_valid, labels)], *numbers)

    def described(self) -> list[Metric]:
        """Every family, with a sample or without."""
        return list(self._families.values())

    def filled(self) -> list[Metric]:
        """The families that have a sample."""
        return [family for family in self._families.values() if family.samples]


def _valid(label: str) -> str:
    """The label; of what is no UTF-8, as the name of a file may be, the bytes with backslashes."""
    return label.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
