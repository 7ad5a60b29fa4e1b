"""Devices as a source to listen to: their multicast group, and sysfs for looks.

May call ``transport``, ``protocol`` and ``errors``.
"""

from __future__ import annotations

import errno
from functools import partial
from typing import TYPE_CHECKING, Any

from netlink_safe.transport.steps import call
from netlink_safe.transport.sysfs import look
from netlink_safe.transport.workers import offload

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Sequence

    from netlink_safe.protocol.subscription import SightedReader, Subscription
    from netlink_safe.protocol.trust import Roots
    from netlink_safe.transport.census import Kind
    from netlink_safe.transport.listening import ListeningSocket
    from netlink_safe.transport.namespace import Namespace
    from netlink_safe.transport.terms import Steps, Terms


class Sightings:
    """One subscription; ``is_foreign`` says that its namespace may not be the one that /sys has."""

    kind: Kind = "uevents"

    def __init__(self, subscription: Subscription, is_foreign: bool) -> None:
        self.name: str = subscription.name
        self.why_no_look: str | None = None
        self.takes = "coldplug takes sysfs" if subscription.begins_with_look else None
        self._subscription = subscription
        self._is_foreign = is_foreign
        self._is_looking = False
        self._reader: SightedReader

    def groups(self, _terms: Terms) -> Steps[Any, tuple[int, Sequence[int]]]:
        """The protocol and group of devices."""
        return self._subscription.protocol, [self._subscription.group]
        yield []  # never reached: it makes this a generator

    def new_reader(self, trusted: Roots, rejected: Counter[str]) -> SightedReader:
        """The reader of events and of looks at sysfs."""
        self._reader = self._subscription.new_reader(trusted, rejected)
        return self._reader

    def look(
        self,
        _sock: ListeningSocket,
        namespace: Namespace,
        compare: Callable[[Any], Any],
        terms: Terms,
    ) -> Steps[Any, Any]:
        """Look, and compare, in a worker: of ten thousand devices either takes its time."""
        reader, by_udev = self._reader, self._subscription.by_udev

        def looking() -> Any:
            self._is_looking = True
            try:
                return compare(look(reader.subsystems, reader.known, self._is_foreign, by_udev))
            finally:
                self._is_looking = False

        if self._is_looking:  # one that was given up: more of them would take all the workers
            raise OSError(errno.EBUSY, "the last look at sysfs is still held up in the kernel")
        return (yield from offload(call(partial(namespace.run, looking)), terms))

    def close(self) -> None:
        """Nothing is kept between two looks."""
