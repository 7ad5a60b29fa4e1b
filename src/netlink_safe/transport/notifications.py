"""A generic family as a source to listen to: its multicast groups, and a dump for looks.

The controller's own group is joined, too.  When the family goes and comes back it has another
number and other groups; these are joined then, and its table is dumped anew.

May call ``transport``, ``protocol`` and ``errors``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from netlink_safe.errors import FamilyNotFound, LocalProtocolError
from netlink_safe.transport import steps
from netlink_safe.transport.families import policy_for
from netlink_safe.transport.workers import offload
from netlink_safe.wire.constants import NETLINK_GENERIC

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Sequence

    from netlink_safe.protocol.generic import Resolved
    from netlink_safe.protocol.notifications import FollowedFamily, NotificationReader
    from netlink_safe.protocol.trust import Roots
    from netlink_safe.transport.families import Families
    from netlink_safe.transport.listening import ListeningSocket
    from netlink_safe.transport.namespace import Namespace
    from netlink_safe.transport.terms import Steps, Terms


class Notifications:
    """Some groups of one family, and perhaps its table."""

    def __init__(self, families: Families, wanted: FollowedFamily) -> None:
        has_table = wanted.snapshot is not None
        self.name = f"notifications of {wanted.family}"
        self.takes = "a snapshot" if has_table else None
        self.why_no_look = None if has_table else "no snapshot was asked for"
        self._families = families
        self._wanted = wanted
        self._found: Resolved
        self._reader: NotificationReader

    def groups(self, terms: Terms) -> Steps[Any, tuple[int, Sequence[int]]]:
        """Find the family.  Raises FamilyNotFound, LocalProtocolError for groups it has not."""
        self._found = yield from offload(
            self._families.find_anew(self._wanted.family, terms), terms
        )
        return NETLINK_GENERIC, [self._wanted.controller_group, *self._numbers(self._found)]

    def new_reader(self, _trusted: Roots, rejected: Counter[str]) -> NotificationReader:
        """The reader of notifications and dumps."""
        self._reader = self._wanted.new_reader(self._found, rejected)
        return self._reader

    def look(
        self,
        sock: ListeningSocket,
        _namespace: Namespace,
        compare: Callable[[Any], Any],
        terms: Terms,
    ) -> Steps[Any, Any]:
        """Dump the table, behind joining groups that are new; a family that is gone has no rows."""
        return (yield from offload(self._seen(sock, compare, terms), terms))

    def close(self) -> None:
        """Close the sockets that dumped."""
        self._families.pool.close()

    def _seen(
        self, sock: ListeningSocket, compare: Callable[[Any], Any], terms: Terms
    ) -> Steps[Any, Any]:
        try:
            family = yield from self._families.find_anew(self._wanted.family, terms)
        except FamilyNotFound:
            self._reader.family = None
            return compare(None)
        for number in self._numbers(family):  # a family that goes takes its listeners from them
            sock.join(number)
        self._reader.family = family
        snapshot = self._wanted.snapshot
        if snapshot is None:
            return compare(None)
        policy = yield from policy_for(self._families, family, snapshot, terms, True)
        self._reader.policy = policy
        bound = snapshot.bound(family, policy, True)
        return compare((yield from steps.whole(self._families.pool, bound, terms)))

    def _numbers(self, family: Resolved) -> list[int]:
        if not family.groups:
            raise LocalProtocolError(f"{family.name} has no multicast groups, and so tells nothing")
        names = family.groups if self._wanted.groups is None else self._wanted.groups
        for name in names:
            if name not in family.groups:
                known = ", ".join(sorted(family.groups)) or "none"
                raise LocalProtocolError(
                    f"{family.name} has no multicast group {name!r}; it has: {known}"
                )
        return [family.groups[name] for name in names]
