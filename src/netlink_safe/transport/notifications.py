"""A generic family as a source to listen to: its multicast groups, and a dump for looks.

The controller's own group is joined, too.  When the family goes and comes back it has another
number and other groups; these are joined then, and its table is dumped anew.  Between the question
for its groups and the joining of them nobody hears of that, so that it is looked for once more
behind the joining; and since a look must not bring back what somebody has just removed, it loads no
module.

May call ``transport``, ``protocol`` and ``errors``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from netlink_safe.errors import FamilyNotFound, KernelError, LocalProtocolError
from netlink_safe.transport import steps
from netlink_safe.transport.families import LoadedFamilies, policy_for
from netlink_safe.transport.workers import offload
from netlink_safe.wire.constants import NETLINK_GENERIC

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Sequence

    from netlink_safe.protocol.generic import GenericRequest, Resolved
    from netlink_safe.protocol.notifications import FollowedFamily, NotificationReader
    from netlink_safe.protocol.trust import Roots
    from netlink_safe.transport.census import Kind
    from netlink_safe.transport.families import Families
    from netlink_safe.transport.listening import ListeningSocket
    from netlink_safe.transport.namespace import Namespace
    from netlink_safe.transport.terms import Steps, Terms


class Notifications:
    """Some groups of one family, and perhaps its table."""

    kind: Kind = "notifications"

    def __init__(self, families: Families, wanted: FollowedFamily) -> None:
        has_table = wanted.snapshot is not None
        self.name: str = f"notifications of {wanted.family}"
        self.takes: str | None = "a snapshot" if has_table else "the family"
        self.why_no_look = None if has_table else "no snapshot was asked for"
        self._families = families
        self._loaded = LoadedFamilies(families.pool, families.controller)
        self._wanted = wanted
        self._has_seen_table = False
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
        reader, snapshot = self._reader, self._wanted.snapshot
        try:
            if (ground := self._wanted.ground) is not None:
                reader.ground = yield from self._loaded.find_anew(ground.family, terms)
                for number in reader.ground.groups.values():
                    sock.join(number)
            family = yield from self._loaded.find_anew(self._wanted.family, terms)
            for number in self._numbers(family):  # a family that goes takes its listeners from them
                sock.join(number)
            reader.family = family
            if snapshot is None:
                return compare(None)
            seen = yield from self._dumped(family, snapshot, terms)
        except FamilyNotFound:
            reader.family = None
            return compare(None)
        return compare(seen)

    def _dumped(
        self, family: Resolved, snapshot: GenericRequest[Any], terms: Terms
    ) -> Steps[Any, list[Any]]:
        """The table; an empty one once it is gone, and an error where it has never been there."""
        policy = yield from policy_for(self._loaded, family, snapshot, terms, True)
        self._reader.policy = policy
        bound = snapshot.bound(family, policy, True)
        ground = self._wanted.ground
        try:
            seen = yield from steps.whole(self._loaded.pool, bound, terms)
        except KernelError as error:
            if not self._has_seen_table or ground is None or error.errno != ground.is_gone:
                raise
            return []
        self._has_seen_table = True
        return seen

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
