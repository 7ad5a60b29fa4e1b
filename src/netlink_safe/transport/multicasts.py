"""Multicasts as a source to listen to, behind which nothing can be looked up.

May call ``transport`` and ``protocol``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Sequence

    from netlink_safe.protocol.multicasts import MulticastReader, Multicasts
    from netlink_safe.protocol.trust import Roots
    from netlink_safe.transport.census import Kind
    from netlink_safe.transport.listening import ListeningSocket
    from netlink_safe.transport.namespace import Namespace
    from netlink_safe.transport.terms import Steps, Terms


class MulticastSource:
    """Some groups of one protocol."""

    kind: Kind = "notifications"
    takes: str | None = None

    def __init__(self, wanted: Multicasts) -> None:
        self.name: str = wanted.name
        self.why_no_look: str | None = wanted.why_no_look
        self._wanted = wanted

    def groups(self, _terms: Terms) -> Steps[Any, tuple[int, Sequence[int]]]:
        """The protocol, and the groups to join."""
        return self._wanted.protocol, self._wanted.groups
        yield []  # never reached: it makes this a generator

    def new_reader(self, _trusted: Roots, rejected: Counter[str]) -> MulticastReader:
        """The reader of what is heard."""
        return self._wanted.new_reader(rejected)

    def look(
        self,
        _sock: ListeningSocket,
        _namespace: Namespace,
        compare: Callable[[Any], Any],
        _terms: Terms,
    ) -> Steps[Any, Any]:
        """Look at nothing."""
        return compare(None)
        yield []  # never reached: it makes this a generator

    def close(self) -> None:
        """Nothing was taken."""
