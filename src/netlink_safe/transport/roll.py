"""A roll of objects that are alive, and what those that are gone have counted.

::

    enter     a weak reference to the object, and what it counts with, which outlives it
    it dies   its entry is put among those that have left: one call into C, in whichever thread
    fold      the counts of those that have left are added to the total, and they are forgotten

Nobody waits for a lock.  The total and the tokens of those whose counts are in it are replaced in
one assignment, and entries are removed only behind it; so who reads the total, the entries, and the
same total again has counted each object once, whoever folds meanwhile or was interrupted at it.

May call ``transport.forks``.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from itertools import count
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import attrs

from netlink_safe.transport.forks import tell_of_forks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Owner = TypeVar("Owner")
#: What an object counts with.
Counts = TypeVar("Counts")
Total = TypeVar("Total")

#: So many have left before anybody who enters folds them.
MANY: Final = 64

_tokens: Final = count()


class Entry(weakref.ref[Owner], Generic[Owner, Counts]):
    """A weak reference to an object, and what it counts with."""

    __slots__ = ("counts", "token")

    counts: Counts
    token: int


@attrs.frozen(slots=True)
class _Past(Generic[Total]):
    """What those have counted who are gone; ``tokens`` may still be on the roll, and are in it."""

    total: Total
    tokens: frozenset[int] = frozenset()


class Roll(Generic[Owner, Counts, Total]):
    """Who is there and who was, for any thread, in signal handlers and destructors too."""

    def __init__(self, nothing: Total, add: Callable[[Total, Iterable[Counts]], Total]) -> None:
        """``add`` makes a new total of one and of what more objects have counted."""
        self._nothing = nothing
        self._add = add
        self.forked()
        tell_of_forks(self)

    def forked(self) -> None:
        """Begin anew: what the parent has opened is no affair of its child's."""
        self._folding = threading.Lock()
        self._entries: dict[int, Entry[Owner, Counts]] = {}
        self._left: deque[Any] = deque()
        self._past = _Past(self._nothing)

    def enter(self, owner: Owner, counts: Counts) -> None:
        """Put an object on the roll; ``counts`` must not keep it alive."""
        entry: Entry[Owner, Counts] = Entry(owner, self._left.append)
        entry.counts = counts
        entry.token = next(_tokens)
        self._entries[entry.token] = entry
        if len(self._left) >= MANY:
            self._fold()

    def read(self) -> tuple[Total, list[Entry[Owner, Counts]]]:
        """What those have counted who are gone, and the entries of all others, at one moment."""
        self._fold()
        while True:
            past = self._past
            entries = list(self._entries.values())  # one call into C: others may enter meanwhile
            if past is self._past:
                return past.total, [each for each in entries if each.token not in past.tokens]

    def _fold(self) -> None:
        folding = self._folding
        if not self._left or not folding.acquire(blocking=False):
            return  # somebody does it, perhaps this very thread
        try:
            self._forget()  # what was left of a fold that was interrupted
            left = list(self._left)
            total = self._add(self._past.total, [entry.counts for entry in left])
            self._past = _Past(total, frozenset(entry.token for entry in left))
            self._forget()
        finally:
            folding.release()

    def _forget(self) -> None:
        """Take those off the roll whose counts are in the total."""
        past = self._past
        while self._left and self._left[0].token in past.tokens:
            self._entries.pop(self._left[0].token, None)
            self._left.popleft()
