"""What the library has open in this process, and all that it has counted since it was loaded.

Every object enters itself when it is made.  What it has counted stays in the counts of its kind
when it is gone, closed or forgotten.

May call ``transport.roll``, ``protocol`` and ``wire``.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeAlias, get_args

import attrs

from netlink_safe.protocol.statistics import Tally
from netlink_safe.transport.roll import Roll
from netlink_safe.wire.constants import NETLINK_GENERIC, NETLINK_ROUTE, NETLINK_SOCK_DIAG

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from netlink_safe.protocol.backlog import Backlog
    from netlink_safe.protocol.figures import OutboxStatistics
    from netlink_safe.transport.pump import Pump
    from netlink_safe.transport.socket import Memory

#: What a socket is for: to ask by a protocol, to listen, or messages between processes.
Kind: TypeAlias = Literal[
    "sock_diag", "route", "generic", "uevents", "notifications", "user", "other"
]
#: The kinds of sockets that ask, by protocol; those of all other protocols are one.
ASKING: Final[dict[int, Kind]] = {
    NETLINK_SOCK_DIAG: "sock_diag",
    NETLINK_ROUTE: "route",
    NETLINK_GENERIC: "generic",
}
OTHER: Final = "other"


class Sockets(Protocol):
    """What opens kernel sockets, one or several."""

    def look(self) -> list[tuple[int, Memory]]:
        """Port ID and memory of each that is open; their drops are counted."""


@attrs.frozen(slots=True)
class OpenSocket:
    """One kernel socket: its effective receive buffer and what is queued, both in bytes."""

    kind: Kind
    port_id: int
    receive_buffer: int
    queued: int


@attrs.define(slots=True)
class OutboxTotals:
    """What became of the messages of all outboxes; see OutboxStatistics."""

    posted: int = 0
    sent: int = 0
    refused: int = 0
    dropped: Counter[str] = attrs.field(factory=Counter)
    undelivered: Counter[str] = attrs.field(factory=Counter)

    def take(self, one: OutboxStatistics) -> None:
        """Add what became of one outbox's."""
        self.posted += one.posted
        self.sent += one.sent
        self.refused += one.refused
        self.dropped.update(one.dropped)
        self.undelivered.update(one.undelivered_because)


@attrs.frozen(slots=True)
class Census:
    """The kernel sockets and outboxes that are open, and what all that ever were have counted."""

    sockets: Sequence[OpenSocket]
    tallies: Mapping[Kind, Tally]
    outboxes: Sequence[OutboxStatistics]
    outbox_totals: OutboxTotals


def _tally_of(total: Tally, tallies: Iterable[Tally]) -> Tally:
    added = Tally()
    for each in (total, *tallies):
        added.take(each)
    return added


def _totals_of(totals: OutboxTotals, backlogs: Iterable[Backlog]) -> OutboxTotals:
    """With those whose pump is gone, or never ran: what they hold nobody will ever send."""
    added = attrs.evolve(
        totals, dropped=Counter(totals.dropped), undelivered=Counter(totals.undelivered)
    )
    for backlog in backlogs:
        statistics = _statistics(backlog)
        added.take(statistics)
        added.undelivered["closed"] += statistics.held
    return added


def _statistics(backlog: Backlog) -> OutboxStatistics:
    return backlog.statistics(time.monotonic())


_sockets: Final[dict[Kind, Roll[Sockets, Tally, Tally]]] = {
    kind: Roll(Tally(), _tally_of) for kind in get_args(Kind)
}
#: Pumps, since they account for what is held when the outbox is gone.
_outboxes: Final[Roll[Pump, Backlog, OutboxTotals]] = Roll(OutboxTotals(), _totals_of)


def enter(kind: Kind, owner: Sockets, tally: Tally) -> None:
    """Enter what opens kernel sockets, before it opens any."""
    _sockets[kind].enter(owner, tally)


def enter_outbox(pump: Pump, backlog: Backlog) -> None:
    """Enter an outbox, before anything is posted."""
    _outboxes.enter(pump, backlog)


def census() -> Census:
    """What is so now, for any thread; never waits, and opens nothing.

    A socket that is closed meanwhile is left out.
    """
    sockets: list[OpenSocket] = []
    tallies: dict[Kind, Tally] = {}
    for kind, roll in _sockets.items():
        past, entries = roll.read()
        for owner in filter(None, (entry() for entry in entries)):
            for port_id, memory in owner.look():
                sockets.append(OpenSocket(kind, port_id, memory.receive_buffer, memory.queued))
        tally = _tally_of(past, [entry.counts for entry in entries])
        if kind != OTHER or entries or tally != Tally():
            tallies[kind] = tally
    past_totals, pumps = _outboxes.read()
    held = [(entry(), entry.counts) for entry in pumps]
    totals = _totals_of(past_totals, [backlog for pump, backlog in held if pump is None])
    outboxes: list[OutboxStatistics] = []
    for pump, backlog in held:
        if pump is not None:
            statistics = _statistics(backlog)
            totals.take(statistics)
            if not pump.is_over or statistics.held:
                outboxes.append(statistics)
    return Census(sockets, tallies, outboxes, totals)
