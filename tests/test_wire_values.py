"""Plain values to the byte, and the words in which each is refused."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from netlink_safe.errors import DecodeError, LocalProtocolError
from netlink_safe.wire.attributes import (
    DEEPEST,
    LARGEST,
    Attributes,
    build_attribute,
    build_nested,
    build_u32,
)
from netlink_safe.wire.policy import AttributeKind, AttributePolicy, Policy
from netlink_safe.wire.values import decode_values, encode_values

pytestmark = pytest.mark.anywhere

KIND = AttributeKind
ROOT = {
    1: AttributePolicy(KIND.FLAG),
    2: AttributePolicy(KIND.U8, minimum=2, maximum=6),
    3: AttributePolicy(KIND.U16, mask=0x0F),
    4: AttributePolicy(KIND.U32),
    8: AttributePolicy(KIND.S32),
    10: AttributePolicy(KIND.BINARY, minimum_length=2, maximum_length=4),
    11: AttributePolicy(KIND.STRING, minimum_length=2, maximum_length=4),
    12: AttributePolicy(KIND.NUL_STRING, minimum_length=2, maximum_length=4),
    13: AttributePolicy(KIND.NESTED, policy=0),
    14: AttributePolicy(KIND.NESTED_ARRAY, policy=0),
    15: AttributePolicy(KIND.BITFIELD32, mask=0x0F),
    16: AttributePolicy(KIND.SINT),
    17: AttributePolicy(KIND.UINT),
    18: AttributePolicy(KIND.BITFIELD32),
}
POLICY = Policy(0, {0: ROOT})


def read(data: bytes, policy: Policy | None = POLICY) -> dict[int, Any]:
    return decode_values(Attributes(data, 0, len(data)), policy)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({2: 1}, "attribute 2: 1 is below the 2 that the kernel takes at least"),
        ({2: 7}, "attribute 2: 7 is above the 6 that the kernel takes at most"),
        ({3: 0x1F}, "attribute 3: 0x1f has bits beside 0xf, which the kernel takes"),
        ({3: 1 << 16}, "attribute 3: 0x10000 has bits beside 0xf, which the kernel takes"),
        ({4: 1 << 32}, "attribute 4: 4294967296 does not fit u32"),
        ({16: 1 << 63}, "attribute 16: 9223372036854775808 does not fit sint"),
        ({10: b"a"}, "attribute 10: 1 bytes are less than the 2 that the kernel wants"),
        ({10: b"abcde"}, "attribute 10: 5 bytes are more than the 4 that the kernel takes"),
        ({11: "a"}, "attribute 11: 1 bytes are less than the 2 that the kernel wants"),
        ({12: "abcde"}, "attribute 12: 5 bytes are more than the 4 that the kernel takes"),
        ({12: "a\0b"}, r"attribute 12: 'a\x00b' has a NUL or a lone surrogate in it"),
        ({15: (1, 16)}, "attribute 15: (1, 16) has bits beside 0xf, which the kernel takes"),
        ({15: (1, 2, 3)}, "attribute 15: (1, 2, 3) is no value and selector of 32 bits each"),
        (
            {18: (1 << 32, 0)},
            "attribute 18: (4294967296, 0) is no value and selector of 32 bits each",
        ),
        ({18: (0, -1)}, "attribute 18: (0, -1) is no value and selector of 32 bits each"),
        ({4: True}, "attribute 4: True is given where u32 is wanted"),
        ({4: False}, "attribute 4: False is given where u32 is wanted"),
        ({1: 1}, "attribute 1: 1 is given where flag is wanted"),
        ({2: (1, 2)}, "attribute 2: (1, 2) is given where u8 is wanted"),
        ({99: 1.5}, "attribute 99: 1.5 is given where bytes is wanted"),
        (
            {99: 1},
            "attribute 99: the kernel's policy does not say how wide a number is here; give bytes",
        ),
        ({0: b""}, "attribute 0: the type is no number from 1 to 16383"),
        ({0x4000: b""}, "attribute 16384: the type is no number from 1 to 16383"),
        ({True: b""}, "attribute True: the type is no number from 1 to 16383"),
        ({"1": b""}, "attribute 1: the type is no number from 1 to 16383"),
        ({13: {-1: b""}}, "attribute 13.-1: the type is no number from 0 to 16383"),
        ({14: {0x4000: {}}}, "attribute 14.16384: the type is no number from 0 to 16383"),
        ({14: {3: {2: 7}}}, "attribute 14.3.2: 7 is above the 6 that the kernel takes at most"),
        ({14: [{}, {2: 7}]}, "attribute 14.2.2: 7 is above the 6 that the kernel takes at most"),
        (
            {14: [[{}], [{2: 7}]]},
            "attribute 14.1.2: 7 is above the 6 that the kernel takes at most",
        ),
        (
            {14: {3: [{}, {2: 7}]}},
            "attribute 14.3.2: 7 is above the 6 that the kernel takes at most",
        ),
        (
            {99: bytes(LARGEST + 1)},
            "attribute 99: 65532 bytes are more than an attribute holds (65531)",
        ),
        (
            {13: {99: bytes(LARGEST)}},
            "attribute 13: 65536 bytes are more than an attribute holds (65531)",
        ),
        (
            {14: [{99: bytes(LARGEST - 6)}]},
            "attribute 14.1: 65532 bytes are more than an attribute holds (65531)",
        ),
        (
            {14: [{99: bytes(LARGEST - 7)}]},
            "attribute 14: 65532 bytes are more than an attribute holds (65531)",
        ),
    ],
    ids=lambda words: words.partition(" ")[2] if isinstance(words, str) else "",
)
def test_a_value_is_refused_in_these_words(values: dict[Any, Any], words: str) -> None:
    """The attribute by its path, and what would do."""
    with pytest.raises(LocalProtocolError) as error:
        encode_values(values, POLICY)
    assert str(error.value) == words


@pytest.mark.parametrize(
    ("values", "data"),
    [
        ({2: 2}, build_attribute(2, b"\2")),
        ({2: 6}, build_attribute(2, b"\6")),
        ({3: 0x0F}, build_attribute(3, struct.pack("=H", 0x0F))),
        ({4: 0}, build_u32(4, 0)),
        ({8: -1}, build_u32(8, 0xFFFFFFFF)),
        ({10: b"ab"}, build_attribute(10, b"ab")),
        ({10: bytearray(b"abcd")}, build_attribute(10, b"abcd")),
        ({10: memoryview(b"abc")}, build_attribute(10, b"abc")),
        ({11: "ab"}, build_attribute(11, b"ab")),
        ({11: "abcd"}, build_attribute(11, b"abcd")),
        ({12: "ab"}, build_attribute(12, b"ab\0")),
        ({12: "abcd"}, build_attribute(12, b"abcd\0")),
        ({12: b"abcdefgh"}, build_attribute(12, b"abcdefgh")),
        ({1: True}, build_attribute(1, b"")),
        ({99: True}, build_attribute(99, b"")),
        ({99: False, 1: False, 2: None, 13: None}, b""),
        ({15: (8, 15)}, build_attribute(15, struct.pack("=LL", 8, 15))),
        ({18: (0, 0xFFFFFFFF)}, build_attribute(18, struct.pack("=LL", 0, 0xFFFFFFFF))),
        ({16: -1}, build_attribute(16, b"\xff" * 4)),
        ({16: 1 << 31}, build_attribute(16, struct.pack("=q", 1 << 31))),
        ({17: 0xFFFFFFFF}, build_attribute(17, b"\xff" * 4)),
        ({17: 1 << 32}, build_attribute(17, struct.pack("=Q", 1 << 32))),
        ({4: [1, 2]}, build_u32(4, 1) + build_u32(4, 2)),
        ({4: []}, b""),
        ({13: {}}, build_nested(13)),
        ({13: {0: b"a", 4: 1}}, build_nested(13, build_attribute(0, b"a"), build_u32(4, 1))),
        ({13: [{}, {4: 1}]}, build_nested(13) + build_nested(13, build_u32(4, 1))),
        ({99: {4: {4: b"a"}}}, build_nested(99, build_nested(4, build_attribute(4, b"a")))),
        ({14: []}, build_nested(14)),
        ({14: {}}, build_nested(14)),
        ({14: [{4: 1}, {}]}, build_nested(14, build_nested(1, build_u32(4, 1)), build_nested(2))),
        ({14: {0: {}, 5: [{}, {4: 1}]}},
         build_nested(14, build_nested(0), build_nested(5), build_nested(5, build_u32(4, 1)))),
        ({14: [[{}], []]}, build_nested(14, build_nested(1)) + build_nested(14)),
        ({14: b"abcd"}, build_attribute(14, b"abcd")),
        ({0x3FFF: b""}, build_attribute(0x3FFF, b"")),
        ({99: bytes(LARGEST)}, build_attribute(99, bytes(LARGEST))),
        ({13: {99: bytes(LARGEST - 7)}}, build_nested(13, build_attribute(99, bytes(LARGEST - 7)))),
    ],
)  # fmt: skip
def test_a_value_goes_out_as_these_bytes(values: dict[int, Any], data: bytes) -> None:
    """At the borders of what the policy takes, too; and values under several types in order."""
    assert encode_values(values, POLICY) == data
    both = encode_values({**values, 200: b"x"}, POLICY)
    assert both == data + build_attribute(200, b"x")


def test_values_may_be_nested_as_deep_as_they_may_be_read() -> None:
    """And one deeper is refused, in these words."""
    values: dict[int, Any] = {}
    for _ in range(DEEPEST):
        values = {1: values}
    data = encode_values(values, None)
    assert read(data, None) == values
    with pytest.raises(LocalProtocolError) as error:
        encode_values({1: values}, None)
    assert str(error.value) == "attributes may be nested 32 deep, and no deeper"


@pytest.mark.parametrize(
    ("data", "values"),
    [
        (build_attribute(1, b""), {1: True}),
        (build_attribute(2, b"\xff"), {2: 255}),
        (build_u32(8, 0xFFFFFFFF), {8: -1}),
        (build_attribute(16, b"\xff" * 8), {16: -1}),
        (build_attribute(17, b"\xff" * 4), {17: 0xFFFFFFFF}),
        (build_attribute(17, b"\xff" * 2), {17: b"\xff\xff"}),
        (build_attribute(15, struct.pack("=LL", 1, 3)), {15: (1, 3)}),
        (build_attribute(15, bytes(12)), {15: bytes(12)}),
        (build_attribute(10, b"text"), {10: b"text"}),
        (build_attribute(11, b"caf\xc3\xa9"), {11: "caf\u00e9"}),
        (build_attribute(11, b"ab\0"), {11: "ab"}),
        (build_attribute(12, b"a\0b\0"), {12: b"a\0b\0"}),
        (build_attribute(12, b"\0"), {12: ""}),
        (build_attribute(12, b""), {12: ""}),
        (build_attribute(99, b"ab\0"), {99: b"ab\0"}),
        (build_attribute(13, build_u32(4, 1)), {13: {4: 1}}),
        (build_attribute(13, b""), {13: {}}),
        (build_attribute(13, b"ab"), {13: b"ab"}),
        (build_nested(14, build_nested(1), build_nested(2)), {14: [{}, {}]}),
        (build_nested(14, build_nested(2), build_nested(1)), {14: {2: {}, 1: {}}}),
        (build_nested(14, build_nested(3), build_nested(3)), {14: {3: [{}, {}]}}),
        (build_nested(14, build_attribute(1, build_u32(4, 1))), {14: [{4: 1}]}),
        (build_attribute(14, build_nested(1)), {14: [{}]}),
        (
            build_nested(14, build_nested(2)) + build_nested(14, build_nested(1)),
            {14: [build_nested(2), [{}]]},
        ),
        (build_u32(4, 1) + build_u32(8, 2) + build_u32(4, 3), {4: [1, 3], 8: 2}),
    ],
)
def test_bytes_are_read_as_these_values(data: bytes, values: dict[int, Any]) -> None:
    """Where they fit the policy to the byte; and as bytes elsewhere."""
    assert read(data) == values


BROKEN = struct.pack("=HH", 99, 3)


@pytest.mark.parametrize(
    ("outer", "path"),
    [
        (build_nested(13, BROKEN), (13, 3)),
        (build_nested(14, BROKEN), (14, 3)),
        (build_nested(14, build_nested(1, BROKEN)), (14, 1, 3)),
        (build_nested(99, BROKEN), (99, 3)),
    ],
)
def test_what_says_that_it_is_nested_and_is_not_is_broken(
    outer: bytes, path: tuple[int, ...]
) -> None:
    """A nest, an array, and a member of one."""
    with pytest.raises(DecodeError, match="claims 99 bytes where 4 are left") as error:
        read(outer)
    assert error.value.path == path


@pytest.mark.parametrize(
    ("outer", "values"),
    [
        (build_attribute(13, BROKEN), {13: BROKEN}),
        (build_attribute(14, BROKEN), {14: BROKEN}),
        (build_nested(14, build_attribute(1, BROKEN)), {14: {1: BROKEN}}),
        (build_nested(99, build_attribute(1, BROKEN)), {99: {1: BROKEN}}),
    ],
)
def test_what_only_the_policy_calls_nested_is_bytes_where_it_is_not(
    outer: bytes, values: dict[int, Any]
) -> None:
    """The policy is of what goes out."""
    assert read(outer) == values
