"""Message headers: every byte of a datagram is in one message, or the datagram is refused there.

The first byte chooses the length below which a row is none; all behind it is the datagram.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fuzz.common import Bytes, check_refusal
from netlink_safe.errors import DecodeError
from netlink_safe.families.inet_reader import reader
from netlink_safe.families.inet_rows import TcpSocket
from netlink_safe.wire.header import (
    HEADER,
    Strides,
    align,
    build_message,
    iterate_messages,
    row_offsets,
)

if TYPE_CHECKING:
    from netlink_safe.wire.header import Message


def one_input(data: bytes) -> None:
    """Read the headers one by one, and as the rows of a reply that the first one begins."""
    given = Bytes(data)
    minimum = HEADER.size + given.byte()
    datagram = given.rest()
    messages, refusal = _messages(datagram)
    _check_tiles(datagram, messages, refusal)
    if messages:
        _check_rows(datagram, messages, refusal, minimum)


def _messages(datagram: bytes) -> tuple[list[Message], DecodeError | None]:
    messages: list[Message] = []
    try:
        messages.extend(iterate_messages(datagram))
    except DecodeError as refusal:
        check_refusal(refusal, datagram)
        return messages, refusal
    return messages, None


def _check_tiles(datagram: bytes, messages: list[Message], refusal: DecodeError | None) -> None:
    offset = 0
    for one in messages:
        assert one.start == offset
        assert one.start + HEADER.size == one.payload <= one.end <= len(datagram)
        assert one.end <= one.next < one.end + 4
        built = build_message(
            one.type, one.flags, one.sequence, one.port_id, datagram[one.payload : one.end]
        )
        assert built == datagram[one.start : one.end]
        offset = one.next
    if refusal is None:
        assert offset == align(offset) >= len(datagram)
    else:
        assert refusal.offset == offset < len(datagram)


def _check_rows(
    datagram: bytes, messages: list[Message], refusal: DecodeError | None, minimum: int
) -> None:
    """The stretch of rows is what the headers, one by one, say that it is."""
    first = messages[0]
    ours = (first.type, first.sequence, first.port_id)
    expected = []
    for one in messages:
        if (one.type, one.sequence, one.port_id) != ours or one.end - one.start < minimum:
            break
        expected.append(one.start)
    end = messages[len(expected) - 1].next if expected else 0
    strides = Strides(first.type, minimum, first.sequence, first.port_id)
    try:
        offsets, stopped_at = row_offsets(datagram, 0, strides)
    except DecodeError as past_the_end:
        assert refusal is not None
        assert past_the_end.offset == refusal.offset == end
        return
    assert (offsets, stopped_at) == (expected, end)
    rows: list[TcpSocket] = []
    again = Strides(first.type, minimum, first.sequence, first.port_id)
    assert reader(TcpSocket)(datagram, 0, again, rows) == end
    assert [row._start for row in rows] == expected
    assert again.interrupted == strides.interrupted
