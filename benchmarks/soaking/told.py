"""What a listener was told, put together; a contradiction in it is an AssertionError.

May call ``netlink_safe`` and the tests' ``uevents``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import netlink_safe as nls

if TYPE_CHECKING:
    from uevents import Belief

#: What a storm numbers its events by, and the origins of what was heard and not looked up.
SERIAL: Final = "SYNTH_ARG_SERIAL"
HEARD: Final = frozenset({nls.Origin.KERNEL, nls.Origin.INJECTED})


class Told:
    """What a listener was told: items, drops, and whether its picture, if any, is whole."""

    is_pictured = False

    def __init__(self) -> None:
        self.items = 0
        self.drops = 0
        self.overruns = 0
        self.is_whole = True

    def take(self, item: Any) -> None:
        """One more."""
        if isinstance(item, nls.Overrun):
            self.drops += item.drops
            self.overruns += 1
            self.is_whole = not self.is_pictured
        elif isinstance(item, nls.Resynced):
            self.is_whole = True
        else:
            self.items += 1
            self.news(item)

    def news(self, item: Any) -> None:
        """One that is neither of a loss nor of a look."""


class Events(Told):
    """Events by number: each once, in order, and those that were heard and not looked up."""

    is_pictured = True

    def __init__(self, belief: Belief | None) -> None:
        super().__init__()
        self.heard = 0
        self._belief = belief
        self._last = 0

    def take(self, item: Any) -> None:
        super().take(item)
        if self._belief is not None and (
            not isinstance(item, nls.Uevent) or item.origin is not nls.Origin.INJECTED
        ):
            self._belief.take(item)

    def news(self, item: Any) -> None:
        self.heard += item.origin in HEARD
        if (serial := item.properties.get(SERIAL)) is not None:
            number = int(serial)
            assert number > self._last, f"{number} behind {self._last}"
            self._last = number


class Rows(Told):
    """A table, by what was told of it."""

    is_pictured = True

    def __init__(self) -> None:
        super().__init__()
        self.is_whole = False
        self.rows: dict[Any, Any] = {}

    def news(self, item: Any) -> None:
        match item:
            case nls.Added(key=key, row=row):
                assert key not in self.rows, f"{item} was told before"
                self.rows[key] = row
            case nls.Changed(key=key, row=row):
                assert key in self.rows, f"{item} is of nothing that was told of"
                self.rows[key] = row
            case nls.Removed(key=key):
                del self.rows[key]
