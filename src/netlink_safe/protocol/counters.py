"""Counts that any thread may raise without a lock, and that are read all at one moment.

An iterator over a long range is such a count: ``next()`` raises it, and ``length_hint`` says how
much of the range is left.  Either is a single call into C, during which the interpreter runs
neither another thread nor a signal's handler; so no raise is lost, and counts that are read by one
``map`` are of one moment.  In a free-threaded build, which has no such calls, that is not so.

May call nothing of the library.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from operator import length_hint
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections import deque

T = TypeVar("T")

MOST: Final = sys.maxsize

#: What ``next()`` raises by one.
Count: TypeAlias = Iterator[int]


def new_count() -> Count:
    """A count of 0."""
    return iter(range(MOST))


def read(counts: Sequence[Count]) -> list[int]:
    """What the counts are, at one moment."""
    return [MOST - left for left in list(map(length_hint, counts))]


def read_with(queue: deque[Any], counts: Sequence[Count]) -> tuple[int, list[int]]:
    """How long a queue is, and what the counts are, at one moment."""
    length, *left = list(map(length_hint, [queue, *counts]))
    return length, [MOST - each for each in left]


def take_and_count(queue: deque[T], count: Count) -> T | None:
    """The first of a queue, counted as it is taken; None from an empty one, and nothing is counted.

    One call into C asks the queue and, if that gave something, raises the count.
    """
    try:
        taken, _ = next(zip(iter(queue.popleft, None), count, strict=False))
    except IndexError:
        return None
    return taken
