"""The fleet: its alerts, its dashboard, and Debian's Prometheus that scrapes and alerts."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Final

import pytest

import debian_peers
import fleet
from links import there
from netlink_safe.collectors.prometheus import NetlinkSelfCollector, TcpStatCollector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE: Final = fleet.HERE
RULES: Final = HERE / "rules"
README: Final = (HERE / "README.md").read_text("utf-8")
ALERTS: Final = (RULES / "alerts.yml").read_text("utf-8")
RECORDING: Final = (RULES / "recording.yml").read_text("utf-8")
RECORDED: Final = set(re.findall(r"record: (\S+)", RECORDING))
DASHBOARD: Final = json.loads((HERE / "grafana.json").read_text("utf-8"))
#: What is a metric in an expression: words of this library, and rules, which have colons.
METRIC: Final = re.compile(r"\b(?:netlink_safe_\w+|\w+:\w+:\w+|up\b|ALERTS\b)")
LISTEN: Final = "127.0.0.1:9090"
TIMES: Final = re.compile(r"^ +for: (\w+)$", re.MULTILINE)
COMMENT: Final = re.compile(r"^ *#.*$", re.MULTILINE)
#: What the page says to type to break a member.
BREAKS: Final = re.compile(r"^```sh\n(sudo ip netns exec .*?)^```$", re.MULTILINE | re.DOTALL)
#: Seconds in which something comes to be, on a machine that has other things to do.
SOON: Final = 30.0


def promtool(*arguments: str, told: str | None = None) -> str:
    """What promtool says, on either of its outputs, when it is content."""
    ended = subprocess.run(
        [debian_peers.promtool(), *arguments],
        input=told,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SOON,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout
    return ended.stdout


def eventually(condition: Callable[[], bool]) -> None:
    """Look again and again, at the pace of scrapes, until something is so."""
    end = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.1)


def instances(query: str, label: str = "instance") -> dict[str, str]:
    """What Prometheus answers to a query, by a label of it."""
    found = fleet.ask(LISTEN, "query", query=query)["result"]
    return {each["metric"][label]: each["value"][1] for each in found}


def alerts(text: str) -> dict[str, str]:
    """The rules of each alert, by its name."""
    _, *parts = re.split(r"- alert: ", text)
    return {part.partition("\n")[0]: part for part in parts}


def test_promtool_is_content_with_configuration_and_rules(tmp_path: pathlib.Path) -> None:
    """With what is written there, and with what the fleet makes of it."""
    made = fleet.configure(tmp_path, ["192.0.2.1:9979"], fleet.Pace(interval=0.5, alert_after=0))
    for configuration in (HERE / "prometheus.yml", made):
        told = promtool("check", "config", "--lint-fatal", str(configuration))
        assert f"SUCCESS: {configuration} is valid" in told
        assert "WARNING" not in told
    assert re.findall(r"_interval: (\w+)", made.read_text("utf-8")) == ["500ms", "500ms"]
    made_alerts = (made.parent / "rules" / "alerts.yml").read_text("utf-8")
    assert set(TIMES.findall(made_alerts)) == {"0ms"}


def test_the_alerts_fire_and_stay_quiet_as_their_tests_say() -> None:
    """And every alert has a test of both."""
    assert "SUCCESS" in promtool("test", "rules", str(RULES / "alerts_test.yml"))
    _, *cases = re.split(r"- alertname: ", (RULES / "alerts_test.yml").read_text("utf-8"))
    fires = {case.split()[0] for case in cases if "exp_alerts" in case.partition("- name:")[0]}
    quiet = {case.split()[0] for case in cases if "exp_alerts" not in case.partition("- name:")[0]}
    assert fires == quiet == alerts(ALERTS).keys()


def test_every_alert_says_how_bad_it_is_and_what_to_do() -> None:
    """And the page about the fleet has a row for it, with its time."""
    rows = re.findall(r"^\| `(\w+)` \|.*\| (\d+) minutes? \|$", README, re.MULTILINE)
    times = {name: TIMES.findall(rule) for name, rule in alerts(ALERTS).items()}
    assert {name: [f"{minutes}m"] for name, minutes in rows} == times
    for rule in alerts(ALERTS).values():
        assert re.search(r"severity: (warning|critical)\n", rule)
        assert "summary: " in rule
        assert "description: " in rule


def known_metrics() -> set[str]:
    """What collectors describe, by the names of samples, and what the rules record."""
    described = TcpStatCollector(info=True, by=("port", "uid", "cgroup")).describe()
    described += NetlinkSelfCollector().describe()
    samples = {each.name + "_total" * (each.type == "counter") for each in described}
    return {*RECORDED, *samples, "up", "ALERTS"}


def expressions() -> list[str]:
    """Those of the dashboard, its variables given values."""
    found = [each["expr"] for panel in DASHBOARD["panels"] for each in panel["targets"]]
    return [expression.replace("$__rate_interval", "5m") for expression in found]


def test_rules_and_dashboard_name_only_metrics_that_there_are() -> None:
    """Collectors describe them, or the rules record them; and what is recorded is used."""
    variables = [str(each["query"]) for each in DASHBOARD["templating"]["list"]]
    told = "\n".join([COMMENT.sub("", ALERTS), *expressions(), *variables])
    named = set(METRIC.findall(told))
    assert named | set(METRIC.findall(COMMENT.sub("", RECORDING))) <= known_metrics()
    assert named >= RECORDED


def test_the_dashboard_is_one_that_promtool_and_grafana_can_read(tmp_path: pathlib.Path) -> None:
    """Every expression parses; every panel has a place, and asks the data source that is chosen."""
    rules = [{"record": f"panel:{n}", "expr": each} for n, each in enumerate(expressions())]
    file = tmp_path / "rules.json"  # which is YAML as well
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}), "utf-8")
    assert f"SUCCESS: {len(rules)} rules found" in promtool("check", "rules", str(file))
    assert all(METRIC.search(each) for each in expressions())
    panels, variables = DASHBOARD["panels"], DASHBOARD["templating"]["list"]
    assert DASHBOARD["uid"]
    assert [each["type"] for each in variables] == ["datasource", "query", "query", "query"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    sources = [each["datasource"] for panel in panels for each in (panel, *panel["targets"])]
    assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in sources)
    used = set(re.findall(r"\$(?!__)\{?(\w+)", json.dumps(DASHBOARD)))
    assert used == {each["name"] for each in variables}
    taken = [
        (panel["gridPos"]["x"] + x, panel["gridPos"]["y"] + y)
        for panel in panels
        for x in range(panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["h"])
    ]
    assert len(taken) == len(set(taken))
    assert max(x for x, _ in taken) < 24


@contextlib.contextmanager
def running_fleet(*options: str) -> Iterator[subprocess.Popen[str]]:
    """The program; told to end behind the body, unless it has, and waited for."""
    command = [sys.executable, str(HERE / "fleet.py"), "--members", "2", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        try:
            yield program
        finally:
            program.terminate()
            program.wait(SOON)


def line(program: subprocess.Popen[str]) -> str:
    """The next line that a program prints; pytest's own limit bounds the wait."""
    assert program.stdout is not None
    return program.stdout.readline()


@pytest.fixture
def traces(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> Callable[[], list[str]]:
    """What there is now of processes that the test has started, and of what they made."""
    mark = f"STARTED_FOR={tmp_path}"
    monkeypatch.setenv(*mark.split("=", 1))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    links = there()

    def look() -> list[str]:
        found = [f"/tmp/{path.name}" for path in tmp_path.iterdir()]  # noqa: S108  # a name
        found += os.listdir("/run/netns")
        found += there() - links
        for pid in filter(str.isdecimal, os.listdir("/proc")):
            with contextlib.suppress(OSError):  # it has ended meanwhile, or is another's
                environment = pathlib.Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
                if mark.encode() in environment:
                    found.append(f"process {pid}")
        return found

    return look


def broken_member() -> contextlib.AbstractContextManager[subprocess.Popen[str]]:
    """What the page says to type to break a member; a line of input mends it."""
    (command,) = BREAKS.findall(README)
    return subprocess.Popen(
        shlex.split(command)[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def enter(program: subprocess.Popen[str]) -> None:
    """Press Enter."""
    assert program.stdin is not None
    program.stdin.write("\n")
    program.stdin.flush()


def test_an_alert_fires_for_the_member_that_is_broken_and_goes_when_it_is_mended(
    traces: Callable[[], list[str]],
) -> None:
    """Through a real Prometheus; for no other member, and nothing is left of it all."""
    broken, whole = fleet.Member(1), fleet.Member(2)
    options = ["--prometheus", debian_peers.prometheus(), "--listen", LISTEN]

    def alerted() -> set[str]:
        found = fleet.firing(LISTEN)
        return {instance for name, instance in found if name == "TcpAcceptQueueFull"}

    fill = 'netlink_safe_tcp_accept_queue_fill_ratio{port="8080"}'
    with running_fleet(*options, "--interval", "1", "--alert-after", "0") as program:
        for member in (broken, whole):
            assert line(program).startswith(f"{member.name}: http://{member.target}/metrics")
        assert line(program).startswith(f"Prometheus: http://{LISTEN}/")
        eventually(lambda: instances("up") == {broken.target: "1", whole.target: "1"})
        assert alerted() == set()
        with broken_member() as listener:
            try:
                assert "is full" in line(listener)
                eventually(lambda: alerted() != set())
                assert alerted() == {broken.target}
                assert instances(fill) == {broken.target: "1.25"}
                enter(listener)
                assert "is empty" in line(listener)
                eventually(lambda: alerted() == set())
                assert instances(fill) == {broken.target: "0"}
                enter(listener)
            finally:
                listener.kill()
        program.send_signal(signal.SIGTERM)
        assert program.wait(SOON) == 0
    assert traces() == []


def test_a_signal_at_any_time_takes_all_of_it_away(traces: Callable[[], list[str]]) -> None:
    """Here with one member made, and the rest under way."""
    with running_fleet("--prometheus", debian_peers.prometheus()) as program:
        assert line(program).startswith("fleet-1: ")
        assert traces() != []
        program.send_signal(signal.SIGINT)
        assert program.wait(SOON) == 0
    assert traces() == []


def refused(*options: str) -> str:
    """What the program says that could not start."""
    debian_peers.iproute2("ip")
    command = [sys.executable, str(HERE / "fleet.py"), "--prometheus", "/bin/false"]
    command += ["--members", "2", *options]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=2 * SOON, check=False)
    assert ended.returncode == 1
    return ended.stderr


def test_what_cannot_start_leaves_nothing_behind(traces: Callable[[], list[str]]) -> None:
    """It says what was not ready, and where."""
    assert "nothing is ready at 127.0.0.1:9090" in refused()
    assert traces() == []


def test_a_prometheus_that_is_there_already_is_not_taken_for_its_own(
    traces: Callable[[], list[str]],
) -> None:
    """Whatever answers at the address; and nothing is left behind."""

    class Ready(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Ready) as there:
        answering = threading.Thread(target=there.serve_forever)
        answering.start()
        try:
            listen = f"127.0.0.1:{there.server_address[1]}"
            assert f"something answers at {listen} already" in refused(
                "--members", "1", "--listen", listen
            )
        finally:
            there.shutdown()
            answering.join()
    assert traces() == []


def test_what_another_fleet_has_left_is_not_touched(traces: Callable[[], list[str]]) -> None:
    """It says how to take it away, and what was made by then is gone."""
    debian_peers.iproute2("ip")
    with fleet.namespace("fleet-2"):
        assert "kill $(ip netns pids fleet-2); ip netns delete fleet-2" in refused()
        assert traces() == ["fleet-2"]
    assert traces() == []
