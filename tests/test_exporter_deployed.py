"""The exporter as it is deployed: many namespaces, a file for node_exporter, under systemd."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import stat
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

import kernel
from exporters import HERE, PROGRAM, running
from metrics_told import ERRORS, SOCKETS, SUCCESS, succeeded, value, values
from netlink_safe.cli import exporter_file, sd_notify
from netlink_safe.transport import namespaces as finding
from netlink_safe.transport.namespaces import HeldNamespace, namespaces
from test_command import COMMAND, run
from test_first_story import LOSING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.metrics_core import Metric

UNITS = HERE.parent / "examples" / "systemd"
SLEEPER = "import time\nprint('ready', flush=True)\ntime.sleep(600)"


@contextlib.contextmanager
def unnamed_namespace() -> Iterator[tuple[str, int]]:
    """A namespace that only a process lives in: what the kernel calls it, and the process's pid."""
    command = ["unshare", "--net", "python3", "-c", SLEEPER]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            yield os.readlink(f"/proc/{process.pid}/ns/net"), process.pid
        finally:
            process.kill()


def told_namespaces(metrics: list[Metric]) -> set[str]:
    return set(values(metrics, SUCCESS, collector="tcpstat"))


def test_the_namespaces_that_were_asked_for_are_told_apart() -> None:
    """By name, path or pid as they were given; the own one is not among them."""
    with kernel.named_namespace("red") as red, unnamed_namespace() as (_, pid):
        options = ["--netns=red", f"--netns={red}", f"--netns={pid}", "--netns=gone"]
        with running(*options) as exporter:
            metrics = exporter.get().metrics()
            assert told_namespaces(metrics) == {"red", red, str(pid), "gone"}
            assert succeeded(metrics, netns="red") == succeeded(metrics, netns=str(pid)) == 1
            assert succeeded(metrics, netns="gone") == 0
            with kernel.named_namespace("gone"):
                assert succeeded(exporter.get().metrics(), netns="gone") == 1
    assert values(metrics, ERRORS, netns="gone", collector="tcpstat") == {"FileNotFoundError": 1}


def test_new_namespaces_appear_and_dead_ones_go_away() -> None:
    """Named ones by name, others as the kernel calls them, each once; nothing is an error."""
    with running("--all-netns") as exporter, kernel.named_namespace("red") as red:
        descriptors = exporter.descriptors()
        with kernel.in_namespace(red, lambda: socket.create_server(("127.0.0.1", 0))):
            before = exporter.get().metrics()
        with kernel.named_namespace("green"), unnamed_namespace() as (unnamed, _):
            meanwhile = exporter.get().metrics()
        after = exporter.get().metrics()
        kernel.until(lambda: exporter.descriptors() == descriptors)  # or the dead would live on
    assert value(before, SOCKETS, netns="red", family="inet", state="listen") == 1
    assert value(before, SOCKETS, netns="", family="inet", state="listen") == 1
    assert {"green", unnamed} <= told_namespaces(meanwhile)
    assert not {"green", unnamed} & told_namespaces(after)
    assert {"", "red"} <= told_namespaces(after)
    assert values(after, ERRORS) == {}


def test_a_namespace_is_told_once_whatever_names_it_has() -> None:
    """By the first of them; what is no namespace at all is none."""
    with kernel.named_namespace("b") as path, kernel.named_namespace("c"):
        Path("/run/netns/a").touch()
        kernel.mount(path, "/run/netns/a", None, kernel.MS_BIND)
        Path("/run/netns/leftover").touch()
        try:
            found = namespaces()
        finally:
            Path("/run/netns/leftover").unlink()
            kernel.unmount("/run/netns/a")
            Path("/run/netns/a").unlink()
    assert [label for label in found.found if not label.startswith("net:")] == ["", "a", "c"]
    assert len({held.identity for held in found.found.values()}) == len(found.found)


def test_there_is_a_limit_to_namespaces_and_it_is_told() -> None:
    """How many are left out, not how many there are."""
    with kernel.named_namespace("a"), kernel.named_namespace("b"):
        everything = namespaces()
        few = namespaces(limit=2)
    assert list(few.found) == ["", "a"]
    assert few.left_out == len(everything.found) - 2
    assert everything.left_out == 0


def test_a_pid_that_became_anothers_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look and the opening it may; what is open says which namespace it is."""
    with kernel.named_namespace("a"), kernel.named_namespace("b"):

        class Moved(HeldNamespace):
            def __init__(self, path: str) -> None:
                super().__init__(path.replace("/run/netns/a", "/run/netns/b"))

        monkeypatch.setattr(finding, "HeldNamespace", Moved)
        found = namespaces()
    assert "a" not in found.found
    assert "b" in found.found


def test_what_may_not_be_seen_is_told_with_the_right_that_it_takes() -> None:
    """At the start on standard error, and in metrics: others' processes, and a closed namespace."""
    drop = "import kernel; kernel.drop_all_rights()"
    with kernel.named_namespace("red"), running("--all-netns", prelude=drop) as exporter:
        metrics = exporter.get().metrics()
        said = exporter.said()
    assert succeeded(metrics, netns="") == 1
    assert succeeded(metrics, netns="red") == 0
    assert values(metrics, ERRORS, netns="red", collector="tcpstat") == {"PermissionError": 1}
    assert "that takes CAP_SYS_ADMIN" in said
    unseen = value(metrics, "netlink_safe_exporter_unseen_processes")
    assert ("takes CAP_SYS_PTRACE" in said) == (unseen > 0)


def written(path: Path) -> list[Metric]:
    return list(text_string_to_metric_families(path.read_text("utf-8")))


def test_a_textfile_is_written_once_and_whole(tmp_path: Path) -> None:
    """For everybody to read, with nothing beside it; over an older one as well."""
    path = tmp_path / "tcp.prom"
    path.write_text("old")
    command = [*COMMAND, "exporter", "--names=node_exporter", "--textfile", str(path)]
    with socket.create_server(("127.0.0.1", 0)):
        assert subprocess.run(command, timeout=60, check=True).returncode == 0
    assert value(written(path), "node_tcp_connection_states", state="listen") == 1
    assert "process_" not in path.read_text("utf-8"), "node_exporter tells of its own process"
    assert os.listdir(tmp_path) == ["tcp.prom"]
    assert stat.S_IMODE(path.stat().st_mode) & 0o444 == 0o444


def test_a_textfile_of_a_scrape_that_failed_says_so(tmp_path: Path) -> None:
    """In the file, on standard error, and by the status of a deadline."""
    lost, path = tmp_path / "lost", tmp_path / "tcp.prom"
    lost.touch()
    prelude = LOSING.format(path=str(lost))
    options = ["exporter", "--timeout=0.2", "--textfile", str(path)]
    done = subprocess.run(
        [COMMAND[0], "-c", PROGRAM.format(prelude=prelude), *options],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": str(HERE)},
    )
    assert done.returncode == 124
    assert "no TCP sockets: no end to" in done.stderr
    assert succeeded(written(path)) == 0


def test_what_is_no_regular_file_is_not_replaced(tmp_path: Path) -> None:
    """A pipe stays one; a link stays one, and its target is written."""
    os.mkfifo(tmp_path / "pipe.prom")
    (tmp_path / "link.prom").symlink_to(tmp_path / "target.prom")
    refused = run("exporter", "--textfile", str(tmp_path / "pipe.prom"))
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "it is no regular file" in refused.stderr
    assert (tmp_path / "pipe.prom").is_fifo()
    assert run("exporter", "--textfile", str(tmp_path / "link.prom")).returncode == 0
    assert (tmp_path / "link.prom").is_symlink()
    assert "netlink_safe_tcp_sockets" in (tmp_path / "target.prom").read_text("utf-8")


def test_a_file_may_be_written_less_often_than_systemd_wants_to_hear(tmp_path: Path) -> None:
    """It is told in between, and at the end."""
    path = str(tmp_path / "notify")
    environment = {**os.environ, "NOTIFY_SOCKET": path, "WATCHDOG_USEC": "300000"}
    command = [*COMMAND, "exporter", "--textfile", str(tmp_path / "it.prom"), "--every", "3600"]
    with manager(path) as systemd, subprocess.Popen(command, env=environment) as process:
        try:
            assert systemd.recv(100) == b"READY=1"
            for _ in range(3):
                assert systemd.recv(100) == b"WATCHDOG=1"
            process.send_signal(signal.SIGTERM)
            last = b"WATCHDOG=1"
            while last == b"WATCHDOG=1":
                last = systemd.recv(100)
            assert last == b"STOPPING=1"
            assert process.wait(30) == 0
        finally:
            process.kill()


def test_nobody_waits_longer_than_a_year() -> None:
    """Nor could the system."""
    for option in ("--every", "--timeout"):
        ended = run("exporter", "--textfile", "x.prom", option, "1e10")
        assert ended.returncode == 2
        assert "at most a year" in ended.stderr


def test_a_textfile_is_written_again_until_the_end(tmp_path: Path) -> None:
    """What is read in between is always whole; SIGTERM ends it well."""
    path = tmp_path / "tcp.prom"
    command = [*COMMAND, "exporter", "--every=0.01", "--textfile", str(path)]
    with subprocess.Popen(command) as process:
        try:
            kernel.until(path.exists, 30)
            inodes: set[int] = set()
            while len(inodes) < 20:
                text = path.read_text("utf-8")
                assert text.endswith("\n")
                if (inode := path.stat().st_ino) not in inodes:
                    inodes.add(inode)
                    assert succeeded(list(text_string_to_metric_families(text))) == 1
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
        finally:
            process.kill()
    assert os.listdir(tmp_path) == ["tcp.prom"]


def test_a_signal_ends_it_wherever_it_is_in_its_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """With hardly a pause between two files the wait is nearly always just beginning or ending."""
    senders = []

    def send() -> None:
        time.sleep(random.uniform(0, 0.001))
        os.kill(os.getpid(), signal.SIGTERM)

    def notify(state: str) -> None:
        if state == sd_notify.READY:
            senders.append(threading.Thread(target=send))
            senders[-1].start()

    monkeypatch.setattr(sd_notify, "notify", notify)
    monkeypatch.setattr(exporter_file, "_write_once", lambda *_: 0)
    for _ in range(100):
        assert exporter_file.write("it.prom", [], every=1e-6) == 0
        senders[-1].join()


def test_a_disk_that_is_full_for_a_while_does_not_end_the_writer(tmp_path: Path) -> None:
    """The old file stays whole, the reason is told once, and the next that fits is written."""
    disk, said = tmp_path / "disk", tmp_path / "said"
    disk.mkdir()
    kernel.mount("tmpfs", str(disk), "tmpfs")
    path = disk / "tcp.prom"
    command = [*COMMAND, "exporter", "--every=0.01", "--textfile", str(path)]
    try:
        with said.open("wb") as log, subprocess.Popen(command, stderr=log) as process:
            try:
                kernel.until(path.exists, 30)
                subprocess.run(["mount", "-o", "remount,size=16k", str(disk)], check=True)
                with (disk / "fill").open("wb", 0) as fill:

                    def has_filled_it() -> bool:
                        with contextlib.suppress(OSError):
                            while fill.write(bytes(4096)):
                                pass
                        return "cannot write" in said.read_text("utf-8")

                    kernel.until(has_filled_it, 30)
                assert succeeded(written(path)) == 1
                (disk / "fill").unlink()
                kernel.until(lambda: "again" in said.read_text("utf-8"), 30)
                process.send_signal(signal.SIGTERM)
                assert process.wait(20) == 0
            finally:
                process.kill()
        assert said.read_text("utf-8") == (
            f"netlink-safe: cannot write {path}: No space left on device\n"
            f"netlink-safe: writing {path} again\n"
        )
        assert os.listdir(disk) == ["tcp.prom"]
    finally:
        kernel.unmount(str(disk))


@contextlib.contextmanager
def manager(path: str) -> Iterator[socket.socket]:
    """What systemd is to a service: a socket that is told its states."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(path)
        sock.settimeout(30)
        yield sock


@pytest.mark.parametrize("kind", ["file", "abstract"])
def test_systemd_is_told_when_it_serves_and_that_it_lives(kind: str, tmp_path: Path) -> None:
    """Ready only when it answers; alive as long as it does; stopping at the end."""
    path = str(tmp_path / "notify") if kind == "file" else f"\0{tmp_path}"
    environment = {"NOTIFY_SOCKET": path.replace("\0", "@"), "WATCHDOG_USEC": "300000"}
    with manager(path) as systemd, running(**environment) as exporter:
        assert systemd.recv(100) == b"READY=1"
        assert exporter.get("/healthz").status == 200
        for _ in range(3):
            assert systemd.recv(100) == b"WATCHDOG=1"
        exporter.process.send_signal(signal.SIGTERM)
        last = b"WATCHDOG=1"
        while last == b"WATCHDOG=1":
            last = systemd.recv(100)
        assert last == b"STOPPING=1"


def test_a_server_that_does_not_answer_is_not_alive(tmp_path: Path) -> None:
    """The watchdog asks as a scraper does: what hangs inside is not told to be well."""
    deaf = (
        "from netlink_safe.collectors.prometheus import exposition\n"
        "import threading\n"
        "exposition.Answer = lambda *_: threading.Event().wait(60)"
    )
    path = str(tmp_path / "notify")
    environment = {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "300000"}
    with manager(path) as systemd, running(prelude=deaf, **environment):
        assert systemd.recv(100) == b"READY=1"
        systemd.settimeout(1.5)
        with pytest.raises(TimeoutError):
            systemd.recv(100)


def test_the_watchdog_of_another_process_is_not_ours(tmp_path: Path) -> None:
    """As when a service starts a program of its own."""
    path = str(tmp_path / "notify")
    environment = {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "100000", "WATCHDOG_PID": "1"}
    with manager(path) as systemd, running(**environment) as exporter:
        assert systemd.recv(100) == b"READY=1"
        exporter.process.send_signal(signal.SIGTERM)
        assert systemd.recv(100) == b"STOPPING=1"


def test_the_units_are_what_systemd_takes(tmp_path: Path) -> None:
    """The service alone, and with what more namespaces take; each has the rights that it names."""
    service = tmp_path / "netlink-safe-exporter.service"
    program = COMMAND[0]
    text = (UNITS / service.name).read_text("utf-8")
    service.write_text(text.replace("/usr/local/bin/netlink-safe", program))
    verified(service)
    directory = tmp_path / f"{service.name}.d"
    directory.mkdir()
    more = (UNITS / "all-netns.conf").read_text("utf-8")
    (directory / "all-netns.conf").write_text(more.replace("/usr/local/bin/netlink-safe", program))
    verified(service)
    assert "CapabilityBoundingSet=\n" in text
    for option in ("CapabilityBoundingSet", "AmbientCapabilities"):
        assert f"{option}=CAP_SYS_ADMIN CAP_SYS_PTRACE\n" in more
    assert "User=root" not in text + more


def verified(unit: Path) -> None:
    """What systemd says of a unit: nothing."""
    done = subprocess.run(
        [analyzer(), "verify", str(unit)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def analyzer() -> str:
    """systemd's own tool; skips the test, or fails it in CI, where it is missing."""
    found = shutil.which("systemd-analyze")
    if found is None:
        tell = pytest.fail if "NETLINK_SAFE_REQUIRE_PEERS" in os.environ else pytest.skip
        tell("there is no systemd-analyze: apt-get install systemd")
    return found
