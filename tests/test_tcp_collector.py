"""The collector for Prometheus: bounded in time, shared, honest about what it could not see."""

from __future__ import annotations

import math
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

import faults
import kernel
import netlink_safe as nls
from metrics_told import ERRORS, MODES, SOCKETS, SUCCESS, TIMEOUTS, succeeded, value, values
from netlink_safe.collectors.prometheus import TcpStatCollector
from netlink_safe.collectors.prometheus.sharing import Shared
from netlink_safe.wire.constants import NLMSG_DONE
from surfaces import taking_at_most

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric


@pytest.mark.parametrize("mode", MODES)
def test_a_scrape_whose_end_is_lost_has_no_numbers(mode: dict[str, Any]) -> None:
    """Not even the last good ones; the next one has, and starts clean."""
    collector = TcpStatCollector(timeout=0.2, **mode)
    with socket.create_server(("127.0.0.1", 0)):
        assert succeeded(collector.collect()) == 1
        with faults.filtered(faults.losing(NLMSG_DONE)), taking_at_most(5):
            lost = collector.collect()
        good = collector.collect()
    assert {metric.name for metric in lost} == {
        SUCCESS,
        "netlink_safe_collector_duration_seconds",
        "netlink_safe_collector_timeouts",
        "netlink_safe_collector_errors",
    }
    assert succeeded(lost) == 0
    assert value(lost, TIMEOUTS) == 1
    assert values(lost, ERRORS, collector="tcpstat") == {"NetlinkTimeout": 1}
    assert 0.15 < value(lost, "netlink_safe_collector_duration_seconds") < 5
    assert succeeded(good) == 1
    assert value(good, TIMEOUTS) == 1, "what only grows is there in good times, too"


def test_a_scrape_may_have_less_time_than_the_collector() -> None:
    """And never more."""
    collector = TcpStatCollector(timeout=60)
    with faults.filtered(faults.losing(NLMSG_DONE)), taking_at_most(10):
        assert succeeded(collector.collect(timeout=0.1)) == 0
    patient = TcpStatCollector(timeout=0.1)
    with faults.filtered(faults.losing(NLMSG_DONE)), taking_at_most(10):
        assert succeeded(patient.collect(timeout=60)) == 0
    with pytest.raises(nls.LocalProtocolError, match="above 0 seconds"):
        collector.collect(timeout=0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"names": "mine"}, "none of netlink_safe, node_exporter"),
        ({"method": "guess"}, "neither 'dump' nor 'counters'"),
        ({"timeout": 0}, "above 0 seconds"),
        ({"by": "peer"}, "none of port, uid, cgroup"),
        ({"by": 5}, "none of port, uid, cgroup"),
        ({"limit": 0}, "no number of label values"),
        ({"limit": True}, "no number of label values"),
        ({"info": True, "method": "counters"}, "look at every row"),
        ({"by": "uid", "names": "node_exporter"}, "look at every row"),
        ({"netns": "a", "namespaces": dict}, "netns for one namespace, or namespaces for several"),
        ({"netns": ""}, "names no network namespace"),
    ],
)
def test_nonsense_is_refused(options: dict[str, Any], said: str) -> None:
    """When the collector is made, with what to do instead."""
    with pytest.raises(nls.LocalProtocolError, match=said):
        TcpStatCollector(**options)


def test_scrapes_that_overlap_share_one_run() -> None:
    """Whoever comes while it runs with as much time as its own takes its result, or its error."""
    entered, release, runs = threading.Event(), threading.Event(), []

    def run(timeout: float) -> object:
        runs.append(timeout)
        entered.set()
        assert release.wait(30)
        return object()

    shared: Shared[object] = Shared(run)
    results: list[object] = []
    threads = [threading.Thread(target=lambda: results.append(shared.result(20))) for _ in range(8)]
    threads[0].start()
    assert entered.wait(30)
    for thread in threads[1:]:
        thread.start()
    kernel.until(lambda: len(shared._running[20]._waiters) == 7)
    release.set()
    for thread in threads:
        thread.join(30)
    assert len(results) == 8
    assert len(set(results)) == len(runs) == 1
    assert shared.result(20) not in results, "a later one starts afresh"


def test_a_scrape_with_another_timeout_runs_for_itself() -> None:
    """It is held up by nobody, and gives nobody up."""
    entered, release = threading.Event(), threading.Event()

    def run(timeout: float) -> float:
        if timeout == 20:
            entered.set()
            assert release.wait(30)
        return timeout

    shared: Shared[float] = Shared(run)
    slow = threading.Thread(target=shared.result, args=(20,))
    slow.start()
    assert entered.wait(30)
    assert shared.result(10) == 10
    release.set()
    slow.join(30)
    assert shared._running == {}


def test_who_shares_leaves_at_its_own_deadline() -> None:
    """And has success 0, while the one that was under way goes on."""
    collector = TcpStatCollector(timeout=0.3)
    entered, release = threading.Event(), threading.Event()

    def hold(_: float) -> list[Metric]:
        entered.set()
        assert release.wait(30)
        return []

    collector._shared = Shared(hold)
    first = threading.Thread(target=collector.collect)
    first.start()
    assert entered.wait(30)
    with taking_at_most(10):
        late = collector.collect()
    release.set()
    first.join(30)
    assert succeeded(late) == 0
    assert value(late, TIMEOUTS) == 1


def test_what_interrupts_one_thread_is_no_other_threads() -> None:
    """Who shares a run that is interrupted by Ctrl-C has no numbers, and goes on."""
    entered, release, waiting = threading.Event(), threading.Event(), threading.Event()

    def run(_: float) -> str:
        entered.set()
        assert release.wait(30)
        raise KeyboardInterrupt

    shared: Shared[str] = Shared(run)
    found: list[type[BaseException]] = []

    def take() -> None:
        waiting.set()
        try:
            shared.result(20)
        except BaseException as error:
            found.append(type(error))

    threads = [threading.Thread(target=take) for _ in range(2)]
    threads[0].start()
    assert entered.wait(30)
    waiting.clear()
    threads[1].start()
    assert waiting.wait(30)
    kernel.until(lambda: kernel.is_asleep(threads[1].native_id))
    release.set()
    for thread in threads:
        thread.join(30)
    assert sorted(each.__name__ for each in found) == ["KeyboardInterrupt", "NetlinkTimeout"]


def test_who_may_wait_for_ever_shares_too() -> None:
    """A scrape that was under way is waited for without a bound that no lock can have."""
    entered, release = threading.Event(), threading.Event()

    def run(_: float) -> str:
        entered.set()
        assert release.wait(30)
        return "done"

    shared: Shared[str] = Shared(run)
    found: list[str] = []
    first = threading.Thread(target=shared.result, args=(math.inf,))
    first.start()
    assert entered.wait(30)
    second = threading.Thread(target=lambda: found.append(shared.result(math.inf)))
    second.start()
    release.set()
    first.join(30)
    second.join(30)
    assert found == ["done"]


def test_an_error_is_every_sharers_and_nobodys_afterwards() -> None:
    """A fault of the program is told to all who waited for it."""
    entered, release = threading.Event(), threading.Event()
    told: list[str] = []

    def fail(_: float) -> None:
        entered.set()
        assert release.wait(30)
        raise RuntimeError("a fault")

    shared = Shared(fail)

    def ask() -> None:
        try:
            shared.result(20)
        except RuntimeError as error:
            told.append(str(error))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    threads[0].start()
    assert entered.wait(30)
    for thread in threads[1:]:
        thread.start()
    kernel.until(lambda: len(shared._running[20]._waiters) == 2)
    release.set()
    for thread in threads:
        thread.join(30)
    assert told == ["a fault"] * 3
    assert shared._running == {}


def test_a_forked_child_does_not_wait_for_its_parents_scrape() -> None:
    """Nobody in the child would ever end it."""
    entered, release = threading.Event(), threading.Event()
    holding = True

    def run(_: float) -> str:
        if holding:
            entered.set()
            assert release.wait(30)
        return "done"

    shared: Shared[str] = Shared(run)
    thread = threading.Thread(target=shared.result, args=(20,))
    thread.start()
    assert entered.wait(30)
    holding = False
    with taking_at_most(10):
        assert kernel.in_child(lambda: shared.result(20)) == "done"
    release.set()
    thread.join(30)


def test_every_thread_may_scrape_at_once() -> None:
    """Fifty of them, with real sockets, all get the same right numbers."""
    collector = TcpStatCollector()
    together = threading.Barrier(50)
    found: list[float] = []

    def scrape() -> None:
        together.wait(30)
        found.append(value(collector.collect(), SOCKETS, family="inet", state="listen"))

    with socket.create_server(("127.0.0.1", 0)):
        threads = [threading.Thread(target=scrape) for _ in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert found == [1.0] * 50


def test_a_watched_lock_is_told_and_not_counted() -> None:
    """It is a fault of the program, in whose thread it is raised."""
    collector = TcpStatCollector()
    with (
        nls.watch_lock(threading.Lock(), name="the table"),
        pytest.raises(nls.LockHeldError, match=r"TcpStatCollector\.collect"),
    ):
        collector.collect()
    assert values(collector.collect(), ERRORS) == {}
