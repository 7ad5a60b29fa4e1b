"""How long a scrape takes, beside node_exporter with its tcpstat collector, of the same sockets.

Exporters and sockets live in a network namespace of their own.  Every exporter is scraped over a
connection that it may keep open, as Prometheus does, in turn, round by round.

May call ``figures``, ``population`` and ``processes``.
"""

from __future__ import annotations

import contextlib
import gzip
import http.client
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from figures import Figure, milliseconds, ratio_of
from population import enter_namespace, plan_of, population
from processes import COMMAND, in_a_process_of_its_own

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from figures import Effort

#: Where ``tests/peers/install.sh`` puts Debian's.
CACHE: Final = Path(__file__).parent.parent / "tests" / "peers" / ".cache"
NODE_EXPORTER: Final = "prometheus-node-exporter"
BASELINE: Final = "node_exporter, tcpstat alone"
UP_WITHIN: Final = 30.0
DELAYED_ACK: Final = 0.2
SAME_NAMES: Final = "the same, `--names node_exporter`"
#: The options of the ways, by what they are called.
WAYS: Final[dict[str, tuple[str, ...]]] = {
    "netlink-safe exporter": (),
    SAME_NAMES: ("--names", "node_exporter"),
    "the same, `--method counters`": ("--method", "counters"),
    "the same, `--by port`": ("--by", "port"),
    "the same, `--info`": ("--info",),
}
COMPARED: Final = "node_tcp_connection_states{"


def measure(effort: Effort) -> Iterator[Figure]:
    """Every way at each population; nothing where there is no node_exporter."""
    found = shutil.which(NODE_EXPORTER) or next(CACHE.glob(f"usr/bin/{NODE_EXPORTER}"), None)
    if found is not None:
        for size in effort.sockets:
            yield from in_a_process_of_its_own(measure_crowd, size, effort.rounds, str(found))


class Exporter:
    """A process that is scraped over one connection."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def scrape(self) -> str:
        """What it has to say, as Prometheus asks for it."""
        self._connection.request("GET", "/metrics", headers={"Accept-Encoding": "gzip"})
        answer = self._connection.getresponse()
        body = answer.read()
        if answer.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        return body.decode()

    def seconds(self) -> float:
        """How long one scrape takes."""
        start = time.perf_counter()
        self.scrape()
        return time.perf_counter() - start


@contextlib.contextmanager
def started(command: Sequence[str], port: int) -> Iterator[Exporter]:
    """A program that answers on a port, ended behind the body."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            end = time.monotonic() + UP_WITHIN
            while socket.socket().connect_ex(("127.0.0.1", port)):
                if process.poll() is not None or time.monotonic() > end:
                    raise SystemExit(f"{command[0]} does not answer")
                time.sleep(0.05)
            yield Exporter(port)
        finally:
            process.kill()


def measure_crowd(size: int, rounds: int, node_exporter: str) -> list[Figure]:
    """Every way at one population.  Raises RuntimeError if not all tell of the same sockets."""
    enter_namespace()
    with contextlib.ExitStack() as held:
        crowd = held.enter_context(population(plan_of(size)))
        address = "127.0.0.1"
        command = [node_exporter, "--collector.disable-defaults", "--collector.tcpstat"]
        command += ["--web.disable-exporter-metrics", f"--web.listen-address={address}:9100"]
        exporters = {BASELINE: held.enter_context(started(command, 9100))}
        for number, (name, options) in enumerate(WAYS.items()):
            port = 9980 + number
            command = [COMMAND, "exporter", f"--listen={address}:{port}", *options]
            exporters[name] = held.enter_context(started(command, port))
        taken: dict[str, list[float]] = {name: [] for name in exporters}
        for exporter in exporters.values():
            exporter.scrape()
        for _ in range(rounds):
            crowd.refresh()
            for name, exporter in exporters.items():
                taken[name].append(exporter.seconds())
        if not is_the_same(exporters[BASELINE], exporters[SAME_NAMES]):
            raise RuntimeError(f"of {size} sockets node_exporter tells other numbers than ours")
    return [
        Figure(
            study="scrapes",
            name=name,
            sockets=size,
            **milliseconds(own),
            **ratio_of(list(zip(own, taken[BASELINE], strict=True))),
        )
        for name, own in taken.items()
    ]


def is_the_same(theirs: Exporter, ours: Exporter) -> bool:
    """Whether both tell the same text of the same sockets, at a moment when nothing moves."""
    for _ in range(20):
        before, own, behind = (quiet_lines(each) for each in (theirs, ours, theirs))
        if before == behind:
            return own == before
    return False


def quiet_lines(exporter: Exporter) -> list[str]:
    """The lines that both have, once the answer before was acknowledged, or it counts as queued."""
    time.sleep(DELAYED_ACK)
    return [line for line in exporter.scrape().splitlines() if line.startswith(COMPARED)]
