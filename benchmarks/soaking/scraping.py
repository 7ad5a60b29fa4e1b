"""Scrapes: of a registry in this process, among its faults, and of the exporter as a process.

May call ``soaking.stage``, ``netlink_safe`` and the tests' ``exporters``.
"""

from __future__ import annotations

import contextlib
import http.client
from collections import Counter
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, generate_latest

import kernel
from netlink_safe.collectors.prometheus import TcpStatCollector
from netlink_safe.errors import NetlinkTimeout
from soaking.leaks import Memory

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from exporters import Exporter
    from soaking.stage import Stage

#: Seconds that a scrape may take.
LIMIT: Final = 5.0
PAUSE: Final = 0.1
#: The share of scrapers that hang up instead of reading.
RUDE: Final = 0.2
#: Seconds in which what is left goes.
PATIENCE: Final = 20.0
SUCCEEDED: Final = 'netlink_safe_collector_success{collector="tcpstat"} 1'


def registry(stage: Stage) -> Callable[[random.Random], None]:
    """Scrapes of a registry, each with numbers or without."""
    collector = TcpStatCollector(timeout=LIMIT)
    scraped = CollectorRegistry()
    scraped.register(collector)

    def turn(draws: random.Random) -> None:
        with stage.ledger.call("blocking", "scrape of a registry", LIMIT):
            if SUCCEEDED not in generate_latest(scraped).decode():
                raise NetlinkTimeout("a scrape that has no numbers", LIMIT)
        stage.over.wait(draws.uniform(0, PAUSE))

    return turn


class Scraped:
    """The exporter: scraped, hung up on, and looked at before and behind."""

    def __init__(self, stage: Stage, exporter: Exporter) -> None:
        self.memory = Memory()
        self._stage = stage
        self._exporter = exporter
        exporter.get()
        self._before = self._left()

    def turn(self, draws: random.Random) -> None:
        """One scrape."""
        if draws.random() < RUDE:
            self._hang_up()
        else:
            with self._stage.ledger.call("process", "scrape of the exporter", LIMIT):
                answer = self._exporter.get()
                is_whole = answer.status == http.HTTPStatus.OK and SUCCEEDED.encode() in answer.body
                self._stage.ledger.check(
                    is_whole, f"the exporter says {answer.status}, and has no numbers"
                )
        self._stage.over.wait(draws.uniform(0, PAUSE))

    def beyond(self) -> list[str]:
        """What the exporter has that it had not."""
        with contextlib.suppress(AssertionError):
            kernel.until(lambda: self._left() <= self._before, PATIENCE)
        beyond = self._left() - self._before
        return [f"the exporter has {count} more: {what}" for what, count in beyond.items()]

    def sample(self) -> None:
        """How much memory it has."""
        self.memory.sample(self._exporter.process.pid)

    def _left(self) -> Counter[str]:
        return Counter([*self._exporter.descriptors(), *["thread"] * self._exporter.threads()])

    def _hang_up(self) -> None:
        connection = http.client.HTTPConnection(self._exporter.host, self._exporter.port, 60)
        told = self._stage.ledger.call("process", "a scraper that hangs up", LIMIT)
        with contextlib.closing(connection), told:
            connection.request("GET", "/metrics")
