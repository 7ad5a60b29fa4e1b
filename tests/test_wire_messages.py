"""Messages, acknowledgements and generic headers: the words of every refusal, and each offset."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import attrs
import pytest

from netlink_safe.errors import DecodeError, ExtendedAck
from netlink_safe.wire import constants
from netlink_safe.wire.ack import Ack, parse_done, parse_error
from netlink_safe.wire.attributes import build_attribute, build_u32
from netlink_safe.wire.generic import attributes_at, build_generic, parse_generic
from netlink_safe.wire.header import (
    HEADER,
    Message,
    Strides,
    align,
    build_message,
    iterate_messages,
    parse_message,
    row_offsets,
)

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.anywhere

TLVS = constants.NLM_F_ACK_TLVS
CAPPED = constants.NLM_F_CAPPED


def refused(error: pytest.ExceptionInfo[DecodeError]) -> tuple[str, int]:
    return error.value.reason, error.value.offset


def test_a_length_is_rounded_up_to_4_bytes() -> None:
    """NLMSG_ALIGN and NLA_ALIGN of the kernel."""
    assert [align(length) for length in range(6)] == [0, 4, 4, 4, 4, 8]


def test_a_header_is_16_bytes_in_the_machines_order() -> None:
    """Length, type, flags, sequence and port ID (struct nlmsghdr)."""
    data = build_message(2, 3, 4, 5, b"abc")
    assert data == struct.pack("=LHHLL", 19, 2, 3, 4, 5) + b"abc"
    message = parse_message(bytes(4) + data, 4)
    assert message == Message(type=2, flags=3, sequence=4, port_id=5, start=4, end=23)
    assert (message.payload, message.next) == (20, 24)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (bytes(15), "a message shorter than its header"),
        (HEADER.pack(15, 1, 0, 0, 0), "a message that claims 15 bytes, less than its header"),
        (HEADER.pack(17, 1, 0, 0, 0), "a message that claims 17 bytes, past the datagram's end"),
    ],
)
def test_a_message_that_cannot_be_is_refused_in_these_words(data: bytes, reason: str) -> None:
    """With the offset at which it starts."""
    with pytest.raises(DecodeError) as error:
        parse_message(bytes(4) + data, 4)
    assert refused(error) == (reason, 4)


def test_messages_of_a_datagram_follow_each_other_at_4_bytes() -> None:
    """The last may lack its padding; an empty datagram has none; one that is cut is an error."""
    one, two = build_message(1, 0, 0, 0, b"a"), build_message(2, 0, 0, 0, b"bc")
    padded = one + bytes(3)
    assert [(m.type, m.start, m.end) for m in iterate_messages(padded + two)] == [
        (1, 0, 17),
        (2, 20, 38),
    ]
    assert list(iterate_messages(b"")) == []
    messages = iterate_messages(padded + b"\1")
    assert next(messages).type == 1
    with pytest.raises(DecodeError) as error:
        next(messages)
    assert refused(error) == ("a message shorter than its header", 20)


def test_strides_judge_a_header_once() -> None:
    """What is a row is known from then on; what is none is asked about again each time."""
    strides = Strides(20, 20, 7, 8)
    row = HEADER.pack(21, 20, 0, 7, 8)
    assert strides.interrupted is False
    assert strides.judge(row) == 24
    assert strides.known == {row: 24}
    assert strides.judge(HEADER.pack(20, 20, 0, 7, 8)) == 20
    for length, type_, sequence, port_id in ((19, 20, 7, 8), (20, 21, 7, 8), (20, 20, 6, 8)):
        assert strides.judge(HEADER.pack(length, type_, 0, sequence, port_id)) == 0
    assert strides.judge(row[:-1]) == 0
    assert len(strides.known) == 2
    assert strides.interrupted is False
    assert strides.judge(HEADER.pack(20, 20, constants.NLM_F_DUMP_INTR, 7, 8)) == 20
    assert strides.interrupted is True


def test_a_known_header_is_not_judged_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row costs one look-up: 1,000 of the same header are judged once."""
    judged = []
    judge = Strides.judge

    def counting(self: Strides, header: bytes) -> int:
        judged.append(header)
        return judge(self, header)

    monkeypatch.setattr(Strides, "judge", counting)
    row = build_message(20, 0, 7, 8, bytes(4))
    starts, end = row_offsets(row * 1000, 0, Strides(20, 20, 7, 8))
    assert (len(starts), end) == (1000, 20_000)
    assert judged == [row[:16], b""]


def acknowledged(parse: Callable[[bytes, Message], Ack], flags: int, payload: bytes) -> Ack:
    """The payload, somewhere in a datagram, as ``parse`` reads it."""
    data = bytes(4) + build_message(2, flags, 1, 2, payload)
    return parse(data, parse_message(data, 4))


ERRNO = struct.pack("=i", -22)
EVERYTHING = b"".join(
    [
        build_attribute(constants.NLMSGERR_ATTR_MSG, b"caf\xc3\xa9 \xff MAX\0\0"),
        build_u32(constants.NLMSGERR_ATTR_OFFS, 1),
        build_attribute(constants.NLMSGERR_ATTR_COOKIE, b"cookie"),
        build_attribute(constants.NLMSGERR_ATTR_POLICY, b"policy"),
        build_u32(constants.NLMSGERR_ATTR_MISS_TYPE, 2),
        build_u32(constants.NLMSGERR_ATTR_MISS_NEST, 3),
    ]
)


def test_every_part_of_an_extended_ack_has_its_place() -> None:
    """A text that is no UTF-8 is shown as far as it is, and its NULs are not."""
    whole = ExtendedAck("caf\u00e9 \ufffd MAX", 1, b"cookie", b"policy", 2, 3)
    header = HEADER.pack(16, 1, 0, 0, 0)
    assert acknowledged(parse_error, TLVS, ERRNO + header + EVERYTHING) == Ack(22, whole)
    assert acknowledged(parse_done, TLVS, ERRNO + EVERYTHING) == Ack(22, whole)


def test_what_an_extended_ack_does_not_say_is_none() -> None:
    """A number of another size than 32 bits is not read as one."""
    odd = build_attribute(constants.NLMSGERR_ATTR_OFFS, bytes(8))
    extack = acknowledged(parse_done, TLVS, ERRNO + odd).extack
    assert extack == ExtendedAck(None, None, None, None, None, None)


def test_an_errno_that_is_positive_is_no_error() -> None:
    """The kernel answers with 0 or less."""
    header = HEADER.pack(16, 1, 0, 0, 0)
    for errno, read in ((5, 0), (0, 0), (-1, 1), (-4095, 4095)):
        payload = struct.pack("=i", errno) + header
        assert acknowledged(parse_error, 0, payload) == Ack(read, None)
        assert acknowledged(parse_done, 0, payload) == Ack(read, None)


def test_a_number_beyond_the_kernels_errnos_is_refused() -> None:
    """It has no text, and the least number of 32 bits none that could be asked for one."""
    header = HEADER.pack(16, 1, 0, 0, 0)
    for errno in (-4096, -1 << 31):
        data = build_message(2, 0, 1, 2, struct.pack("=i", errno) + header)
        for parse in (parse_error, parse_done):
            with pytest.raises(DecodeError) as error:
                parse(data, parse_message(data, 0))
            assert refused(error) == (f"an acknowledgement with {errno}, which is no errno", 16)


def test_a_copied_header_that_claims_less_than_itself_is_skipped_whole() -> None:
    """The attributes of an error never start inside the header it copies."""
    header = HEADER.pack(3, 1, 0, 0, 0)
    text = build_attribute(constants.NLMSGERR_ATTR_MSG, b"no")
    for flags in (TLVS, TLVS | CAPPED):
        ack = acknowledged(parse_error, flags, ERRNO + header + text)
        assert ack.extack == ExtendedAck("no")


@pytest.mark.parametrize(
    ("payload", "reason", "offset"),
    [
        (bytes(3), "an acknowledgement without an errno", 20),
        (bytes(19), "an acknowledgement without the header it answers", 24),
    ],
)
def test_an_acknowledgement_that_is_cut_short_says_what_is_missing(
    payload: bytes, reason: str, offset: int
) -> None:
    """And where it should stand."""
    data = bytes(4) + build_message(2, 0, 1, 2, payload)
    with pytest.raises(DecodeError) as error:
        parse_error(data, parse_message(data, 4))
    assert refused(error) == (reason, offset)


def test_a_generic_message_is_its_header_the_familys_and_attributes() -> None:
    """Struct genlmsghdr, the family's own header padded to 4 bytes, and what follows."""
    payload = build_generic(7, 2, b"abcde", build_u32(1, 9))
    assert payload == b"\7\2\0\0" + b"abcde\0\0\0" + build_u32(1, 9)
    assert (attributes_at(0), attributes_at(5), attributes_at(8)) == (4, 12, 12)
    data = bytes(8) + build_message(30, 0, 0, 0, payload)
    message = parse_generic(data, 8, len(data), 5)
    assert (message.command, message.version, message.header) == (7, 2, b"abcde")
    assert message.attributes.u32(1) == 9
    assert message.data == data[8:]


def test_generic_messages_are_the_same_by_what_is_in_the_datagram() -> None:
    """Of where they stand in it, and of how it was read, equality knows nothing."""
    data = build_message(30, 0, 0, 0, build_generic(7, 2, b"", b""))
    message = parse_generic(data, 0, len(data), 0)
    assert message == parse_generic(data, 0, len(data), 0)
    assert message == attrs.evolve(message, start=4)
    assert "attributes" not in repr(message)


def test_a_message_without_its_familys_headers_is_refused() -> None:
    """One that has them and no attribute is whole."""
    data = bytes(4) + build_message(30, 0, 0, 0, build_generic(7, 2, b"abcd", b""))
    assert len(parse_generic(data, 4, len(data), 4).attributes) == 0
    with pytest.raises(DecodeError) as error:
        parse_generic(data, 4, len(data) - 1, 4)
    assert refused(error) == ("a message shorter than the headers of its family", 4)
