"""What a collection of TCP sockets comes to: the record, and the same as plain data.

May call ``families``, ``protocol`` and ``collectors.tcp_fold``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from netlink_safe.collectors.tcp_fold import AcceptQueues, Listener
    from netlink_safe.families.inet_diag import AddressFamily, TcpState
    from netlink_safe.protocol.statistics import SocketStatistics

#: Every socket looked at, or rare states only and the kernel's counters.
Method: TypeAlias = Literal["dump", "counters"]

#: The version of what ``TcpStats.as_dict`` gives; it grows when a key changes its meaning.
VERSION: Final = 1


@attrs.frozen(slots=True)
class TcpStats:
    """TCP sockets at one time, or as near to that as a walk of the kernel's table comes.

    ``states`` has a number for every state; a state that this library does not know stands there
    too, as ``STATE_n``, once there is such a socket.  ``families`` has the same by address family,
    for those that were asked for.
    ``receive_queue_bytes`` and ``transmit_queue_bytes`` leave listeners out, whose queues are
    connections: those are ``accept_queue_length`` and ``accept_queue_limit``, and ``fullest`` is
    the listener whose queue is the fullest, None where nobody listens.
    ``netns`` is what was given for the network namespace, as a text, None for one's own.
    ``taken_at`` is Unix time in seconds, at the start; ``elapsed_seconds`` how long it took.
    ``accept_queues`` has the accept queues of all listeners of a port, by port.
    With ``method`` ``"counters"`` all but these and ``states`` is None among the numbers.
    ``socket`` is what the netlink sockets have seen.
    """

    netns: str | None
    taken_at: float
    elapsed_seconds: float
    method: Method
    socket: SocketStatistics
    states: Mapping[TcpState, int]
    accept_queues: Mapping[int, AcceptQueues]
    families: Mapping[AddressFamily, Mapping[TcpState, int]] | None = None
    receive_queue_bytes: int | None = None
    transmit_queue_bytes: int | None = None
    accept_queue_length: int | None = None
    accept_queue_limit: int | None = None
    fullest: Listener | None = None

    def as_dict(self) -> dict[str, Any]:
        """The same as plain data, for JSON; names of states and families in small letters."""
        fullest = self.fullest
        accept_queue = None
        if self.accept_queue_length is not None:
            accept_queue = {
                "length": self.accept_queue_length,
                "limit": self.accept_queue_limit,
                "fullest": None if fullest is None else attrs.asdict(fullest),
            }
        families = None
        if self.families is not None:
            families = {str(family): named(counts) for family, counts in self.families.items()}
        return {
            "version": VERSION,
            "netns": self.netns,
            "taken_at": self.taken_at,
            "elapsed_seconds": self.elapsed_seconds,
            "method": self.method,
            "states": named(self.states),
            "families": families,
            "receive_queue_bytes": self.receive_queue_bytes,
            "transmit_queue_bytes": self.transmit_queue_bytes,
            "accept_queue": accept_queue,
            "socket": {
                "receive_buffer": self.socket.receive_buffer,
                "drops": self.socket.drops,
                "datagrams": self.socket.datagrams,
                "rejected": dict(self.socket.rejected),
                "attempts": self.socket.attempts,
            },
        }


def named(counts: Mapping[TcpState, int]) -> dict[str, int]:
    """Counts by the names of states, in small letters."""
    return {state.name.lower(): count for state, count in counts.items()}
