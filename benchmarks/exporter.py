"""How long a scrape takes, beside node_exporter with its tcpstat collector, of the same sockets.

::

    python benchmarks/exporter.py [--node-exporter PROGRAM] [--sockets 1000 10000 100000]
                                  [--rounds N] [--json FILE]

Run it as root, or in a user namespace where you are; ``tests/peers/install.sh`` fetches Debian's
node_exporter.  Exporters and sockets live in a network namespace of their own.  Every exporter is
scraped over a connection that it may keep open, as Prometheus does, in turn, round by round.  It
prints a table in Markdown, says whether the numbers are the same, and always ends with status 0.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import multiprocessing
import shutil
import socket
import statistics
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from population import enter_namespace, plan_of, population
from report import this_machine

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SIZES: Final = (1_000, 10_000, 100_000)
OURS: Final = str(Path(sys.executable).with_name("netlink-safe"))
CACHE: Final = Path(__file__).parent.parent / "tests" / "peers" / ".cache"
BASELINE: Final = "node_exporter, tcpstat alone"
UP_WITHIN: Final = 30.0
DELAYED_ACK: Final = 0.2
#: Of the ways, by what they are called: options, and the highest ratio to node_exporter's that is
#: good enough at 100,000 sockets.
WAYS: Final[dict[str, tuple[tuple[str, ...], float | None]]] = {
    "netlink-safe exporter": ((), 0.6),
    "the same, --names node_exporter": (("--names", "node_exporter"), 0.6),
    "the same, --method counters": (("--method", "counters"), 0.15),
    "the same, --by port": (("--by", "port"), None),
    "the same, --info": (("--info",), None),
}
TARGETED: Final = 100_000
COMPARED: Final = "node_tcp_connection_states{"


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
            import gzip

            body = gzip.decompress(body)
        return body.decode()

    def seconds(self) -> float:
        """How long one scrape takes."""
        start = time.perf_counter()
        self.scrape()
        return time.perf_counter() - start


@attrs.frozen(slots=True)
class Result:
    """A way at one population: medians in seconds, and of the ratios to the baseline's rounds."""

    name: str
    sockets: int
    seconds: float
    ratio: float
    quartiles: tuple[float, float]


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


def measure(size: int, rounds: int, node_exporter: str) -> tuple[list[Result], bool]:
    """Every way at one population, and whether the numbers are node_exporter's."""
    enter_namespace()
    with contextlib.ExitStack() as held:
        crowd = held.enter_context(population(plan_of(size)))
        address = "127.0.0.1"
        command = [node_exporter, "--collector.disable-defaults", "--collector.tcpstat"]
        command += ["--web.disable-exporter-metrics", f"--web.listen-address={address}:9100"]
        exporters = {BASELINE: held.enter_context(started(command, 9100))}
        for number, (name, (options, _)) in enumerate(WAYS.items()):
            port = 9980 + number
            command = [OURS, "exporter", f"--listen={address}:{port}", *options]
            exporters[name] = held.enter_context(started(command, port))
        taken: dict[str, list[float]] = {name: [] for name in exporters}
        for exporter in exporters.values():
            exporter.scrape()
        for _ in range(rounds):
            crowd.refresh()
            for name, exporter in exporters.items():
                taken[name].append(exporter.seconds())
        same = is_the_same(exporters[BASELINE], exporters["the same, --names node_exporter"])
    return [result(name, size, taken) for name in exporters], same


def result(name: str, size: int, taken: dict[str, list[float]]) -> Result:
    """What the rounds of a way come to."""
    ratios = [own / base for own, base in zip(taken[name], taken[BASELINE], strict=True)]
    low, _, high = statistics.quantiles(ratios, n=4)
    seconds = statistics.median(taken[name])
    return Result(name, size, seconds, statistics.median(ratios), (low, high))


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


def table(results: Sequence[Result]) -> str:
    """The figures, beside what they are meant to be."""
    rows = ["| what | sockets | ms | by node_exporter's | quartiles | target | verdict |"]
    rows.append("|---|---|---|---|---|---|---|")
    for each in results:
        target = WAYS.get(each.name, ((), None))[1] if each.sockets == TARGETED else None
        verdict = "" if target is None else "holds" if each.ratio <= target else "falls short"
        low, high = each.quartiles
        rows.append(
            f"| {each.name} | {each.sockets:,} | {each.seconds * 1000:.1f} | {each.ratio:.2f} "
            f"| {low:.2f} to {high:.2f} | {target or ''} | {verdict} |"
        )
    return "\n".join(rows)


def main() -> None:
    """Measure, print, and write the same as JSON if a file is named."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    found = shutil.which("prometheus-node-exporter")
    cached = next(CACHE.glob("**/usr/bin/prometheus-node-exporter"), found)
    parser.add_argument("--node-exporter", default=found or cached, metavar="PROGRAM")
    parser.add_argument("--sockets", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    options = parser.parse_args()
    if options.node_exporter is None:
        parser.error("there is no prometheus-node-exporter: run tests/peers/install.sh")
    # A fresh process for each population: each enters a namespace of its own.
    fresh = multiprocessing.get_context("spawn")
    results: list[Result] = []
    with ProcessPoolExecutor(1, fresh, max_tasks_per_child=1) as pool:
        for size in sorted(options.sockets):
            job = pool.submit(measure, size, options.rounds, str(options.node_exporter))
            measured, same = job.result()
            results += measured
            print(f"{size:,} sockets: the numbers are {'' if same else 'NOT '}the same", flush=True)
    print(f"\n{this_machine()}\n\n{table(results)}")
    if options.json:
        figures = {
            "machine": attrs.asdict(this_machine()),
            "results": [attrs.asdict(each) for each in results],
        }
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
