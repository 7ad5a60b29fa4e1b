"""Counts, and the moves that count; tallies, and how they are added."""

from __future__ import annotations

import sys
from collections import Counter, deque

import pytest

from netlink_safe.protocol import counters
from netlink_safe.protocol.counters import (
    Count,
    move,
    move_and_count,
    move_back,
    read,
    read_with,
    take_and_count,
)
from netlink_safe.protocol.statistics import NUMBERS, Tally

pytestmark = pytest.mark.anywhere


def raised(times: int) -> Count:
    count = Count()
    for _ in range(times):
        count.up()
    return count


def test_counts_begin_at_0_and_are_read_together() -> None:
    """Alone, and beside the length of a queue."""
    counts = [raised(0), raised(2), raised(5)]
    assert read(counts) == [0, 2, 5]
    assert read([]) == []
    assert read_with(deque("abc"), counts) == (3, [0, 2, 5])
    assert read_with(deque(), iter(counts)) == (0, [0, 2, 5])
    assert sys.maxsize == counters.MOST


def test_what_is_taken_is_counted() -> None:
    """The first of the queue; from an empty one nothing is, and None is what one gets."""
    queue, count = deque("ab"), raised(0)
    assert take_and_count(queue, count) == "a"
    assert (list(queue), read([count])) == (["b"], [1])
    assert take_and_count(queue, count) == "b"
    assert take_and_count(queue, count) is None
    assert read([count]) == [2]


def test_the_first_of_a_queue_is_put_behind_another() -> None:
    """One at a time; of an empty queue nothing is."""
    source, target = deque("ab"), deque("x")
    move(source, target)
    assert (list(source), list(target)) == (["b"], ["x", "a"])
    move(source, target)
    move(source, target)
    assert (list(source), list(target)) == ([], ["x", "a", "b"])


def test_the_first_of_a_queue_is_put_before_all_of_another() -> None:
    """One at a time; of an empty queue nothing is."""
    source, target = deque("ab"), deque("x")
    move_back(source, target)
    assert (list(source), list(target)) == (["b"], ["a", "x"])
    move_back(source, target)
    move_back(source, target)
    assert (list(source), list(target)) == ([], ["b", "a", "x"])


def test_what_is_moved_can_be_counted_as_it_is() -> None:
    """One at a time; of an empty queue nothing is moved, nor counted."""
    source, target, count = deque("ab"), deque("x"), raised(3)
    move_and_count(source, target, count)
    assert (list(source), list(target), read([count])) == (["b"], ["x", "a"], [4])
    move_and_count(source, target, count)
    move_and_count(source, target, count)
    assert (list(source), list(target), read([count])) == ([], ["x", "a", "b"], [5])


def test_a_tally_takes_all_that_another_has_counted() -> None:
    """Number by number and reason by reason, and the other one stays as it is."""
    assert NUMBERS == (
        "datagrams", "attempts", "retries", "timeouts", "overruns", "resyncs", "interrupted",
        "drops",
    )  # fmt: skip
    total = Tally(1, 2, 3, 4, 5, 6, 7, 0, Counter(sequence=1, port_id=2))
    other = Tally(10, 20, 30, 40, 50, 60, 0, 80, Counter(sequence=5, truncated=3))
    total.take(other)
    assert total == Tally(
        11, 22, 33, 44, 55, 66, 7, 80, Counter(sequence=6, port_id=2, truncated=3)
    )
    assert other.rejected == {"sequence": 5, "truncated": 3}
    before = Tally(rejected=Counter(total.rejected))
    before.take(Tally())
    assert before == Tally(rejected=Counter(total.rejected))
