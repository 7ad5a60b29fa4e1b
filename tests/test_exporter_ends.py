"""What the exporter refuses to begin with, how it says so, and how it ends."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import exporters
import kernel
from exporters import ANYWHERE, Exporter, running
from exporting import connected, exporter
from metrics_told import STATES, succeeded, values
from served import answers
from test_command import COMMAND

__all__ = ["exporter"]  # fixtures


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
        (["--textfile", "x.prom", "--listen", ":1"], 2, "give --listen, or --textfile"),
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


def test_it_needs_no_rights(exporter: Exporter) -> None:
    """Without a single capability it has the same numbers of its own namespace."""
    drop = "import kernel; kernel.drop_all_rights()"
    with running("--names=node_exporter", prelude=drop) as poor:
        status = Path(f"/proc/{poor.process.pid}/status").read_text("ascii")
        metrics = poor.get().metrics()
    assert "CapEff:\t0000000000000000" in status
    assert succeeded(metrics) == 1
    assert values(metrics, STATES)["listen"] == 2
