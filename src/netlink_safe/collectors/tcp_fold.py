"""Rows of TCP sockets made into counts, a stretch at a time, without keeping one.

The loop of StateFold is where a collector spends its time: a row costs one unpack of what is
needed, one look-up of its stride and one count.

May call ``families``, ``wire`` and ``errors``.
"""

from __future__ import annotations

import struct
from collections import Counter
from functools import cache
from typing import TYPE_CHECKING, Final

import attrs

from netlink_safe.families.inet_diag import TcpState, Timer
from netlink_safe.families.inet_reader import check_stretch
from netlink_safe.families.inet_rows import TcpSocket
from netlink_safe.families.inet_socket import STATE_OFFSET
from netlink_safe.wire.header import HEADER, row_offsets

if TYPE_CHECKING:
    from netlink_safe.families.inet_diag import AddressFamily
    from netlink_safe.wire.header import Strides

#: Header, address family and state as one number, the two queues as one, zero for most sockets.
_FIELDS: Final = struct.Struct("=16sH54xQ")
_KIND: Final = struct.Struct("=H")
_FAMILY_AND_STATE: Final = struct.Struct("=BB")
_QUEUES: Final = struct.Struct("=Q")
_QUEUE: Final = struct.Struct("=II")
_PORT: Final = struct.Struct("!H")
_PORT_OFFSET: Final = HEADER.size + 4
_QUEUE_OFFSET: Final = HEADER.size + 56
_TIMER_OFFSET: Final = STATE_OFFSET + 1
_LISTEN: Final = int(TcpState.LISTEN)
_TIME_WAIT_TIMER: Final = int(Timer.TIME_WAIT)


@attrs.frozen(slots=True)
class Listener:
    """A listener, by its address as text and its port, and its accept queue.

    ``length`` is how many connections wait, ``limit`` how many may.
    """

    address: str
    port: int
    length: int
    limit: int

    @property
    def fill(self) -> tuple[float, int]:
        """How full the queue is; among equally full ones the longer is the fuller."""
        return fill_of(self.length, self.limit), self.length


@attrs.frozen(slots=True)
class AcceptQueues:
    """All listeners of a port: connections that wait, how many may, and the fullest one's fill.

    ``fill`` is its length by its limit.  The kernel lets a queue grow to one more than its limit
    (``include/net/sock.h``: sk_acceptq_is_full), so that a full one has more than 1.
    """

    length: int = 0
    limit: int = 0
    fill: float = 0.0

    def __add__(self, other: AcceptQueues) -> AcceptQueues:
        return AcceptQueues(
            self.length + other.length, self.limit + other.limit, max(self.fill, other.fill)
        )


def fill_of(length: int, limit: int) -> float:
    """How full a queue is: above 1 is full, where one connection may wait by a limit of 0, too."""
    return length / limit if limit else 2.0 * length


#: How many numbers a family and a state make: those below 16, and all.
_USUAL: Final = 0x1000
_POSSIBLE: Final = 0x10000

_NO_QUEUES: Final = AcceptQueues()


@cache
def _kinds(family: AddressFamily) -> list[int]:
    """Family and state as one number, for every state there can be."""
    return [_KIND.unpack(_FAMILY_AND_STATE.pack(family, state))[0] for state in range(256)]


class StateFold:
    """Counts by family and state, and the bytes queued, of sockets that do not listen."""

    def __init__(self) -> None:
        # By family and state as one number: a list counts in half the time of a dict.  It begins
        # with room for all that there are, and not for all that there can be, which is half a MiB
        # to be made and given back each time.
        self._counts = [0] * _USUAL
        self.receive_queue_bytes: int = 0
        self.transmit_queue_bytes: int = 0

    def read(self, data: bytes, offset: int, strides: Strides, /) -> int:
        """Take a stretch of rows; return the offset of the first message that is none."""
        first = offset
        end = len(data)
        last = end - _FIELDS.size
        unpack = _FIELDS.unpack_from
        counts = self._counts
        known = strides.known
        while offset <= last:
            header, kind, queues = unpack(data, offset)
            try:
                stride = known[header]
            except KeyError:
                if not (stride := strides.judge(header)):
                    break
            try:
                counts[kind] += 1
            except IndexError:
                counts += [0] * (_POSSIBLE - len(counts))
                counts[kind] += 1
            if queues:
                receive, transmit = _QUEUE.unpack(_QUEUES.pack(queues))
                self.receive_queue_bytes += receive
                self.transmit_queue_bytes += transmit
            offset += stride
        if offset > end:
            check_stretch(data, first, strides)
        return offset

    @property
    def rows(self) -> int:
        """How many sockets were counted."""
        return sum(self._counts)

    def counts(self, family: AddressFamily) -> Counter[int]:
        """How many sockets of a family are in each state, by its number."""
        return Counter(
            {
                state: count
                for state, kind in enumerate(_kinds(family))
                if kind < len(self._counts) and (count := self._counts[kind])
            }
        )


class ListenFold:
    """Listeners by family, and their accept queues by port.

    A LISTEN row's two queue numbers are connections, not bytes
    (``net/ipv4/tcp_diag.c``: tcp_diag_get_info).
    """

    def __init__(self) -> None:
        self._families: Counter[int] = Counter()
        self._queues: dict[int, AcceptQueues] = {}
        self._fullest: TcpSocket | None = None
        self._fullest_fill = (-1.0, 0)

    @property
    def rows(self) -> int:
        """How many listeners were counted."""
        return self._families.total()

    @property
    def accept_queues(self) -> dict[int, AcceptQueues]:
        """By port, in ascending order."""
        return dict(sorted(self._queues.items()))

    @property
    def fullest(self) -> Listener | None:
        """The listener whose queue is the fullest; None where nobody listens."""
        if (row := self._fullest) is None:
            return None
        source = row.source
        return Listener(source.address, source.port, row.receive_queue, row.transmit_queue)

    def counts(self, family: AddressFamily) -> Counter[int]:
        """How many sockets of a family listen, by the number of that state."""
        return +Counter({_LISTEN: self._families[family]})

    def read(self, data: bytes, offset: int, strides: Strides, /) -> int:
        """Take a stretch of rows; return the offset of the first message that is none."""
        starts, end = row_offsets(data, offset, strides)
        for start in starts:
            (port,) = _PORT.unpack_from(data, start + _PORT_OFFSET)
            length, limit = _QUEUE.unpack_from(data, start + _QUEUE_OFFSET)
            self._families[data[start + HEADER.size]] += 1
            fill = fill_of(length, limit)
            queues = AcceptQueues(length, limit, fill)
            self._queues[port] = self._queues.get(port, _NO_QUEUES) + queues
            if (fill, length) > self._fullest_fill:
                self._fullest_fill = fill, length
                self._fullest = TcpSocket(data, start).detach()
        return end


class RareFold:
    """Counts by state of what is rare, and how many of them are no longer sockets at all.

    A socket closed in FIN_WAIT2 leaves a small remainder that the kernel keeps among those of
    TIME_WAIT, and counts there in ``tw`` of /proc/net/sockstat, but reports as FIN_WAIT2
    (``net/ipv4/tcp_minisocks.c``: tcp_time_wait; ``net/ipv4/tcp_diag.c`` reports tw_substate).
    Its timer says so.
    """

    def __init__(self) -> None:
        self._counts = [0] * 256
        self.remainders: int = 0

    @property
    def rows(self) -> int:
        """How many sockets were counted."""
        return sum(self._counts)

    @property
    def counts(self) -> Counter[int]:
        """How many sockets are in each state, by its number."""
        return +Counter(dict(enumerate(self._counts)))

    def read(self, data: bytes, offset: int, strides: Strides, /) -> int:
        """Take a stretch of rows; return the offset of the first message that is none."""
        starts, end = row_offsets(data, offset, strides)
        counts = self._counts
        for start in starts:
            counts[data[start + STATE_OFFSET]] += 1
            if data[start + _TIMER_OFFSET] == _TIME_WAIT_TIMER:
                self.remainders += 1
        return end
