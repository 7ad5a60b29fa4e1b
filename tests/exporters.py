"""The exporter as a process, as it is deployed: started, scraped, looked at, ended."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
from prometheus_client.parser import text_string_to_metric_families

import kernel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.metrics_core import Metric

HERE: Final = Path(__file__).parent
#: The command, behind whatever is to be done first in its process.
PROGRAM: Final = "{prelude}\nfrom netlink_safe.cli.main import main\nmain()"
ANYWHERE: Final = "--listen=127.0.0.1:0"
SERVING: Final = re.compile(r"serving http://(.*):(\d+)/metrics")


@attrs.frozen
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    def metrics(self) -> list[Metric]:
        """The body, parsed as Prometheus' text format."""
        return list(text_string_to_metric_families(self.body.decode()))


class Exporter:
    """A running exporter."""

    def __init__(self, process: subprocess.Popen[bytes], said: Path) -> None:
        self.process = process
        self._said = said
        self.host = ""
        self.port = 0

    def said(self) -> str:
        """What it has said on standard error so far."""
        return self._said.read_text("utf-8")

    def serves_or_has_ended(self) -> bool:
        """Whether it says where it serves; an error if it has ended before."""
        if found := SERVING.search(self.said()):
            self.host, self.port = found[1].strip("[]"), int(found[2])
        assert self.process.poll() is None, f"it has ended: {self.said()}"
        return found is not None

    def get(self, path: str = "/metrics", method: str = "GET", **headers: str) -> Answer:
        """Ask over a connection of its own; the underscores in headers' names are dashes."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=60)
        with contextlib.closing(connection):
            sent = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, headers=sent)
            answer = connection.getresponse()
            return Answer(answer.status, dict(answer.headers), answer.read())

    def descriptors(self) -> list[str]:
        """What it has open, by what each is, sorted: files by name, sockets as such."""
        found = []
        for name in os.listdir(f"/proc/{self.process.pid}/fd"):
            with contextlib.suppress(FileNotFoundError):
                opened = os.readlink(f"/proc/{self.process.pid}/fd/{name}")
                found.append(re.sub(r":\[\d+\]", "", opened))
        return sorted(found)

    def threads(self) -> int:
        """How many it has."""
        return len(os.listdir(f"/proc/{self.process.pid}/task"))

    def netlink_sockets(self) -> int:
        """How many netlink sockets there are in its network namespace."""
        path = Path(f"/proc/{self.process.pid}/net/netlink")
        kernels = 0  # the kernel's own have port 0
        lines = path.read_text("ascii").splitlines()[1:]
        return sum(int(line.split()[2]) != kernels for line in lines)


@contextlib.contextmanager
def running(*options: str, prelude: str = "", **environment: str) -> Iterator[Exporter]:
    """An exporter in this network namespace, on a free port of 127.0.0.1 unless told otherwise."""
    listen = [] if any(each.startswith("--listen") for each in options) else [ANYWHERE]
    command = [sys.executable, "-c", PROGRAM.format(prelude=prelude), "exporter"]
    with (
        tempfile.NamedTemporaryFile() as said,  # no pipe, which would fill up
        subprocess.Popen(
            [*command, *listen, *options],
            stderr=said,
            env={**os.environ, "PYTHONPATH": str(HERE), **environment},
        ) as process,
    ):
        exporter = Exporter(process, Path(said.name))
        try:
            kernel.until(exporter.serves_or_has_ended, 30)
            yield exporter
        finally:
            process.kill()
