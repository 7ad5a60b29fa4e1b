"""Reading rows of inet_diag out of a datagram.

May call ``protocol``, ``wire`` and ``families.inet_socket``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from netlink_safe.families.inet_socket import STATE_OFFSET, InetSocket
from netlink_safe.wire.header import HEADER, Strides, row_offsets

if TYPE_CHECKING:
    from netlink_safe.families.inet_diag import TcpState
    from netlink_safe.protocol.request import RowReader

Socket = TypeVar("Socket", bound=InetSocket)


def reader(row_type: type[Socket]) -> RowReader[Socket]:
    """Reads a stretch of rows of this type."""
    new = row_type.__new__

    def read(data: bytes, offset: int, strides: Strides, rows: list[Socket]) -> int:
        first = offset
        known = strides.known
        append = rows.append
        while True:
            header = data[offset : offset + HEADER.size]
            try:
                stride = known[header]
            except KeyError:
                if not (stride := strides.judge(header)):
                    break
            row = new(row_type)
            row._data = data
            row._start = offset
            append(row)
            offset += stride
        if offset > len(data):
            check_stretch(data, first, strides)
        return offset

    return read


def reader_of(row_type: type[Socket], states: frozenset[TcpState]) -> RowReader[Socket]:
    """The same, of rows in some states alone, for a kernel that gives those in all."""
    read_all = reader(row_type)
    numbers = frozenset(map(int, states))

    def read(data: bytes, offset: int, strides: Strides, rows: list[Socket]) -> int:
        some: list[Socket] = []
        end = read_all(data, offset, strides, some)
        rows += [row for row in some if row._data[row._start + STATE_OFFSET] in numbers]
        return end

    return read


def check_stretch(data: bytes, first: int, strides: Strides) -> None:
    """Raise DecodeError for the row that ends past its datagram, if one does.

    Padding that is missing behind the last row is no fault.
    """
    row_offsets(data, first, strides)
