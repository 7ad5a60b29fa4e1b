"""Rows of TCP sockets made into counts by who has them, and into histograms of their tcp_info.

A *dimension* is what rows are told apart by: the local port, the owner, the cgroup.  Each keeps a
tally for each of its values, and one more, without a value, is kept of all rows.

May call ``families``, ``wire`` and ``errors``.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import attrs

from netlink_safe.families.inet_diag import Extension, Given
from netlink_safe.families.inet_socket import ROW_MINIMUM, STATE_OFFSET
from netlink_safe.wire.attributes import iterate_attributes
from netlink_safe.wire.header import HEADER, row_offsets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from netlink_safe.wire.header import Strides

Dimension: TypeAlias = Literal["port", "uid", "cgroup"]
#: A port, a uid, a cgroup's number; None of a socket that has none.
Value: TypeAlias = int | None
#: Finds it in a row: the datagram, where the row starts, and where its attributes do, by type.
Key: TypeAlias = "Callable[[bytes, int, dict[int, int]], Value]"


@attrs.frozen(slots=True)
class Scale:
    """A histogram's name, its bounds in ascending order, and how many of its unit make one."""

    name: str
    bounds: tuple[float, ...]
    per_unit: int = 1


BYTES: Final = tuple(10.0**power for power in range(3, 11))
SCALES: Final = (
    Scale(
        "smoothed_rtt_seconds",
        (25e-5, 5e-4, 1e-3, 25e-4, 5e-3, 1e-2, 25e-3, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5),
        per_unit=1_000_000,
    ),
    Scale("retransmitted_segments", (0.0, 1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 1000.0)),
    Scale("sent_bytes", BYTES),
    Scale("received_bytes", BYTES),
    Scale("delivery_rate_bytes_per_second", BYTES),
)
#: Of struct tcp_info: rtt, total_retrans, bytes_received, delivery_rate, bytes_sent (Linux 4.19).
_INFO: Final = struct.Struct("=68xI28xI24xQ24xQ32xQ")
_BOUNDS: Final = tuple([bound * scale.per_unit for bound in scale.bounds] for scale in SCALES)

#: What is measured even where it is 0; a round-trip time and a rate of 0 were never measured.
_ZERO_COUNTS: Final = frozenset({1, 2, 3})

_PORT: Final = struct.Struct("!H")
_PORT_OFFSET: Final = HEADER.size + 4
_OWNER: Final = struct.Struct("=II")
_OWNER_OFFSET: Final = HEADER.size + 64
_U64: Final = struct.Struct("=Q")
_LENGTH: Final = struct.Struct("=I")
_INFO_TYPE: Final = int(Extension.INFO)
_CGROUP_TYPE: Final = int(Given.CGROUP_ID)
#: The attributes that are read, and how long each has to be.
_WANTED: Final = {_INFO_TYPE: _INFO.size, _CGROUP_TYPE: _U64.size}


class Histogram:
    """How many of what was measured are in each bucket, not added up, and the sum of all."""

    __slots__ = ("counts", "total")

    def __init__(self, counts: list[int], total: int = 0) -> None:
        self.counts: list[int] = counts
        self.total: int = total

    def __add__(self, other: Histogram) -> Histogram:
        counts = [own + more for own, more in zip(self.counts, other.counts, strict=True)]
        return Histogram(counts, self.total + other.total)


class Tally:
    """What was counted of one value of a dimension."""

    __slots__ = ("histograms", "states")

    def __init__(self) -> None:
        self.states: Counter[int] = Counter()
        self.histograms: list[Histogram] = [
            Histogram([0] * (len(bounds) + 1)) for bounds in _BOUNDS
        ]

    @property
    def sockets(self) -> int:
        """How many were counted."""
        return self.states.total()

    def __add__(self, other: Tally) -> Tally:
        added = Tally()
        added.states = self.states + other.states
        pairs = zip(self.histograms, other.histograms, strict=True)
        added.histograms = [own + more for own, more in pairs]
        return added


class DetailFold:
    """Tallies by each dimension, and one of all rows."""

    def __init__(self, info: bool, dimensions: Sequence[Dimension], ports: frozenset[int]) -> None:
        """``ports`` are the local ports that are told apart; the others are a None together."""
        self._reads_attributes = info or "cgroup" in dimensions
        self.total: Tally = Tally()
        self.tallies: dict[Dimension, defaultdict[Value, Tally]] = {
            dimension: defaultdict(Tally) for dimension in dimensions
        }
        self._ports = ports
        keys: dict[Dimension, Key] = {"port": self._port, "uid": _uid, "cgroup": _cgroup}
        self._keys = [(keys[dimension], tallies) for dimension, tallies in self.tallies.items()]

    @property
    def rows(self) -> int:
        """How many sockets were counted."""
        return self.total.sockets

    def read(self, data: bytes, offset: int, strides: Strides, /) -> int:
        """Take a stretch of rows; return the offset of the first message that is none."""
        starts, end = row_offsets(data, offset, strides)
        places: dict[int, int] = {}
        for start in starts:
            if self._reads_attributes:
                places = _attributes(data, start)
            tallies = [self.total]
            tallies += [tallies_of[key(data, start, places)] for key, tallies_of in self._keys]
            state = data[start + STATE_OFFSET]
            for tally in tallies:
                tally.states[state] += 1
            if _INFO_TYPE in places:
                _measure(data, places[_INFO_TYPE], tallies)
        return end

    def add(self, other: DetailFold) -> None:
        """Take another's tallies in."""
        self.total += other.total
        for dimension, tallies in other.tallies.items():
            for value, tally in tallies.items():
                self.tallies[dimension][value] += tally

    def _port(self, data: bytes, start: int, _places: dict[int, int]) -> Value:
        (port,) = _PORT.unpack_from(data, start + _PORT_OFFSET)
        return port if port in self._ports else None


def _attributes(data: bytes, start: int) -> dict[int, int]:
    """Where the payloads of a row's attributes start, by type: of those read, and whole."""
    (length,) = _LENGTH.unpack_from(data, start)
    return {
        type_: first
        for type_, first, last in iterate_attributes(data, start + ROW_MINIMUM, start + length)
        if type_ in _WANTED and last - first >= _WANTED[type_]
    }


def _uid(data: bytes, start: int, _places: dict[int, int]) -> Value:
    """Whose it is; None where no process holds it, for the kernel says 0 of its uid then.

    (``net/ipv4/inet_diag.c``: inet_twsk_diag_fill, inet_req_diag_fill; ``net/core/sock.c``:
    sock_i_uid.)
    """
    uid, inode = _OWNER.unpack_from(data, start + _OWNER_OFFSET)
    return uid if inode else None


def _cgroup(data: bytes, _start: int, places: dict[int, int]) -> Value:
    """The number of its cgroup; None of what is no full socket, and before Linux 5.8."""
    if _CGROUP_TYPE not in places:
        return None
    (number,) = _U64.unpack_from(data, places[_CGROUP_TYPE])
    return int(number)


def _measure(data: bytes, info: int, tallies: Iterable[Tally]) -> None:
    rtt, retransmitted, received, rate, sent = _INFO.unpack_from(data, info)
    for number, value in enumerate((rtt, retransmitted, sent, received, rate)):
        if value or number in _ZERO_COUNTS:
            place = bisect_left(_BOUNDS[number], value)
            for tally in tallies:
                histogram = tally.histograms[number]
                histogram.counts[place] += 1
                histogram.total += value
