"""Bytes to values and back: headers, attributes, acknowledgements."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netlink_safe.errors import DecodeError, ExtendedAck
from netlink_safe.wire import constants
from netlink_safe.wire.ack import Ack, parse_done, parse_error
from netlink_safe.wire.attributes import (
    LARGEST,
    build_attribute,
    build_nested,
    iterate_attributes,
)
from netlink_safe.wire.header import (
    HEADER,
    Strides,
    align,
    build_message,
    parse_message,
    row_offsets,
)

pytestmark = pytest.mark.anywhere

U16 = st.integers(0, 0xFFFF)
U32 = st.integers(0, 0xFFFFFFFF)


@given(U16, U16, U32, U32, st.binary(max_size=200))
def test_a_message_is_read_as_it_was_built(
    type_: int, flags: int, sequence: int, port_id: int, payload: bytes
) -> None:
    """Header and payload survive the way out and in."""
    data = build_message(type_, flags, sequence, port_id, payload)
    message = parse_message(data, 0)
    assert (message.type, message.flags, message.sequence, message.port_id) == (
        type_,
        flags,
        sequence,
        port_id,
    )
    assert data[message.payload : message.end] == payload
    assert message.next == align(len(data))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x10\0\0\0", "shorter than its header"),
        (HEADER.pack(0, 1, 0, 0, 0), "claims 0 bytes, less than its header"),
        (HEADER.pack(15, 1, 0, 0, 0), "claims 15 bytes, less than its header"),
        (HEADER.pack(17, 1, 0, 0, 0), "past the datagram's end"),
        (HEADER.pack(0xFFFFFFFF, 1, 0, 0, 0), "past the datagram's end"),
    ],
)
def test_a_length_that_cannot_be_is_an_error_with_its_offset(data: bytes, reason: str) -> None:
    """Length 0, a length below the header and one past the datagram are named, and where."""
    with pytest.raises(DecodeError, match=reason) as caught:
        parse_message(b"\0" * 8 + data, 8)
    assert caught.value.offset == 8


@given(st.binary(max_size=300), st.integers(0, 300))
def test_any_bytes_are_a_message_inside_the_datagram_or_a_decode_error(
    data: bytes, offset: int
) -> None:
    """No bytes make a message reach outside its datagram."""
    try:
        message = parse_message(data, offset)
    except DecodeError:
        return
    assert offset + HEADER.size <= message.end <= len(data)


@given(st.lists(st.tuples(st.integers(0, 0x3FFF), st.binary(max_size=40)), max_size=8))
def test_attributes_are_read_as_they_were_built(attributes: list[tuple[int, bytes]]) -> None:
    """Types and payloads survive, whatever their padding."""
    data = b"".join(build_attribute(type_, payload) for type_, payload in attributes)
    found = [(t, data[first:end]) for t, first, end in iterate_attributes(data, 0, len(data))]
    assert found == attributes


def test_a_nested_attribute_hides_its_flag_from_the_reader() -> None:
    """NLA_F_NESTED goes out, and the type comes back without it."""
    data = build_nested(7, build_attribute(1, b"ab"))
    [(type_, first, end)] = iterate_attributes(data, 0, len(data))
    assert type_ == 7
    assert list(iterate_attributes(data, first, end)) == [(1, first + 4, first + 6)]


@pytest.mark.parametrize(("length", "reason"), [(0, "0 bytes"), (3, "3 bytes"), (9, "8 are left")])
def test_an_attribute_that_leaves_its_row_is_an_error_with_its_path(
    length: int, reason: str
) -> None:
    """A length of 0, below the header, or past the end names the attributes that lead there."""
    data = struct.pack("=HH", length, 5) + bytes(4)
    with pytest.raises(DecodeError, match=reason) as caught:
        list(iterate_attributes(data, 0, len(data), (2,)))
    assert caught.value.path == (2, 5)


@given(st.binary(max_size=100))
def test_any_bytes_are_attributes_inside_their_row_or_a_decode_error(data: bytes) -> None:
    """Reading attributes ends, and stays inside."""
    try:
        for _, first, end in iterate_attributes(data, 0, len(data)):
            assert 4 <= first <= end <= len(data)
    except DecodeError:
        pass


def test_a_payload_that_no_attribute_can_hold_is_refused() -> None:
    """The length of an attribute has 16 bits."""
    assert len(build_attribute(1, bytes(LARGEST))) == align(LARGEST + 4)
    with pytest.raises(ValueError, match="at most"):
        build_attribute(1, bytes(LARGEST + 1))


def _error(flags: int, payload: bytes) -> tuple[bytes, object]:
    data = build_message(constants.NLMSG_ERROR, flags, 1, 2, payload)
    return data, parse_message(data, 0)


EXTACK = (
    build_attribute(constants.NLMSGERR_ATTR_MSG, b"no such thing\0")
    + build_attribute(constants.NLMSGERR_ATTR_OFFS, struct.pack("=I", 20))
    + build_attribute(constants.NLMSGERR_ATTR_COOKIE, b"cookie")
    + build_attribute(constants.NLMSGERR_ATTR_MISS_TYPE, struct.pack("=I", 3))
    + build_attribute(999, b"newer than us")
)


def test_the_extended_ack_of_a_capped_error_follows_the_header_alone() -> None:
    """NLM_F_CAPPED: no request stands between the errno and the attributes."""
    flags = constants.NLM_F_CAPPED | constants.NLM_F_ACK_TLVS
    data = build_message(
        2, flags, 1, 2, struct.pack("=i", -22) + HEADER.pack(99, 1, 0, 0, 0) + EXTACK
    )
    ack = parse_error(data, parse_message(data, 0))
    assert ack.errno == 22
    assert ack.extack == ExtendedAck("no such thing", 20, b"cookie", None, 3)
    assert str(ack.extack) == "no such thing, at byte 20 of the request, attribute 3 is missing"


def test_the_extended_ack_of_a_full_error_follows_the_copied_request() -> None:
    """Without NLM_F_CAPPED the whole request is copied, and skipped."""
    request = build_message(20, 1, 1, 0, b"payload")
    padded = request + bytes(align(len(request)) - len(request))
    data = build_message(
        2, constants.NLM_F_ACK_TLVS, 1, 2, struct.pack("=i", -22) + padded + EXTACK
    )
    ack = parse_error(data, parse_message(data, 0))
    assert ack.extack is not None
    assert ack.extack.message == "no such thing"


def test_the_extended_ack_of_a_done_follows_its_errno() -> None:
    """NLMSG_DONE copies no header: the attributes start at its fourth byte."""
    data = build_message(
        3, constants.NLM_F_MULTI | constants.NLM_F_ACK_TLVS, 1, 2, struct.pack("=i", -95) + EXTACK
    )
    ack = parse_done(data, parse_message(data, 0))
    assert ack.errno == 95
    assert ack.extack is not None
    assert ack.extack.offset == 20


def test_an_ack_is_an_error_with_errno_0() -> None:
    """Errno 0 is success, and without the flag there is no extended ack."""
    data = build_message(2, 0, 1, 2, struct.pack("=i", 0) + HEADER.pack(16, 1, 0, 0, 0))
    assert parse_error(data, parse_message(data, 0)) == Ack(0)


@pytest.mark.parametrize("payload", [b"", b"\0\0\0", struct.pack("=i", -1), bytes(19)])
def test_an_ack_cut_short_is_a_decode_error(payload: bytes) -> None:
    """An errno or the header it answers may be missing; neither is made up."""
    data = build_message(2, 0, 1, 2, payload)
    with pytest.raises(DecodeError):
        parse_error(data, parse_message(data, 0))


@given(st.binary(max_size=80), st.sampled_from([0, 0x100, 0x200, 0x300]))
def test_any_bytes_are_an_ack_or_a_decode_error(payload: bytes, flags: int) -> None:
    """Whatever stands in an acknowledgement, reading it ends in a value or in DecodeError."""
    data = build_message(2, flags, 1, 2, payload)
    for parse in (parse_error, parse_done):
        with contextlib.suppress(DecodeError):
            assert parse(data, parse_message(data, 0)).errno >= 0


def _rows(*lengths: int, type_: int = 20, flags: int = 2) -> bytes:
    return b"".join(build_message(type_, flags, 7, 8, bytes(length - 16)) for length in lengths)


@given(st.lists(st.sampled_from([88, 96, 124, 132, 408]), min_size=1, max_size=30))
def test_rows_of_any_lengths_are_walked_exactly(lengths: list[int]) -> None:
    """The table of strides gives the same places as adding up the lengths."""
    data = _rows(*lengths) + build_message(3, 2, 7, 8, bytes(4))
    starts, end = row_offsets(data, 0, Strides(20, 88, 7, 8))
    assert starts == [sum(lengths[:i]) for i in range(len(lengths))]
    assert end == sum(lengths)


@pytest.mark.parametrize(
    "stranger",
    [
        build_message(20, 2, 9, 8, bytes(72)),
        build_message(20, 2, 7, 9, bytes(72)),
        build_message(21, 2, 7, 8, bytes(72)),
        _rows(80),
        b"\0" * 15,
    ],
    ids=["sequence", "port ID", "type", "too short", "no header"],
)
def test_a_stretch_ends_at_the_first_message_that_is_no_row_of_it(stranger: bytes) -> None:
    """Another sequence, port ID or type, or too short a row, is left to the engine."""
    data = _rows(88, 124) + stranger
    starts, end = row_offsets(data, 0, Strides(20, 88, 7, 8))
    assert (starts, end) == ([0, 88], 212)


def test_a_row_that_claims_more_than_its_datagram_is_an_error() -> None:
    """The last row of a stretch is held to the datagram's end."""
    data = _rows(88, 124)[:-4]
    with pytest.raises(DecodeError, match="past the datagram's end") as caught:
        row_offsets(data, 0, Strides(20, 88, 7, 8))
    assert caught.value.offset == 88


def test_a_last_row_without_its_padding_is_whole() -> None:
    """Padding is between messages; behind the last one it may be missing."""
    data = _rows(88) + _rows(90)
    starts, end = row_offsets(data, 0, Strides(20, 88, 7, 8))
    assert starts == [0, 88]
    assert end == align(len(data))


def test_strides_remember_that_a_row_said_interrupted() -> None:
    """NLM_F_DUMP_INTR on any row counts for the whole dump, and the row is a row all the same."""
    strides = Strides(20, 88, 7, 8)
    row_offsets(_rows(88), 0, strides)
    assert not strides.interrupted
    starts, _ = row_offsets(_rows(88, flags=0x12), 0, strides)
    assert starts == [0]
    assert strides.interrupted
