"""The page for node_exporter: its commands beside Debian's own, and a Prometheus that looks."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import select
import shlex
import socket
import urllib.parse
from typing import TYPE_CHECKING, Final

import pytest

import debian_peers
import faults
import kernel
from agent_blocks import all_states
from agent_pages import block, text_of
from metrics_told import nonzero
from netlink_safe.wire.constants import NLMSG_DONE
from served import PATIENCE, Scraper, answers, started
from test_command import COMMAND

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

PAGE: Final = "node_exporter"
NODE_EXPORTER: Final = 9100
EXPORTER: Final = 9979
PROMETHEUS: Final = 9090
#: Where the page has the textfile collector look.
DIRECTORY: Final = "/var/lib/prometheus/node-exporter"
#: Without what looks at the rest of the machine.
ALONE: Final = ("--collector.disable-defaults",)
STATES: Final = "node_tcp_connection_states"
TWICE: Final = "was collected before with the same name and label values"
PIDFD_GETFD: Final = 438
#: Seconds in which a scrape that waits for ever is seen to say nothing.
SEEN_WAITING: Final = 1.0

_libc: Final = ctypes.CDLL(None, use_errno=True)


def command_of(when: str, name: str, *more: str, directory: str = DIRECTORY) -> list[str]:
    """A command of the page, by the programs that there are here."""
    program, *arguments = shlex.split(block(PAGE, when, name).code)
    found = COMMAND if program == "netlink-safe" else (debian_peers.node_exporter(),)
    return [*found, *(each.replace(DIRECTORY, directory) for each in arguments), *more]


@contextlib.contextmanager
def node_exporter(*options: str, log: Path | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """One with these options, on its own port."""
    command = [debian_peers.node_exporter(), *ALONE, *options]
    with started(command, node_exporter_answers, log) as process:
        yield process


def node_exporter_answers() -> bool:
    return answers(NODE_EXPORTER)


def tcpstat() -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
    """What the page has before."""
    command = command_of("before", "tcpstat", *ALONE)
    return started(command, node_exporter_answers)


def exporter(*command: str) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
    """The exporter by this command."""
    return started(command, lambda: answers(EXPORTER, "/healthz"))


def told_by(scraper: Scraper) -> list[str]:
    """The lines of the metric that both have."""
    return re.findall(f"^(?:# [A-Z]+ )?{STATES}.*$", scraper.text(), re.MULTILINE)


@contextlib.contextmanager
def prometheus(configuration: str, where: Path) -> Iterator[Scraper]:
    """One with this configuration, which scrapes several times a second."""
    (where / "prometheus.yml").write_text(f"global: {{scrape_interval: 250ms}}\n{configuration}")
    command = [
        debian_peers.prometheus(),
        f"--config.file={where}/prometheus.yml",
        f"--storage.tsdb.path={where}/data",
        f"--web.listen-address=127.0.0.1:{PROMETHEUS}",
    ]
    with contextlib.ExitStack() as held:
        held.enter_context(started(command, lambda: answers(PROMETHEUS, "/-/ready")))
        yield held.enter_context(contextlib.closing(Scraper(PROMETHEUS)))


def asked(scraper: Scraper, expression: str) -> dict[str, float]:
    """What an expression comes to now, by the labels."""
    query = urllib.parse.urlencode({"query": expression})
    answer = json.loads(scraper.text(f"/api/v1/query?{query}"))
    assert answer["status"] == "success", answer
    return {
        json.dumps(each["metric"], sort_keys=True): float(each["value"][1])
        for each in answer["data"]["result"]
    }


def counted(lines: list[str]) -> dict[str, int]:
    """The sockets by state, in large letters as the population has them."""
    found = re.findall(STATES + r'\{state="(\w+)"\} (\d+)', "\n".join(lines))
    return {state.upper(): int(count) for state, count in found if "bytes" not in state}


def test_the_metric_is_the_same_text() -> None:
    """Beside node_exporter's own collector, of the same sockets in every state."""
    with contextlib.ExitStack() as held:
        expected = held.enter_context(all_states())
        held.enter_context(tcpstat())
        held.enter_context(exporter(*command_of("after", "beside")))
        theirs, ours = (
            held.enter_context(contextlib.closing(Scraper(port)))
            for port in (NODE_EXPORTER, EXPORTER)
        )

        def is_the_same() -> bool:
            before, own, behind = told_by(theirs), told_by(ours), told_by(theirs)
            return before == behind == own  # unless a response is not acknowledged yet

        kernel.until(is_the_same, PATIENCE)
        assert nonzero(expected).keys() <= counted(told_by(ours)).keys()
        ours.close()


def test_prometheus_gives_the_metric_its_job_and_instance(tmp_path: Path) -> None:
    """By the rules of the page, and both targets have an ``up`` of their own."""
    configuration = block(PAGE, "after", "prometheus").code
    with contextlib.ExitStack() as held:
        held.enter_context(node_exporter("--collector.loadavg"))
        held.enter_context(exporter(*command_of("after", "beside")))
        scraper = held.enter_context(prometheus(configuration, tmp_path))
        where = '{job="node", instance="localhost:9100", state="listen"}'
        kernel.until(lambda: len(asked(scraper, STATES)) > 3, PATIENCE)
        kernel.until(lambda: len(asked(scraper, "up == 1")) == 2, PATIENCE)
        assert list(asked(scraper, STATES + where).values()) == [3], "three programs listen"
        assert asked(scraper, STATES + where) == asked(scraper, STATES + '{state="listen"}')
        assert len(asked(scraper, 'node_load1{instance="localhost:9100"}')) == 1


def test_node_exporter_tells_the_file(tmp_path: Path) -> None:
    """As it stands there, and has nothing to complain of, with its own collectors beside."""
    file, log = tmp_path / "tcpstat.prom", tmp_path / "log"
    with contextlib.ExitStack() as held:
        expected = held.enter_context(all_states())
        writer = command_of("after", "textfile", directory=str(tmp_path))
        held.enter_context(started(writer, file.exists))
        reader = command_of("after", "options", "--no-collector.systemd", directory=str(tmp_path))
        held.enter_context(started(reader, node_exporter_answers, log))
        scraper = held.enter_context(contextlib.closing(Scraper(NODE_EXPORTER)))
        told = scraper.text()
    assert counted(told.splitlines()) == expected
    assert 'netlink_safe_collector_success{collector="tcpstat"} 1\n' in told
    assert f'node_textfile_mtime_seconds{{file="{file}"}}' in told
    assert "node_textfile_scrape_error 0\n" in told
    assert TWICE not in log.read_text()


def test_both_at_once_are_told_once_and_complained_of(tmp_path: Path) -> None:
    """node_exporter's own collector and the file: of each state one or the other."""
    log = tmp_path / "log"
    with contextlib.ExitStack() as held:
        expected = held.enter_context(all_states())
        writer = command_of("after", "textfile", directory=str(tmp_path))
        held.enter_context(started(writer, (tmp_path / "tcpstat.prom").exists))
        (reader,) = command_of("after", "options", directory=str(tmp_path))[1:]
        options = (reader, "--collector.textfile", "--collector.tcpstat")
        held.enter_context(node_exporter(*options, log=log))
        scraper = held.enter_context(contextlib.closing(Scraper(NODE_EXPORTER)))
        lines = told_by(scraper)
    assert len(counted(lines)) == len([each for each in lines if "bytes" not in each]) - 2
    assert counted(lines).keys() == expected.keys()
    assert TWICE in log.read_text()


def test_the_table_of_expressions_is_true(tmp_path: Path) -> None:
    """Both sides of each line, in a Prometheus that scrapes both exporters."""
    rows = re.findall(rf"^\| `({STATES}.*)` \| `(.*)` \|$", text_of(PAGE), re.MULTILINE)
    assert len(rows) == 3
    configuration = """
scrape_configs:
  - job_name: both
    static_configs: [{targets: ["localhost:9100", "localhost:9979"]}]
"""
    with contextlib.ExitStack() as held:
        listener = socket.create_server(("127.0.0.1", 0), backlog=9)
        held.enter_context(listener)
        held.enter_context(socket.create_connection(listener.getsockname()))
        held.enter_context(tcpstat())
        held.enter_context(exporter(*COMMAND, "exporter"))
        scraper = held.enter_context(prometheus(configuration, tmp_path))
        for theirs, ours in rows:

            def is_true(theirs: str = theirs, ours: str = ours) -> bool:
                left, right = (list(asked(scraper, each).values()) for each in (theirs, ours))
                return left == right and left != []  # unless a look was taken meanwhile

            kernel.until(is_true, PATIENCE)
        for health in ("success", "duration_seconds"):
            assert f"`netlink_safe_collector_{health}{{" in text_of(PAGE)
            for prefix in ("netlink_safe", "node_scrape"):
                (found,) = asked(scraper, f'{prefix}_collector_{health}{{collector="tcpstat"}}')
                assert found


@pytest.mark.parametrize(("at_once", "status"), [("2", 200), ("1", 503)])
def test_node_exporter_waits_for_ever(at_once: str, status: int) -> None:
    """A scrape whose dump's end is lost is never answered, and counts among those at once."""
    options = ("--collector.tcpstat", f"--web.max-requests={at_once}")
    with node_exporter(*options) as process, contextlib.closing(Loss(process.pid)) as loss:
        kernel.until(loss.happens, PATIENCE)
        with contextlib.closing(Scraper(NODE_EXPORTER)) as scraper:
            assert scraper.answer()[0] == status
        assert not loss.is_answered(SEEN_WAITING)


class Loss:
    """Takes away the end of a dump that another process has asked for.

    Its netlink socket is there only while it reads, so that it may take a few scrapes to meet one.
    """

    def __init__(self, pid: int) -> None:
        self._directory = f"/proc/{pid}/fd"
        self._process = os.pidfd_open(pid)
        self._scrape = socket.socket()

    def close(self) -> None:
        """Give back what it holds."""
        self._scrape.close()
        os.close(self._process)

    def is_answered(self, seconds: float) -> bool:
        """Whether the scrape is, within so many seconds."""
        return bool(select.select([self._scrape], [], [], seconds)[0])

    def happens(self) -> bool:
        """Begin a scrape; True if the end of its dump is lost."""
        self._scrape.close()
        self._scrape = socket.create_connection(("127.0.0.1", NODE_EXPORTER))
        self._scrape.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        while not self.is_answered(0):
            if any(map(self._loses, os.listdir(self._directory))):
                return not self.is_answered(SEEN_WAITING)
        return False

    def _loses(self, number: str) -> bool:
        """Whether this descriptor is a netlink socket now, filtered from now on."""
        copy = _libc.syscall(PIDFD_GETFD, self._process, int(number), 0)
        if copy < 0:
            return False  # it is closed already
        try:
            sock = socket.socket(fileno=copy)
        except OSError:  # it is no socket
            os.close(copy)
            return False
        with sock:
            if sock.family == socket.AF_NETLINK:
                faults.attach(sock, faults.losing(NLMSG_DONE))
            return sock.family == socket.AF_NETLINK
