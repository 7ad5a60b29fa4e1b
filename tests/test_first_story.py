"""The first story, end to end: a collector whose dump never ends, under scrape."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import exporters
import kernel
from metrics_told import ERRORS, SOCKETS, TIMEOUTS, succeeded, value, values
from surfaces import taking_at_most

if TYPE_CHECKING:
    from pathlib import Path

#: Loses the end of every dump of the process while a file is there.
LOSING = """
import os, faults
losing = faults.on_open(
    lambda sock: os.path.exists({path!r}) and faults.attach(sock, faults.losing(3))
)
losing.__enter__()
"""
FAULTS = 1000
AT_ONCE = 10
#: Of a whole exposition, which takes long to parse.
FAILED = b'netlink_safe_collector_success{collector="tcpstat"} 0\n'
PATIENCE = "X_Prometheus_Scrape_Timeout_Seconds"


def test_the_scrape_ends_and_the_next_one_is_right(tmp_path: Path) -> None:
    """It says that it has no numbers, and why, within its deadline; then it has them again."""
    lost = tmp_path / "lost"
    with (
        exporters.running("--timeout=1", prelude=LOSING.format(path=str(lost))) as exporter,
        socket.create_server(("127.0.0.1", 0)),
    ):
        before = exporter.get().metrics()
        lost.touch()
        with taking_at_most(5):
            answer = exporter.get()
        lost.unlink()
        after = exporter.get().metrics()
        assert (
            exporter.said().count(
                "no TCP sockets: no end to the reply to the dump of TCP sockets within 1 s"
            )
            == 1
        )
    assert answer.status == 200
    assert succeeded(answer.metrics()) == 0
    assert value(answer.metrics(), TIMEOUTS) == 1
    assert values(answer.metrics(), ERRORS, collector="tcpstat") == {"NetlinkTimeout": 1}
    assert not [each.name for each in answer.metrics() if "_tcp_" in each.name]
    for metrics in (before, after):
        assert succeeded(metrics) == 1
        assert value(metrics, SOCKETS, family="inet", state="listen") == 2


def test_a_thousand_of_them_leave_nothing_behind(tmp_path: Path) -> None:
    """No thread, no descriptor, no socket; scrapers with different patience do not share a dump."""
    lost = tmp_path / "lost"
    with exporters.running(prelude=LOSING.format(path=str(lost))) as exporter:
        descriptors, threads = exporter.descriptors(), exporter.threads()
        assert succeeded(exporter.get().metrics()) == 1
        lost.touch()
        failed: list[bool] = []

        def scrape(patience: float) -> None:
            for _ in range(FAULTS // AT_ONCE):
                answer = exporter.get(**{PATIENCE: f"{patience:.3f}"})
                failed.append(FAILED in answer.body)

        scrapers = [
            threading.Thread(target=scrape, args=(0.55 + number / 1000,))
            for number in range(AT_ONCE)
        ]
        for each in scrapers:
            each.start()
        for each in scrapers:
            each.join()
        lost.unlink()
        metrics = exporter.get().metrics()
        # A worker that has nothing to do waits ten seconds for something before it goes.
        kernel.until(lambda: exporter.threads() <= threads, 30)
        kernel.until(lambda: exporter.descriptors() == descriptors)
        kernel.until(lambda: exporter.netlink_sockets() == 0)
    assert failed == [True] * FAULTS
    assert succeeded(metrics) == 1
    assert value(metrics, TIMEOUTS) == FAULTS
