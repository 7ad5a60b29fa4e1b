"""Counts that any thread may raise without a lock, and that are read all at one moment.

An iterator over a long range is such a count: its ``__next__`` raises it, and ``__length_hint__``
says how much of the range is left.  Either is a single call into C, during which the interpreter
runs neither another thread nor a signal's handler; so no raise is lost, and counts that are read
by one ``map`` are of one moment.  (Nothing is made in there that the garbage collector looks after,
either, which before Python 3.12 could run other code in between.)  In a free-threaded build, which
has no such calls, all that is not so.

May call nothing of the library.
"""

from __future__ import annotations

import sys
from itertools import islice
from operator import call, itemgetter
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Iterable, Iterator

T = TypeVar("T")

_taken_only: Final = itemgetter(0)

MOST: Final = sys.maxsize


class Count:
    """A count, at first 0; ``up()`` raises it."""

    __slots__ = ("iterator", "left", "up")

    def __init__(self) -> None:
        self.iterator: Iterator[int] = iter(range(MOST))
        self.up: Callable[[], int] = self.iterator.__next__
        self.left: Callable[[], int] = self.iterator.__length_hint__  # type: ignore[attr-defined]  # a range's has it


def read(counts: Iterable[Count]) -> list[int]:
    """What the counts are, at one moment."""
    return [MOST - left for left in list(map(call, [count.left for count in counts]))]


def read_with(queue: deque[Any], counts: Iterable[Count]) -> tuple[int, list[int]]:
    """How long a queue is, and what the counts are, at one moment."""
    readings = [queue.__len__, *(count.left for count in counts)]
    length, *left = list(map(call, readings))
    return length, [MOST - each for each in left]


def take_and_count(queue: deque[T], count: Count) -> T | None:
    """The first of a queue, counted as it is taken; None from an empty one, and nothing is counted.

    One call into C asks the queue and, if that gave something, raises the count.
    """
    try:
        taken, _ = next(zip(iter(queue.popleft, None), count.iterator, strict=False))
    except IndexError:
        return None
    return taken


def move(source: deque[T], target: deque[T]) -> None:
    """Put the first of a queue behind another; of an empty one, nothing.

    One call into C, so that it is in one of both at every moment.
    """
    try:
        target.extend(islice(iter(source.popleft, None), 1))
    except IndexError:
        return


def move_back(source: deque[T], target: deque[T]) -> None:
    """Put the first of a queue before all of another; else the same."""
    try:
        target.extendleft(islice(iter(source.popleft, None), 1))
    except IndexError:
        return


def move_and_count(source: deque[T], target: deque[T], count: Count) -> None:
    """Put the first of a queue behind another, counted as it is taken; else the same."""
    counted = zip(iter(source.popleft, None), count.iterator, strict=False)
    try:
        target.extend(map(_taken_only, islice(counted, 1)))
    except IndexError:
        return
