"""Debian's Prometheus and promtool take whatever the exporter says, in each of its modes."""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
from typing import TYPE_CHECKING, Final

import pytest

import debian_peers
import fleet
import kernel
from metrics_told import every_state
from test_fleet import LISTEN, SOON, eventually, expressions, instances, promtool

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

EVERYTHING: Final = ("--info", "--by", "port", "--by", "uid", "--by", "cgroup")
#: Every mode of the exporter, by its options.
MODES: Final[tuple[tuple[str, ...], ...]] = (
    *(
        ("--names", names, "--method", method)
        for names in ("netlink_safe", "node_exporter")
        for method in ("dump", "counters")
    ),
    ("--info",),
    *(("--by", each) for each in ("port", "uid", "cgroup")),
    EVERYTHING,
    ("--netns", "blue", *EVERYTHING),
)
#: Ten a second for the five minutes that a rate is of, if all are sent between two scrapes.
SEGMENTS: Final = 3000
#: Of each socket that is open just then, which is that of another scrape if there is one.
WHILE_OPEN: Final = {f"netlink_safe_socket_receive_{each}_bytes" for each in ("buffer", "queue")}


@pytest.fixture
def _sockets() -> Iterator[None]:
    """Some in every state, and a network namespace without any."""
    with every_state(), kernel.named_namespace("blue"):
        yield


def series(**labels: str) -> str:
    """A selector of the series with these labels that exporters have told."""
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    return f"{{{', '.join(wanted)}, __name__!~'up|scrape_.*|ALERTS.*|.*:.*'}}"


def health() -> set[tuple[str, str]]:
    """How exporters are, and what was wrong with the last scrape of one."""
    targets = fleet.ask(LISTEN, "targets")["activeTargets"]
    return {(each["health"], each["lastError"]) for each in targets}


@pytest.mark.usefixtures("_sockets")
def test_a_real_prometheus_takes_every_mode_of_the_exporter(tmp_path: pathlib.Path) -> None:
    """Each is up, without an error, and every sample is a series of its own."""
    modes = {f"127.0.0.1:{9980 + number}": mode for number, mode in enumerate(MODES)}
    configuration = fleet.configure(tmp_path, list(modes), fleet.Pace(interval=1))
    with contextlib.ExitStack() as held:
        processes = {
            target: held.enter_context(
                fleet.running([str(fleet.EXPORTER), "exporter", "--listen", target, *mode])
            )
            for target, mode in modes.items()
        }
        for target, process in processes.items():
            fleet.await_answer(process, target, "/healthz")
        held.enter_context(fleet.prometheus(debian_peers.prometheus(), configuration, LISTEN))
        eventually(lambda: instances("scrape_samples_scraped > 0").keys() == modes.keys())
        eventually(lambda: health() == {("up", "")})
        told = f"count by (instance) ({series(job='netlink-safe')})"
        all_distinct = f"{told} == on (instance) scrape_samples_scraped"
        eventually(lambda: instances(all_distinct).keys() == modes.keys())
        for target in modes:
            text = fleet.get(target, "/metrics")[1].decode()
            names = instances(f"group by (__name__) ({series(instance=target)})", "__name__")
            told_here = set(re.findall(r"^(\w+)", text, re.MULTILINE))
            assert names.keys() - WHILE_OPEN == told_here - WHILE_OPEN
            assert promtool("check", "metrics", told=text) == ""


def test_every_panel_of_the_dashboard_shows_something(tmp_path: pathlib.Path) -> None:
    """Of one exporter that is well, and one whose namespace is gone."""
    commands = {
        target: [str(fleet.EXPORTER), "exporter", "--listen", target, *options]
        for target, options in (("127.0.0.1:9980", ()), ("127.0.0.1:9981", ("--netns", "gone")))
    }
    pace = fleet.Pace(interval=1, alert_after=0)
    configuration = fleet.configure(tmp_path, list(commands), pace)
    with contextlib.ExitStack() as held:
        listener = held.enter_context(socket.create_server(("127.0.0.1", 8080), backlog=2))
        client = held.enter_context(socket.create_connection(listener.getsockname()))
        server, _ = listener.accept()
        held.enter_context(server)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for target, command in commands.items():
            process = held.enter_context(fleet.running(command))
            fleet.await_answer(process, target, "/healthz")
        held.enter_context(fleet.prometheus(debian_peers.prometheus(), configuration, LISTEN))

        def empty() -> set[str]:
            for _ in range(SEGMENTS):  # a ratio of retransmissions takes some
                client.send(b"x")
                server.recv(1)
            return {each for each in asked if not fleet.ask(LISTEN, "query", query=each)["result"]}

        asked = [re.sub(r"\$\w+", ".*", each) for each in expressions()]
        eventually(lambda: not empty())


@pytest.mark.usefixtures("_sockets")
@pytest.mark.parametrize("mode", [mode for mode in MODES if "--info" not in mode], ids=" ".join)
def test_promtool_has_nothing_to_say_of_any_file(
    mode: tuple[str, ...], tmp_path: pathlib.Path
) -> None:
    """Names, types, help and units are as Prometheus would have them, as in what is served."""
    file = tmp_path / "tcp.prom"
    command = [str(fleet.EXPORTER), "exporter", "--textfile", str(file), *mode]
    subprocess.run(command, check=True, timeout=SOON)
    assert promtool("check", "metrics", told=file.read_text("utf-8")) == ""
