"""Multicasts that stand for themselves: each tells of something that nothing else tells of later.

May call ``protocol``, ``wire`` and ``errors``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from netlink_safe.errors import DecodeError
from netlink_safe.protocol.notifications import reject_notification
from netlink_safe.wire.header import iterate_messages

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Sequence

    from netlink_safe.wire.datagram import Burst
    from netlink_safe.wire.header import Message


@attrs.frozen(slots=True, kw_only=True)
class Multicasts:
    """Some groups of one protocol, and what an item of theirs is.

    ``name`` is for people.  ``read`` makes an item of a message of a datagram, None of one that is
    none.  ``why_no_look`` says why what was lost cannot be looked up.
    """

    name: str
    protocol: int
    groups: tuple[int, ...]
    read: Callable[[bytes, Message], Any] = attrs.field(repr=False)
    why_no_look: str

    def new_reader(self, rejected: Counter[str]) -> MulticastReader:
        """A reader that counts there what it does not believe."""
        return MulticastReader(self.read, rejected)


class MulticastReader:
    """Reads multicasts of the kernel; there is no picture that they could change."""

    def __init__(self, read: Callable[[bytes, Message], Any], rejected: Counter[str]) -> None:
        self.duplicates = 0
        self.delivered: int = 0
        self.is_stale = False
        self.failure: Exception | None = None
        self._read = read
        self._rejected = rejected

    def read(self, bursts: Sequence[Burst]) -> list[Any]:
        """What of the datagrams is to be handed out."""
        items: list[Any] = []
        for sender, texts in bursts:
            if reason := reject_notification(sender):
                self._rejected[reason] += len(texts)
                continue
            for text in texts:
                try:
                    for message in iterate_messages(text):
                        item = self._read(text, message)
                        if item is None:
                            self._rejected["unknown"] += 1
                        else:
                            items.append(item)
                except DecodeError:
                    self._rejected["malformed"] += 1
        self.delivered += len(items)
        return items

    def begin(self, _look: None) -> None:
        """Nothing: there is no look."""

    def resync(self, _look: None) -> None:
        """Nothing, either."""

    def adopt(self, _telling: None, _is_beginning: bool) -> list[Any]:
        """No items."""
        return []
