"""Seconds: which are taken, how they are counted, and how long to pause."""

from __future__ import annotations

import math
from typing import Any

import pytest

from netlink_safe.errors import LocalProtocolError
from netlink_safe.protocol.deadline import Deadline, checked_timeout, given_up_at
from netlink_safe.protocol.pauses import FIRST, LONGEST, Pauses

pytestmark = pytest.mark.anywhere


@pytest.mark.parametrize("timeout", [0.001, 1, 1.0, 3600, math.inf, 5e-324])
def test_any_number_above_0_is_a_timeout(timeout: float) -> None:
    """And is a float from then on."""
    checked = checked_timeout(timeout)
    assert checked == timeout
    assert type(checked) is float


@pytest.mark.parametrize(
    ("timeout", "words"),
    [
        (None, "timeout=None is no number of seconds; to wait for ever, say math.inf"),
        (True, "timeout=True is no number of seconds; to wait for ever, say math.inf"),
        ("1", "timeout='1' is no number of seconds; to wait for ever, say math.inf"),
        (0, "timeout=0 must be above 0 seconds; to wait for ever, say math.inf"),
        (-1.5, "timeout=-1.5 must be above 0 seconds; to wait for ever, say math.inf"),
        (math.nan, "timeout=nan must be above 0 seconds; to wait for ever, say math.inf"),
        (10**400, "timeout is too large a number; say math.inf"),
    ],
)
def test_everything_else_is_refused_in_these_words(timeout: Any, words: str) -> None:
    """By the name of the parameter."""
    with pytest.raises(LocalProtocolError) as error:
        checked_timeout(timeout)
    assert str(error.value) == words
    with pytest.raises(LocalProtocolError) as error:
        checked_timeout(timeout, "idle_timeout")
    assert str(error.value) == words.replace("timeout", "idle_timeout", 1)


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_time_is_counted_from_the_start_and_each_stretch_is_added() -> None:
    """What is left is never less than nothing."""
    clock = Clock()
    deadline = Deadline(5, clock)
    deadline.resume()
    assert (deadline.timeout, deadline.spent(), deadline.remaining()) == (5.0, 0.0, 5.0)
    for spent in (2, 4):
        clock.now += 2
        deadline.pause()
        clock.now += 50
        assert deadline.spent() == spent
        deadline.resume()
    clock.now += 0.5
    assert (deadline.spent(), deadline.remaining()) == (4.5, 0.5)
    clock.now += 1
    assert (deadline.spent(), deadline.remaining()) == (5.5, 0.0)


def test_a_part_has_spent_what_was_spent_and_goes_on_by_itself() -> None:
    """Neither clock stops the other's, and both have the same limit."""
    clock = Clock()
    whole = Deadline(5, clock)
    clock.now += 1
    whole.pause()
    part = whole.part()
    clock.now += 2
    assert (whole.spent(), part.spent(), part.timeout) == (1.0, 3.0, 5.0)
    part.pause()
    whole.resume()
    clock.now += 1
    assert (whole.spent(), part.spent()) == (2.0, 3.0)


@pytest.mark.parametrize(("left", "half"), [(4.0, 2.0), (0.0, 0.0), (math.inf, 0.0)])
def test_half_of_what_is_left_is_kept(left: float, half: float) -> None:
    """Of for ever there is no half."""
    assert given_up_at(left) == half


def test_pauses_double_up_to_the_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is shortened by at most a half."""
    shares: list[tuple[float, float]] = []

    def shortened(least: float, most: float) -> float:
        shares.append((least, most))
        return 0.75

    monkeypatch.setattr("netlink_safe.protocol.pauses.random.uniform", shortened)
    pauses = Pauses()
    taken = [pauses.take() for _ in range(9)]
    assert taken == [0.75 * pause for pause in (*(FIRST * 2**n for n in range(7)), *[LONGEST] * 2)]
    assert set(shares) == {(0.5, 1.0)}
    assert (FIRST, LONGEST) == (0.001, 0.1)
