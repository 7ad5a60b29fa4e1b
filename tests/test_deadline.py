"""Time that only counts inside the library."""

from __future__ import annotations

import math
from typing import Any

import pytest

from netlink_safe.errors import LocalProtocolError
from netlink_safe.protocol.deadline import Deadline, given_up_at

pytestmark = pytest.mark.anywhere


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_paused_deadline_stands_still() -> None:
    """The consumer's time is not the library's."""
    clock = Clock()
    deadline = Deadline(5, clock)
    clock.now += 2
    deadline.pause()
    clock.now += 100
    assert deadline.remaining() == 3
    deadline.resume()
    clock.now += 1
    assert deadline.remaining() == 2
    assert deadline.spent() == 3
    clock.now += 100
    assert deadline.remaining() == 0


def test_pausing_and_resuming_twice_counts_once() -> None:
    """Neither is out of place when it changes nothing."""
    clock = Clock()
    deadline = Deadline(5, clock)
    deadline.resume()
    clock.now += 1
    deadline.pause()
    deadline.pause()
    clock.now += 1
    assert deadline.spent() == 1


@pytest.mark.parametrize(
    "nonsense", [None, "5", True, 0, -1, -0.0, math.nan, -math.inf, 5j, [5]], ids=repr
)
def test_a_nonsense_timeout_is_refused_with_the_way_to_wait_for_ever(nonsense: Any) -> None:
    """None is no timeout here: only an explicit math.inf waits for ever."""
    with pytest.raises(LocalProtocolError, match=r"math\.inf"):
        Deadline(nonsense)


def test_for_ever_is_for_ever() -> None:
    """Infinity stays infinite, and its first attempt is its only one."""
    deadline = Deadline(math.inf)
    assert deadline.remaining() == math.inf
    assert given_up_at(math.inf) == 0


def test_a_silent_attempt_may_have_half_of_what_is_left() -> None:
    """Of 4 seconds, 2 are kept for another attempt."""
    assert given_up_at(4.0) == 2.0
