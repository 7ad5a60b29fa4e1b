"""The message header, struct nlmsghdr, and how far it is from one row of a reply to the next.

A reply may hold 100,000 messages whose 16 bytes of header are nearly all the same.  So a header is
judged once, when it is first seen, and then looked up as it stands: a row costs one look-up, and
still each proves where the next one begins.

May call ``errors`` and ``wire.constants``.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

import attrs

from netlink_safe.errors import DecodeError
from netlink_safe.wire.constants import NLM_F_DUMP_INTR

if TYPE_CHECKING:
    from collections.abc import Iterator

HEADER: Final = struct.Struct("=IHHII")


@attrs.frozen(slots=True)
class Message:
    """One message inside a datagram: its header, and where it starts and ends there, in bytes.

    ``type`` and ``flags`` have 16 bits, ``sequence`` and ``port_id`` 32; ``end`` is without
    padding.
    """

    type: int
    flags: int
    sequence: int
    port_id: int
    start: int
    end: int

    @property
    def payload(self) -> int:
        """The offset of the first byte after the header."""
        return self.start + HEADER.size

    @property
    def next(self) -> int:
        """The offset of the message that follows."""
        return self.start + align(self.end - self.start)


def align(length: int) -> int:
    """Round up to the 4 bytes at which messages and attributes start."""
    return (length + 3) & ~3


def build_message(type_: int, flags: int, sequence: int, port_id: int, payload: bytes) -> bytes:
    """Put a header before a payload."""
    return HEADER.pack(HEADER.size + len(payload), type_, flags, sequence, port_id) + payload


def parse_message(data: bytes, offset: int) -> Message:
    """Read the header at ``offset``.  Raises DecodeError for a length that cannot be."""
    if len(data) - offset < HEADER.size:
        raise DecodeError("a message shorter than its header", offset)
    length, type_, flags, sequence, port_id = HEADER.unpack_from(data, offset)
    if length < HEADER.size:
        raise DecodeError(f"a message that claims {length} bytes, less than its header", offset)
    if offset + length > len(data):
        raise DecodeError(f"a message that claims {length} bytes, past the datagram's end", offset)
    return Message(type_, flags, sequence, port_id, offset, offset + length)


def iterate_messages(data: bytes) -> Iterator[Message]:
    """Each message of a datagram.  Raises DecodeError for a length that cannot be."""
    offset = 0
    while offset < len(data):
        message = parse_message(data, offset)
        yield message
        offset = message.next


class Strides:
    """How far it is from a row of one reply to the next message, by the row's header.

    ``known`` holds the headers that were judged to be of rows, as a plain dict, which a loop reads
    fastest; what is not in it goes to ``judge``.
    ``interrupted`` is set once a row says NLM_F_DUMP_INTR.
    ``row_type``, ``sequence`` and ``port_id`` are what a row's header has, ``row_minimum`` its
    least length in bytes with it.
    """

    def __init__(self, row_type: int, row_minimum: int, sequence: int, port_id: int) -> None:
        self.known: dict[bytes, int] = {}
        self.interrupted: bool = False
        self._row_minimum = row_minimum
        self._expected = (row_type, sequence, port_id)

    def judge(self, header: bytes) -> int:
        """The stride, in bytes, padding included; 0 if this is the header of no row of this reply.

        It is none by its type, its sequence, its port ID, or a length below a row's fixed part.
        """
        if len(header) < HEADER.size:
            return 0
        length, type_, flags, sequence, port_id = HEADER.unpack(header)
        if (type_, sequence, port_id) != self._expected or length < self._row_minimum:
            return 0
        if flags & NLM_F_DUMP_INTR:
            self.interrupted = True
        self.known[header] = stride = align(length)
        return stride


def row_offsets(data: bytes, offset: int, strides: Strides) -> tuple[list[int], int]:
    """Where each row of a stretch starts, and the offset of the first message that is none.

    Raises DecodeError for a row that ends past the datagram.
    """
    offsets: list[int] = []
    known = strides.known
    while True:
        header = data[offset : offset + HEADER.size]
        stride = known.get(header) or strides.judge(header)
        if not stride:
            return offsets, offset
        if offset + stride > len(data):
            parse_message(data, offset)
        offsets.append(offset)
        offset += stride
