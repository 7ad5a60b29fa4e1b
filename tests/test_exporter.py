"""The exporter over HTTP: what it answers, to whom, and who is not held up by whom."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import os
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.openmetrics import parser
from prometheus_client.parser import text_string_to_metric_families as plain_metrics

import kernel
from exporters import ANYWHERE, Exporter, running
from exporting import connected, exporter
from metrics_told import SOCKETS, STATES, succeeded, value, values
from surfaces import taking_at_most
from test_first_story import LOSING, PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from prometheus_client.metrics_core import Metric

__all__ = ["exporter"]  # fixtures


OPEN_METRICS = "application/openmetrics-text; version=1.0.0"


#: Of a response, what is far too much to stand in anybody's socket buffers.
WIDE = ("--info", "--by=port", "--limit=200")


def open_metrics(text: str) -> list[Metric]:
    """The other text format, parsed."""
    return list(parser.text_string_to_metric_families(text))  # type: ignore[no-untyped-call]  # it has no types


def test_a_scrape_is_text_that_prometheus_reads(exporter: Exporter) -> None:
    """Whole numbers are written as clients in Go do, without a point."""
    answer = exporter.get()
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert b'netlink_safe_tcp_sockets{family="inet",state="listen"} 1\n' in answer.body
    assert not [line for line in answer.body.splitlines() if line.endswith(b".0")]
    assert succeeded(plain_metrics(answer.body.decode())) == 1
    assert value(answer.metrics(), "process_open_fds") > 0
    again = exporter.get().metrics()
    assert value(again, "netlink_safe_socket_datagrams_total", kind="sock_diag") > 0


def test_open_metrics_and_gzip_are_for_who_asks_for_them(exporter: Exporter) -> None:
    """And not for others."""
    answer = exporter.get(Accept=OPEN_METRICS, Accept_Encoding="gzip")
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
    assert answer.headers["Content-Encoding"] == "gzip"
    text = gzip.decompress(answer.body).decode()
    assert text.endswith("# EOF\n")
    assert succeeded(open_metrics(text)) == 1
    assert "Content-Encoding" not in exporter.get(Accept_Encoding="identity").headers


def test_other_paths_and_methods_are_told_what_there_is(exporter: Exporter) -> None:
    """With the status for it."""
    page = exporter.get("/")
    assert page.status == 200
    assert b'href="metrics"' in page.body
    assert exporter.get("/healthz").body == b"ok\n"
    assert exporter.get("/metrics?x=1").status == 200
    for path, method, status in (
        ("/nothing", "GET", 404),
        ("/metrics/", "GET", 404),
        ("/metrics", "POST", 405),
        ("/metrics", "HEAD", 200),
    ):
        answer = exporter.get(path, method)
        assert answer.status == status
        assert (answer.body == b"") == (method == "HEAD")


def test_it_does_not_take_more_time_than_prometheus_has(tmp_path: Path) -> None:
    """Which says so itself; without that it is --timeout."""
    lost = tmp_path / "lost"
    lost.touch()
    with running("--timeout=60", prelude=LOSING.format(path=str(lost))) as exporter:
        for patience in ("1", "0.1", "-5"):
            with taking_at_most(10):
                assert succeeded(exporter.get(**{PATIENCE: patience}).metrics()) == 0
        lost.unlink()
        for patience in ("nan", "inf", "soon", "1e999"):
            assert succeeded(exporter.get(**{PATIENCE: patience}).metrics()) == 1


def test_health_is_told_while_every_scrape_hangs(tmp_path: Path) -> None:
    """As many as may be under way; one more is sent away, and the page is there as well."""
    lost = tmp_path / "lost"
    lost.touch()
    with running("--timeout=4", prelude=LOSING.format(path=str(lost))) as exporter:
        hanging = [connected(exporter) for _ in range(64)]
        for sock in hanging:
            sock.send(b"GET /metrics HTTP/1.0\r\n\r\n")
        kernel.until(lambda: exporter.get().status == 503)
        with taking_at_most(2):
            assert exporter.get("/healthz").status == 200
            assert exporter.get("/").status == 200
        answers = []
        for sock in hanging:
            with sock, sock.makefile("rb") as file:
                answers.append(file.read())
    assert all(answer.startswith(b"HTTP/1.0 200") for answer in answers)
    assert all(b'success{collector="tcpstat"} 0' in answer for answer in answers)


def test_fifty_scrapers_at_once_all_have_it_right(exporter: Exporter) -> None:
    """The same numbers for everybody, and soon."""
    together = threading.Barrier(50)
    found: list[tuple[int, float]] = []

    def scrape() -> None:
        together.wait(30)
        answer = exporter.get()
        listeners = value(answer.metrics(), SOCKETS, family="inet", state="listen")
        found.append((answer.status, listeners))

    threads = [threading.Thread(target=scrape) for _ in range(50)]
    with taking_at_most(30):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert found == [(200, 1.0)] * 50


def test_who_reads_a_byte_a_second_holds_up_nobody() -> None:
    """Sixty of them, each with a buffer that its answer does not fit into."""
    with contextlib.ExitStack() as held:
        for number in range(100):
            listener = socket.create_server(("127.0.0.1", 20_000 + number))
            held.enter_context(listener)
            held.enter_context(socket.create_connection(listener.getsockname()))
        exporter = held.enter_context(running(*WIDE))
        slow = [held.enter_context(connected(exporter, 1024)) for _ in range(60)]
        for sock in slow:
            sock.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            assert sock.recv(1) == b"H"
        for _ in range(5):
            with taking_at_most(5):
                assert succeeded(exporter.get().metrics()) == 1
        assert slow[0].recv(1) == b"T"
        assert len(exporter.get().body) > 400_000, "it fits into no buffer"


def garbage(exporter: Exporter) -> socket.socket:
    sock = connected(exporter)
    sock.send(os.urandom(10_000))
    return sock


def garbage_with_an_end(exporter: Exporter) -> socket.socket:
    sock = connected(exporter)
    sock.send(os.urandom(10_000).replace(b"\n", b"") + b"\r\n\r\n")
    return sock


def an_endless_header(exporter: Exporter) -> socket.socket:
    sock = connected(exporter)
    with contextlib.suppress(ConnectionError):  # it hangs up at the limit
        for _ in range(100):
            sock.send(b"X-Header: " + b"x" * 1000 + b"\r\n")
    return sock


def a_byte_of_a_request(exporter: Exporter) -> socket.socket:
    sock = connected(exporter)
    sock.send(b"G")
    return sock


def half_a_request(exporter: Exporter) -> socket.socket:
    sock = connected(exporter)
    sock.send(b"GET /metrics HT")
    sock.close()
    return sock


def half_an_answer(exporter: Exporter) -> socket.socket:
    sock = connected(exporter)
    sock.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    sock.recv(100)
    sock.close()
    return sock


def a_reset(exporter: Exporter) -> socket.socket:
    sock = connected(exporter)
    sock.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    sock.close()
    return sock


def a_large_body(exporter: Exporter) -> socket.socket:
    sock = connected(exporter)
    sock.send(b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\nx")
    return sock


@pytest.mark.parametrize(
    "nuisance",
    [
        garbage,
        garbage_with_an_end,
        an_endless_header,
        a_byte_of_a_request,
        half_a_request,
        half_an_answer,
        a_reset,
        a_large_body,
    ],
)
def test_nobody_notices_a_nuisance(exporter: Exporter, nuisance: Any) -> None:
    """Not while it is there, and nothing of it is left when it has gone."""
    before = exporter.descriptors()
    with contextlib.ExitStack() as held:
        for _ in range(20):
            held.enter_context(contextlib.closing(nuisance(exporter)))
        for _ in range(5):
            with taking_at_most(5):
                assert succeeded(exporter.get().metrics()) == 1
    kernel.until(lambda: exporter.descriptors() == before)
    assert exporter.process.poll() is None


@pytest.mark.parametrize("listen", [ANYWHERE, "--listen=localhost:0"])
def test_who_asks_ahead_is_answered_once(listen: str) -> None:
    """Else a thread would be kept until all that was asked for is read."""
    with running(listen) as exporter, connected(exporter) as sock:
        sock.settimeout(30)
        sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 300)
        received = bytearray()
        with contextlib.suppress(ConnectionResetError):  # of what was not read of the requests
            while data := sock.recv(65536):
                received += data
        assert received.count(b"HTTP/1.1 200 OK\r\n") <= 2, "the first may have come alone"
        assert received.startswith(b"HTTP/1.1 200 OK\r\n")
        assert succeeded(exporter.get().metrics()) == 1


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("text/plain;version=abc", "text/plain"),
        ('text/plain;version="0.0.4"', "text/plain"),
        ('application/openmetrics-text;version="1.0.0"', "application/openmetrics-text"),
    ],
)
def test_an_odd_version_is_no_fault(exporter: Exporter, accept: str, content_type: str) -> None:
    """In quotes it is one as any other; of none it knows the plain format is given."""
    answer = exporter.get(Accept=accept)
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith(content_type)
    assert "Traceback" not in exporter.said()


def test_what_is_refused_is_not_sent(exporter: Exporter) -> None:
    """A weight of 0 is a no."""
    for refused in ("gzip;q=0", "gzip; q=0.0, deflate"):
        assert "Content-Encoding" not in exporter.get(Accept_Encoding=refused).headers
    assert exporter.get(Accept_Encoding="gzip;q=0.5").headers["Content-Encoding"] == "gzip"


def test_an_error_of_the_system_is_an_answer_and_a_line_in_the_log() -> None:
    """It is not taken for one of the connection, which ends without a word."""
    broken = (
        "from netlink_safe.collectors.prometheus import TcpStatCollector as It\n"
        "def broken(self, timeout=None): raise OSError(24, 'too many open files')\n"
        "It.collect = broken"
    )
    with running(prelude=broken) as exporter:
        assert exporter.get().status == 500
        assert "too many open files" in exporter.said()


def test_a_thousand_idle_connections_are_no_hindrance() -> None:
    """They cost a descriptor each, of which it allows itself enough."""
    with running() as exporter, contextlib.ExitStack() as held:
        for _ in range(1000):
            held.enter_context(connected(exporter))
        with taking_at_most(10):
            assert succeeded(exporter.get().metrics()) == 1
        assert len(exporter.descriptors()) > 1000


def test_few_descriptors_are_not_all_for_connections() -> None:
    """Who is beyond the half waits to be accepted; a connection that is open is served."""
    few = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))"
    with running(prelude=few) as exporter, kept_open(exporter) as early:
        early.request("GET", "/healthz")
        assert early.getresponse().read() == b"ok\n"
        with contextlib.ExitStack() as held:
            for _ in range(100):
                held.enter_context(connected(exporter))
            kernel.until(lambda: "reached the connection limit" in exporter.said())
            assert len(exporter.descriptors()) < 70
            early.request("GET", "/metrics")
            assert b'success{collector="tcpstat"} 1\n' in early.getresponse().read()
        with taking_at_most(5):
            assert exporter.get("/healthz").status == 200


def test_a_fault_of_a_collector_is_an_error_and_not_the_end() -> None:
    """Told to the scraper as such, and to the log; the next request is answered."""
    broken = (
        "from netlink_safe.collectors.prometheus import TcpStatCollector as It\n"
        "def broken(self, timeout=None): raise RuntimeError('a fault')\n"
        "It.collect = broken"
    )
    with running(prelude=broken) as exporter:
        assert exporter.get().status == 500
        assert exporter.get("/healthz").status == 200
        assert "a fault" in exporter.said()


@contextlib.contextmanager
def kept_open(exporter: Exporter) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection(exporter.host, exporter.port, timeout=60)
    with contextlib.closing(connection):
        yield connection


def test_a_connection_serves_one_scrape_after_the_other(exporter: Exporter) -> None:
    """As Prometheus keeps it open."""
    with kept_open(exporter) as connection:
        for _ in range(3):
            connection.request("GET", "/metrics")
            answer = connection.getresponse()
            assert answer.status == 200
            answer.read()
            assert connection.sock is not None


def test_nothing_but_what_was_asked_for_is_under_node_exporters_names() -> None:
    """One metric, beside those of the collector and the process themselves."""
    with running("--names=node_exporter") as exporter:
        metrics = exporter.get().metrics()
    assert values(metrics, STATES)["listen"] == 1
    assert not [metric.name for metric in metrics if metric.name.startswith("netlink_safe_tcp")]
