"""A table that is followed by notifications: the rows that a listener believes in, by their keys.

The kernel's notifications and a dump are two accounts of one history, which overlap.  What is told
is always the difference to what was told before::

    a row of a key that is not known              Added
    another row of a key that is known            Changed
    the same row again, or a removal of nothing   a duplicate
    a removal of what is known                    Removed
    a dump                                        the difference of all of its rows to all known

Whatever was queued before a dump is told behind it, once more perhaps, until the queue is read to
its end: then the picture is the kernel's again.

May call ``protocol.generic`` and ``protocol.notices``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic

import attrs

from netlink_safe.protocol.notices import Added, Changed, Removed, Resynced
from netlink_safe.protocol.request import Row

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

    from netlink_safe.protocol.generic import RowsOf


@attrs.frozen(slots=True)
class Difference(Generic[Row]):
    """A dump beside what was known: what is to be told, and what is known once it is adopted."""

    items: list[Any]
    known: dict[Hashable, Row]


class KeyedPicture(Generic[Row]):
    """The rows under their keys."""

    def __init__(self, rows: RowsOf[Row]) -> None:
        self._rows = rows
        self._known: dict[Hashable, Row] = {}

    def __len__(self) -> int:
        return len(self._known)

    def news(self, command: int, row: Row) -> list[Any]:
        """Take a notification in; what of it is not known yet, often all, and sometimes nothing."""
        rows = self._rows
        if rows.concerns is not None and not rows.concerns(row):
            return []
        key = rows.key(row)
        known = self._known.get(key)
        if command in rows.removals:
            return [] if self._known.pop(key, None) is None else [Removed(key, known)]
        # What makes rows equal may be anybody's, and raise: nothing is changed before.
        is_same = known is not None and known == row
        self._known[key] = row
        if known is None:
            return [Added(key, row)]
        return [] if is_same else [Changed(key, row, known)]

    def compare(self, seen: Iterable[Row]) -> Difference[Row]:
        """What a dump comes to; nothing is changed by it, so that any thread may do it."""
        rows = self._rows
        now = {rows.key(row): row for row in seen if rows.concerns is None or rows.concerns(row)}
        before = dict(self._known)
        removed = [Removed(key, row) for key, row in before.items() if key not in now]
        added = [Added(key, row) for key, row in now.items() if key not in before]
        changed = [
            Changed(key, row, before[key])
            for key, row in now.items()
            if key in before and before[key] != row
        ]
        told = Resynced(added=len(added), removed=len(removed), changed=len(changed))
        return Difference([*removed, *changed, *added, told], now)

    def adopt(self, difference: Difference[Row]) -> None:
        """Know what a dump showed."""
        self._known = difference.known
