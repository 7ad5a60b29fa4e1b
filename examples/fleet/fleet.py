"""A fleet on one machine: exporters in network namespaces, and a Prometheus that watches them.

    python examples/fleet/fleet.py [--members N] [--listen ADDRESS:PORT] [--prometheus PROGRAM]
                                   [--interval SECONDS] [--alert-after SECONDS]

Run it as root.  Every member is a namespace with a link of its own to this one, and an exporter in
it.  Prometheus reads what is beside this file.  Ctrl-C or SIGTERM takes all of it away again.

``--alert-after 0`` shows alerts at once: it stands for every ``for:`` of rules/alerts.yml.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import http.client
import json
import math
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.parse
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HERE: Final = Path(__file__).parent
EXPORTER: Final = Path(sys.executable).with_name("netlink-safe")
PORT: Final = 9979
NAMESPACES: Final = Path("/run/netns")
#: Seconds that a program has to answer, and to end when it is told to.
PATIENCE: Final = 30.0
PAUSE: Final = 0.05


class FleetError(Exception):
    """Why there can be no fleet; the text is for whoever runs it."""


@attrs.frozen(slots=True)
class Member:
    """A machine of the fleet; its addresses are of the block for benchmarks, RFC 2544."""

    number: int

    @property
    def name(self) -> str:
        """Of its namespace, and of the link that leads there."""
        return f"fleet-{self.number}"

    @property
    def near(self) -> str:
        """The address at this end of the link."""
        return f"198.18.{self.number}.1"

    @property
    def far(self) -> str:
        """Its own address."""
        return f"198.18.{self.number}.2"

    @property
    def target(self) -> str:
        """What Prometheus scrapes, and calls the instance."""
        return f"{self.far}:{PORT}"


@attrs.frozen(slots=True, kw_only=True)
class Pace:
    """How often Prometheus looks, and how long an alert must hold, both in seconds, if not usual.

    What is usual is written in prometheus.yml and in rules/alerts.yml.
    """

    interval: float | None = None
    alert_after: float | None = None


def ip(*words: str) -> None:
    """One command of iproute2.  Raises FleetError with what it says."""
    try:
        subprocess.run(["ip", *words], check=True, capture_output=True, text=True, process_group=0)
    except FileNotFoundError as error:
        raise FleetError("there is no ip: install iproute2") from error
    except subprocess.CalledProcessError as error:
        raise FleetError(f"ip {' '.join(words)}: {error.stderr.strip()}") from error


@contextlib.contextmanager
def namespace(name: str) -> Iterator[None]:
    """A network namespace with loopback up.  Raises FleetError if there is one of that name."""
    if (NAMESPACES / name).exists():
        raise FleetError(
            f"there is a namespace {name} already; of a fleet that was killed it is taken away by: "
            f"kill $(ip netns pids {name}); ip netns delete {name}"
        )
    ip("netns", "add", name)
    try:
        ip("-n", name, "link", "set", "lo", "up")
        yield
    finally:
        ip("netns", "delete", name)


@contextlib.contextmanager
def link(member: Member) -> Iterator[None]:
    """A veth between this namespace and that of a member."""
    name = member.name
    ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
    try:
        ip("address", "add", f"{member.near}/30", "dev", name)
        ip("-n", name, "address", "add", f"{member.far}/30", "dev", "eth0")
        ip("link", "set", name, "up")
        ip("-n", name, "link", "set", "eth0", "up")
        yield
    finally:
        ip("link", "delete", name)


@contextlib.contextmanager
def running(command: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A program that is ended with the body; Ctrl-C is for this program alone."""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, process_group=0) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()


@contextlib.contextmanager
def exporter(member: Member, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """An exporter in the namespace of a member, which answers."""
    # "ip netns exec" would have another /sys, without cgroups, mounted for it.
    command = ["nsenter", f"--net={NAMESPACES / member.name}", str(EXPORTER), "exporter"]
    with running([*command, "--listen", member.target, *options]) as process:
        await_answer(process, member.target, "/healthz")
        yield process


@contextlib.contextmanager
def joined(member: Member, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """A member with all that belongs to it."""
    with namespace(member.name), link(member), exporter(member, *options) as process:
        yield process


def configure(directory: Path, targets: Sequence[str], pace: Pace) -> Path:
    """Copy what is beside this file to a directory, for these targets; return its configuration."""
    shutil.copytree(HERE / "rules", directory / "rules")
    (directory / "targets.json").write_text(json.dumps([{"targets": targets}]), "utf-8")
    for name, key, value in (
        ("prometheus.yml", r"\w+_interval", pace.interval),
        ("rules/alerts.yml", "for", pace.alert_after),
    ):
        text = (HERE / name).read_text("utf-8")
        if value is not None:
            text = re.sub(rf"(?m)^( +{key}:) \w+$", rf"\1 {round(value * 1000)}ms", text)
        (directory / name).write_text(text, "utf-8")
    return directory / "prometheus.yml"


@contextlib.contextmanager
def prometheus(program: str, configuration: Path, listen: str) -> Iterator[None]:
    """A Prometheus that is ready, with its data beside its configuration."""
    data = configuration.with_name("data")
    command = [program, f"--config.file={configuration}", f"--storage.tsdb.path={data}"]
    command += [f"--web.listen-address={listen}", "--log.level=warn"]
    with contextlib.suppress(OSError):
        get(listen, "/-/ready")
        raise FleetError(f"something answers at {listen} already: say --listen ADDRESS:PORT")
    with running(command) as process:
        await_answer(process, listen, "/-/ready")
        yield


def get(address: str, path: str) -> tuple[int, bytes]:
    """What a program answers at ADDRESS:PORT, status and body.  Raises OSError if it does not."""
    with contextlib.closing(http.client.HTTPConnection(address, timeout=PATIENCE)) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()


def await_answer(process: subprocess.Popen[bytes], address: str, path: str) -> None:
    """Wait until a program is ready.  Raises FleetError if it ends, or is not in time."""
    end = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < end:
        with contextlib.suppress(OSError):
            if get(address, path)[0] == http.HTTPStatus.OK:
                return
        time.sleep(PAUSE)
    raise FleetError(f"nothing is ready at {address}: see above what it said")


def ask(address: str, question: str, **parameters: str) -> Any:
    """What Prometheus' API answers, to ``alerts`` or to ``query`` with ``query="up"``."""
    path = f"/api/v1/{question}?{urllib.parse.urlencode(parameters)}"
    return json.loads(get(address, path)[1])["data"]


def firing(address: str) -> set[tuple[str, str]]:
    """The alerts that fire, by name and instance."""
    return {
        (alert["labels"]["alertname"], alert["labels"]["instance"])
        for alert in ask(address, "alerts")["alerts"]
        if alert["state"] == "firing"
    }


def run(options: argparse.Namespace, signals: queue.SimpleQueue[int]) -> None:
    """Make the fleet, say where it is, and unmake it once a signal has come."""
    members = [Member(number + 1) for number in range(options.members)]
    pace = Pace(interval=options.interval, alert_after=options.alert_after)
    with contextlib.ExitStack() as held:
        directory = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="fleet-")))
        for each in members:
            process = held.enter_context(joined(each))
            print(f"{each.name}: http://{each.target}/metrics, process {process.pid}", flush=True)
        configuration = configure(directory, [each.target for each in members], pace)
        held.enter_context(prometheus(options.prometheus, configuration, options.listen))
        url = f"http://{options.listen}"
        print(f"Prometheus: {url}/api/v1/alerts, until Ctrl-C", flush=True)
        signals.get()


def parsed() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--members", type=int, default=3, metavar="N", help="1 to 250, default 3")
    parser.add_argument("--listen", default="127.0.0.1:9090", metavar="ADDRESS:PORT")
    parser.add_argument("--prometheus", default="prometheus", metavar="PROGRAM")
    seconds = functools.partial(parser.add_argument, type=float, metavar="SECONDS")
    seconds("--interval", help="from scrape to scrape, and from one look at the rules to the next")
    seconds("--alert-after", help="how long whatever is wrong must last, for all alerts")
    options = parser.parse_args()
    if not 1 <= options.members <= 250:
        parser.error("--members is from 1 to 250")
    if options.interval is not None and not 0 < options.interval < math.inf:
        parser.error("--interval is a number of seconds above 0")
    if options.alert_after is not None and not 0 <= options.alert_after < math.inf:
        parser.error("--alert-after is a number of seconds, 0 or more")
    if shutil.which(options.prometheus) is None:
        parser.error(f"there is no {options.prometheus}: install it, or say --prometheus PROGRAM")
    return options


def main() -> None:
    """Run until a signal comes; the fleet is whole or gone, whenever that is."""
    options = parsed()
    # No Event: a handler that sets one may interrupt wait() while that holds the lock of it.
    signals: queue.SimpleQueue[int] = queue.SimpleQueue()
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda number, _: signals.put(number))
    try:
        run(options, signals)
    except FleetError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
