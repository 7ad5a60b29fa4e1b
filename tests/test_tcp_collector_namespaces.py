"""The collector in several namespaces, and without what it takes to look into them."""

from __future__ import annotations

import errno
import gc
import os
import socket
import threading

import pytest
from prometheus_client import CollectorRegistry, generate_latest

import faults
import kernel
from metrics_told import ERRORS, SOCKETS, TIMEOUTS, succeeded, value, values
from netlink_safe.collectors.prometheus import TcpStatCollector
from netlink_safe.transport import workers
from netlink_safe.wire.constants import NLMSG_DONE
from surfaces import taking_at_most


def test_namespaces_are_told_apart_and_one_that_hangs_holds_up_none() -> None:
    """Each has a label; what cannot be looked into has success 0 and an error, the others go on."""
    with kernel.named_namespace("here") as path, kernel.named_namespace("hanging") as hanging:
        there = os.stat(hanging)

        def deafen(sock: socket.socket) -> None:
            here = os.stat("/proc/thread-self/ns/net")
            if (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino):
                faults.attach(sock, faults.losing(NLMSG_DONE))

        def listener() -> socket.socket:
            return socket.create_server(("127.0.0.1", 0))

        wanted = {"": None, "a": "here", "b": "hanging", "c": "missing", "d": "/dev/null"}
        collector = TcpStatCollector(namespaces=lambda: wanted, timeout=1.5)
        with (
            kernel.in_namespace(path, listener),
            kernel.in_namespace(hanging, listener),
            faults.on_open(deafen),
            taking_at_most(10),
        ):
            metrics = collector.collect()
        healed = collector.collect()
    assert [succeeded(metrics, netns=label) for label in wanted] == [1, 1, 0, 0, 0]
    assert [succeeded(healed, netns=label) for label in wanted] == [1, 1, 1, 0, 0]
    assert value(metrics, SOCKETS, netns="a", family="inet", state="listen") == 1
    assert value(metrics, SOCKETS, netns="", family="inet", state="listen") == 0
    assert values(metrics, SOCKETS, netns="b") == {}
    assert dict.fromkeys(values(metrics, ERRORS, collector="tcpstat"), 1) == {
        ("b", "NetlinkTimeout"): 1,
        ("c", "FileNotFoundError"): 1,
        ("d", "LocalProtocolError"): 1,
    }
    wanted.clear()
    assert collector.collect() == [], "who is gone is not told of any more"


def test_a_namespace_that_the_kernel_holds_up_keeps_one_thread_and_no_more() -> None:
    """However often it is asked for; once the kernel lets go of it, it is looked into again."""
    with kernel.named_namespace("held") as held:
        there, release = os.stat(held), threading.Event()

        def hold_up(_: socket.socket) -> None:
            here = os.stat("/proc/thread-self/ns/net")
            if (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino):
                assert release.wait(60)

        collector = TcpStatCollector(namespaces=lambda: {"": None, "held": "held"}, timeout=1.5)
        collector.collect()
        before = kernel.threads()
        with faults.on_open(hold_up):
            scrapes = [collector.collect() for _ in range(6)]
            left_behind = kernel.threads() - before
            release.set()
        kernel.until(lambda: succeeded(collector.collect(), netns="held") == 1)
    assert [succeeded(each, netns="") for each in scrapes] == [1] * 6
    assert [succeeded(each, netns="held") for each in scrapes] == [0] * 6
    assert [value(each, TIMEOUTS, netns="held", collector="tcpstat") for each in scrapes] == [
        1, 2, 3, 4, 5, 6,
    ]  # fmt: skip
    assert left_behind <= 2, "a worker, and what it entered the namespace with"


def test_a_look_that_fails_keeps_no_namespace_open() -> None:
    """Its error holds no frame, and so nothing waits for a garbage collection."""
    with kernel.named_namespace("closed"):

        def scrape() -> int:
            kernel.drop_all_rights()
            gc.disable()
            collector = TcpStatCollector(namespaces=lambda: {"": None, "closed": "closed"})
            collector.collect()
            before = len(os.listdir("/proc/self/fd"))
            for _ in range(5):
                collector.collect()
            return len(os.listdir("/proc/self/fd")) - before

        assert kernel.in_child(scrape) == "0"


def test_without_a_descriptor_to_be_had_nothing_is_raised() -> None:
    """What could not be looked for is told as whatever else the machine refuses."""

    def nothing_to_be_had() -> dict[str, None]:
        raise OSError(errno.EMFILE, "too many open files")

    metrics = TcpStatCollector(namespaces=nothing_to_be_had).collect()
    assert succeeded(metrics, netns="") == 0
    assert values(metrics, ERRORS, netns="", collector="tcpstat") == {"OSError": 1}


@pytest.mark.parametrize("labels", [["a"], ["a", "b"]])
def test_without_a_thread_to_be_had_there_are_no_numbers(
    monkeypatch: pytest.MonkeyPatch, labels: list[str]
) -> None:
    """And that is told as whatever else the machine refuses."""

    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    collector = TcpStatCollector(namespaces=lambda: dict.fromkeys(labels))
    assert succeeded(collector.collect(), netns="a") == 1
    monkeypatch.setattr(threading.Thread, "start", start)
    monkeypatch.setattr(workers.WORKERS, "_idle", 0)
    metrics = collector.collect()
    monkeypatch.undo()
    assert [succeeded(metrics, netns=label) for label in labels] == [0] * len(labels)
    assert set(values(metrics, ERRORS, collector="tcpstat")) == {
        (x, "RuntimeError") for x in labels
    }
    assert succeeded(collector.collect(), netns="a") == 1


def test_one_namespace_is_named_in_every_sample() -> None:
    """As it was asked for."""
    with kernel.named_namespace("one"):
        metrics = TcpStatCollector(netns="one").collect()
    assert {each.labels["netns"] for metric in metrics for each in metric.samples} == {"one"}


def test_without_the_right_to_enter_it_says_so() -> None:
    """The own namespace is told, the other is an error with its name."""
    with kernel.named_namespace("closed"):

        def scrape() -> str:
            kernel.drop_all_rights()
            collector = TcpStatCollector(namespaces=lambda: {"": None, "closed": "closed"})
            metrics = collector.collect()
            return repr(
                (
                    succeeded(metrics, netns=""),
                    values(metrics, ERRORS, netns="closed", collector="tcpstat"),
                )
            )

        assert kernel.in_child(scrape) == "(1, {'PermissionError': 1})"


def test_a_label_may_be_no_text() -> None:
    """A file's name is bytes; as a label those that are no UTF-8 are written out."""
    collector = TcpStatCollector(namespaces=lambda: {"b\udcff": None})
    registry = CollectorRegistry()
    registry.register(collector)
    assert b'netns="b\\\\xff"' in generate_latest(registry)
