"""The message header, struct nlmsghdr, and the heads that the rows of one reply share.

A reply may hold 100,000 messages, and in each of them the 16 bytes of header are compared as two
numbers: the *head* (length, type and flags) and the *key* (sequence and port ID).  The key is the
same in a whole reply, and a head is looked up in a small table that holds its stride, so that a row
costs one unpack, one comparison and one look-up.

May call ``errors`` and ``wire.constants``.
"""

from __future__ import annotations

import struct
from typing import Final

import attrs

from netlink_safe.errors import DecodeError
from netlink_safe.wire.constants import NLM_F_DUMP_INTR

HEADER: Final = struct.Struct("=IHHII")
HEAD_AND_KEY: Final = struct.Struct("=QQ")
_HEAD: Final = struct.Struct("=Q")
_HEAD_FIELDS: Final = struct.Struct("=IHH")
_KEY: Final = struct.Struct("=Q")
_KEY_FIELDS: Final = struct.Struct("=II")


@attrs.frozen(slots=True)
class Message:
    """One message inside a datagram: its header, and where it starts and ends there."""

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


def reply_key(sequence: int, port_id: int) -> int:
    """The key that every message of a reply carries, as HEAD_AND_KEY reads it."""
    return int(_KEY.unpack(_KEY_FIELDS.pack(sequence, port_id))[0])


class Strides(dict[int, int]):
    """Head to stride: how far it is from a row with this head to the next message.

    0 means that a message with this head is no row of this reply.  A head is judged once, when it
    is first seen; at most 65,536 lengths can be, and a reply has two or three.
    ``interrupted`` is set once a row says NLM_F_DUMP_INTR.
    """

    def __init__(self, row_type: int, row_minimum: int) -> None:
        super().__init__()
        self._row_type = row_type
        self._row_minimum = row_minimum
        self.interrupted = False

    def __missing__(self, head: int) -> int:
        length, type_, flags = _HEAD_FIELDS.unpack(_HEAD.pack(head))
        is_row = type_ == self._row_type and length >= self._row_minimum
        if is_row and flags & NLM_F_DUMP_INTR:
            self.interrupted = True
        self[head] = stride = align(length) if is_row else 0
        return stride


def row_offsets(data: bytes, offset: int, key: int, strides: Strides) -> tuple[list[int], int]:
    """Where each row of a stretch starts, and the offset of the first message that is none.

    Raises DecodeError for a row that ends past the datagram.
    """
    offsets: list[int] = []
    last = len(data) - HEADER.size
    while offset <= last:
        head, found = HEAD_AND_KEY.unpack_from(data, offset)
        if found != key or not (stride := strides[head]):
            break
        if offset + stride > len(data):
            parse_message(data, offset)
        offsets.append(offset)
        offset += stride
    return offsets, offset
