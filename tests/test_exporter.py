"""The exporter over HTTP: what it answers, to whom, and who is not held up by whom."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.openmetrics import parser
from prometheus_client.parser import text_string_to_metric_families as plain_metrics

import exporters
import kernel
from exporters import ANYWHERE, Exporter, running
from served import answers
from surfaces import taking_at_most
from test_command import COMMAND
from test_first_story import LOSING, PATIENCE
from test_tcp_metrics import SOCKETS, STATES, succeeded, value, values

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.metrics_core import Metric

OPEN_METRICS = "application/openmetrics-text; version=1.0.0"
#: Of a response, what is far too much to stand in anybody's socket buffers.
WIDE = ("--info", "--by=port", "--limit=200")


@pytest.fixture
def exporter() -> Iterator[Exporter]:
    """One with no options."""
    with running() as started:
        yield started


def open_metrics(text: str) -> list[Metric]:
    """The other text format, parsed."""
    return list(parser.text_string_to_metric_families(text))  # type: ignore[no-untyped-call]  # it has no types


def connected(exporter: Exporter, receive_buffer: int = 0) -> socket.socket:
    """A bare connection to it."""
    sock = socket.socket()
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.connect((exporter.host, exporter.port))
    return sock


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


def test_a_thousand_idle_connections_are_no_hindrance() -> None:
    """They cost a descriptor each, of which it allows itself enough."""
    with running() as exporter, contextlib.ExitStack() as held:
        for _ in range(1000):
            held.enter_context(connected(exporter))
        with taking_at_most(5):
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


def test_a_log_on_a_full_disk_is_no_hindrance() -> None:
    """It serves, though nobody can be told where."""
    with (
        Path("/dev/full").open("wb") as full,
        subprocess.Popen([*COMMAND, "exporter", "--netns=gone"], stderr=full) as process,
    ):
        try:
            kernel.until(lambda: process.poll() is not None or answers(9979, "/healthz"), 30)
            assert answers(9979, "/metrics"), "of a namespace that it would complain about"
            assert process.poll() is None
        finally:
            process.kill()


def test_it_listens_where_it_is_told_to() -> None:
    """On IPv6, too, with brackets as in a URL."""
    with running("--listen=[::1]:0") as exporter:
        assert exporter.host == "::1"
        assert exporter.get("/healthz").status == 200


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (["--listen", "nowhere"], 2, "is no HOST:PORT, such as"),
        (["--listen", "127.0.0.1:70000"], 2, "is no HOST:PORT, such as"),
        (["--listen", "::1:80"], 2, "is no HOST:PORT, such as"),
        (["--listen", "192.0.2.1:9979"], 1, "cannot listen on 192.0.2.1:9979"),
        (["--listen", "no.such.host.invalid:9979"], 1, "it is no address, and no name of one"),
        (["--netns", "a", "--all-netns"], 2, "give --netns, or --all-netns"),
        (["--every", "5"], 2, "--every goes with --textfile"),
        (["--textfile", "/tmp/x", "--listen", ":1"], 2, "give --listen, or --textfile"),  # noqa: S108
        (["--netns", ""], 2, "names no network namespace"),
        (["--textfile", ""], 2, "--textfile '' names no file"),
        (["--info", "--method", "counters"], 2, "not with --method counters"),
        (["--by", "port", "--names", "node_exporter"], 2, "nor with --names node_exporter"),
        (
            ["--textfile", "/no/such/directory/x.prom"],
            1,
            "cannot write /no/such/directory/x.prom: No",
        ),
        (["--info", "--textfile", "x.prom"], 2, "loses sum and count"),
        (["--limit", "0"], 2, "0 is not in the range"),
    ],
)
def test_nonsense_is_one_line(options: list[str], status: int, said: str) -> None:
    """Wrong usage has status 2, what the machine refuses 1."""
    done = subprocess.run(
        [*COMMAND, "exporter", *options], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == status
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("package", ["waitress", "prometheus_client"])
def test_without_its_packages_it_says_what_to_install(package: str) -> None:
    """In one line; help is to be had without them."""
    absent = exporters.PROGRAM.format(prelude=f"import sys; sys.modules[{package!r}] = None")
    command = [sys.executable, "-c", absent, "exporter"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.count("pip install 'netlink-safe[exporter]'") == 1
    assert "Traceback" not in done.stderr
    helped = subprocess.run([*command, "--help"], capture_output=True, timeout=60, check=False)
    assert b"--all-netns" in helped.stdout


def test_threads_that_are_not_to_be_had_are_told() -> None:
    """In one line that names the limits which are likely."""
    prelude = (
        "import threading\n"
        'def none(self): raise RuntimeError("can\'t start new thread")\n'
        "threading.Thread.start = none"
    )
    done = subprocess.run(
        [sys.executable, "-c", exporters.PROGRAM.format(prelude=prelude), "exporter", ANYWHERE],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == (
        "Error: cannot start 72 threads: can't start new thread; see RLIMIT_NPROC, TasksMax=\n"
    )


def test_a_port_that_is_taken_is_told() -> None:
    """By its number."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [*COMMAND, "exporter", "--listen", str(port)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.endswith(f"cannot listen on 127.0.0.1:{port}: Address already in use\n")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_ends_it_whoever_is_connected(number: int, status: int) -> None:
    """With a scraper in the middle of its answer and one that says nothing."""
    with running() as exporter, connected(exporter), connected(exporter, 1024) as slow:
        slow.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        assert slow.recv(1) == b"H"
        exporter.process.send_signal(number)
        assert exporter.process.wait(20) == status
        assert "Traceback" not in exporter.said()


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


def test_it_needs_no_rights(exporter: Exporter) -> None:
    """Without a single capability it has the same numbers of its own namespace."""
    drop = "import kernel; kernel.drop_all_rights()"
    with running("--names=node_exporter", prelude=drop) as poor:
        status = Path(f"/proc/{poor.process.pid}/status").read_text("ascii")
        metrics = poor.get().metrics()
    assert "CapEff:\t0000000000000000" in status
    assert succeeded(metrics) == 1
    assert values(metrics, STATES)["listen"] == 2
