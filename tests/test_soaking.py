"""What the soak holds a run against can find something: each of its accounts, wrong once."""

from __future__ import annotations

import random
import socket
import threading
import time
from typing import TYPE_CHECKING

import attrs
import pytest

import kernel
from netlink_safe import NetlinkTimeout, testing
from netlink_safe.protocol.figures import OutboxStatistics
from netlink_safe.testing.filters import attach
from netlink_safe.wire.constants import NLMSG_DONE, NLMSG_ERROR
from netlink_safe.wire.header import build_message
from soaking import leaks, metronome, posting
from soaking.accounts import Ledger
from soaking.faults import STALLED, Weather, replies
from soaking.stage import Stage

if TYPE_CHECKING:
    from pathlib import Path

USERSOCK = 2


class World:
    """A world with a fault, or without."""

    def __init__(self, *faults: str) -> None:
        self._faults = list(faults)

    def during(self, _began: float, _ended: float) -> list[str]:
        return self._faults

    def excuse(self, error: BaseException, _began: float, _ended: float) -> bool:
        return bool(self._faults) and isinstance(error, NetlinkTimeout)


@pytest.fixture
def ledger() -> Ledger:
    """One of a world without faults, and without a grace."""
    return Ledger(World(), 0)


def test_a_call_that_ends_late_is_a_failure(ledger: Ledger) -> None:
    """With what was late, by how much, and how it ended."""
    with ledger.call("trio", "dump", 0):
        time.sleep(0.01)
    with ledger.call("trio", "dump", 60):
        pass
    [failure] = ledger.failures
    assert failure.startswith("trio dump: done after 0.01")
    verb = ledger.verbs()["trio", "dump"]
    assert (verb.calls, verb.outcomes) == (2, {"done": 2})
    assert verb.worst >= 0.01


def test_a_call_that_is_late_with_the_machine_is_counted_apart() -> None:
    """It says nothing of the library, and is not the worst of its verb."""
    stalled = Ledger(World(STALLED), 0)
    with stalled.call("trio", "dump", 0):
        time.sleep(0.01)
    assert stalled.failed == 0
    assert stalled.counts == {"calls late with the machine": 1}
    assert stalled.verbs()["trio", "dump"].worst == 0


def test_a_machine_that_stalls_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here it is late by nothing at all, so that each beat is told."""
    monkeypatch.setattr(metronome, "PROGRAM", metronome.PROGRAM.replace(" > 0.305", " > 0"))
    weather = Weather(random.Random(1))
    with metronome.ticking(weather):
        kernel.until(lambda: weather.begun[STALLED] >= 2, 30)
        assert weather.during(0, time.monotonic())[:2] == [STALLED, STALLED]


def test_an_error_is_a_failure_unless_it_is_allowed_or_a_fault_excuses_it(ledger: Ledger) -> None:
    """The call ends there in any case, and its outcome is counted."""
    foul = Ledger(World("deaf"), 0)
    for where, excused in ((ledger, False), (foul, True)):
        with where.call("trio", "dump", 60) as call:
            raise NetlinkTimeout("a dump", 1)
        assert call.outcome == "NetlinkTimeout"
        assert where.failed == (not excused)
    with foul.call("trio", "dump", 60):
        raise ValueError
    with foul.call("trio", "dump", 60, ValueError):
        raise ValueError
    assert foul.failed == 1
    assert "faults meanwhile: deaf" in foul.failures[0]


STATISTICS = OutboxStatistics(
    capacity=8,
    posted=4,
    sent=2,
    dropped={"oldest": 1, "newest": 0},
    undelivered=1,
    undelivered_because={"closed": 1},
    held=0,
    refused=0,
    oldest_age=None,
    full_peers=(),
)
STORY = posting.Story(posted=[0, 1, 2, 3], received=[0], queued=[1], undelivered=[2])


@pytest.mark.parametrize(
    ("story", "failures"),
    [
        (STORY, 0),
        (attrs.evolve(STORY, received=[]), 2),  # sent, and nowhere
        (attrs.evolve(STORY, received=[0, 0], queued=[]), 2),  # received twice, and another lost
        (attrs.evolve(STORY, undelivered=[]), 2),  # given up, and not told
        (attrs.evolve(STORY, posted=[0, 1, 2]), 2),  # one that nobody posted
    ],
)
def test_a_message_without_an_end_is_a_failure(
    story: posting.Story, failures: int, tmp_path: Path
) -> None:
    """And so is one with two."""
    ledger = Ledger(World(), 0)
    stage = Stage(seed=1, round=1, directory=tmp_path, weather=None, ledger=ledger)  # type: ignore[arg-type]  # no account asks for it
    posting._account(stage, "trio", story, STATISTICS)
    assert ledger.failed == failures


def test_what_is_left_is_found() -> None:
    """A descriptor, a thread and a netlink socket, by name or by number; nothing where they go."""
    before = leaks.left()
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, USERSOCK) as sock:
        sock.bind((0, 0))
        beyond = leaks.left().beyond(before)
    over.set()
    thread.join()
    assert [each.partition(" ")[0].rstrip(":") for each in beyond] == [
        "descriptors",
        "threads",
        "netlink_sockets",
    ]
    kernel.until(lambda: leaks.left().beyond(before) == [])


def test_the_slope_is_of_the_nearest_line() -> None:
    """Points on a line have its slope, and noise that is even changes nothing."""
    assert leaks.slope([(x, 3 * x + 7) for x in range(10)]) == pytest.approx(3)
    assert leaks.slope([(0, 1), (0, 3), (2, 3), (2, 5)]) == pytest.approx(1)
    assert leaks.slope([(1, 5)]) == 0


@pytest.mark.parametrize("message_type", [None, NLMSG_DONE])
def test_a_filter_of_replies_lets_events_messages_and_multicasts_pass(
    message_type: int | None,
) -> None:
    """A listener would lose them without a count; only what answers somebody is dropped."""
    port_id = 77
    done = build_message(NLMSG_DONE, 2, 1, port_id, bytes(4))
    refused = build_message(NLMSG_ERROR, 0, 1, port_id, bytes(20))
    passing = [
        b"x",
        b"add@/devices/virtual/net/lo\0ACTION=add\0",
        build_message(NLMSG_DONE, 2, 1, 0, bytes(4)),
    ]
    dropped = [done]
    (dropped if message_type is None else passing).append(refused)
    with testing.slow_reader() as peer:
        attach(peer._socket, replies(message_type))
        for data in (*dropped, *passing):
            testing.spoof(peer.port_id, data, protocol=USERSOCK)
        heard = peer.read_all()
    assert sorted(heard) == sorted(passing)
