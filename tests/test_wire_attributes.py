"""Attributes to the byte: built, found, refused, and the path to the one that is meant."""

from __future__ import annotations

import struct

import pytest

from netlink_safe.errors import DecodeError, ExtendedAck
from netlink_safe.wire.attribute_path import path_at, path_meant, spelled
from netlink_safe.wire.attributes import (
    DEEPEST,
    LARGEST,
    Attributes,
    build_attribute,
    build_nested,
    build_text,
    build_u32,
    encode_text,
    is_name,
    iterate_attributes,
)

pytestmark = pytest.mark.anywhere


def read(data: bytes, path: tuple[int, ...] = ()) -> Attributes:
    return Attributes(data, 0, len(data), path)


def test_an_attribute_is_its_length_its_type_and_its_payload() -> None:
    """Struct nlattr; the length counts the header and not the padding."""
    assert build_attribute(5, b"abcde") == struct.pack("=HH", 9, 5) + b"abcde\0\0\0"
    assert build_nested(5, b"abcd", b"efgh") == struct.pack("=HH", 12, 0x8005) + b"abcdefgh"
    assert build_u32(5, 0xFFFFFFFE) == struct.pack("=HHL", 8, 5, 0xFFFFFFFE)
    assert build_text(5, "abc") == struct.pack("=HH", 8, 5) + b"abc\0"
    with pytest.raises(ValueError, match=r"^an attribute holds at most 65531 bytes, not 65532$"):
        build_attribute(5, bytes(LARGEST + 1))


def test_a_text_goes_out_as_it_came() -> None:
    """What was no UTF-8 came as lone surrogates, which stand for bytes."""
    assert encode_text("caf\u00e9\udcff") == b"caf\xc3\xa9\xff"
    with pytest.raises(ValueError, match=r"^a text ends at a NUL$"):
        encode_text("a\0b")
    with pytest.raises(ValueError, match="surrogates not allowed"):
        encode_text("\ud800")


@pytest.mark.parametrize(
    ("value", "is_one"),
    [
        ("abc", True),
        ("a", True),
        ("\u00e9a", True),
        ("", False),
        ("abcd", False),
        ("\u00e9\u00e9", False),
        ("a\0", False),
        ("\ud800", False),
        (b"abc", False),
        (None, False),
    ],
)
def test_a_name_is_a_text_of_so_many_bytes(value: object, is_one: bool) -> None:
    """Bytes are counted and not letters; what is no text is no name."""
    assert is_name(value, 3) is is_one


@pytest.mark.parametrize(
    ("length", "reason"),
    [
        (3, "an attribute that claims 3 bytes"),
        (9, "an attribute that claims 9 bytes where 8 are left"),
    ],
)
def test_a_length_that_cannot_be_is_refused_with_its_place(length: int, reason: str) -> None:
    """Behind one that is whole, which is handed out before."""
    data = build_u32(1, 0) + struct.pack("=HH", length, 0x8005) + bytes(4)
    found = iterate_attributes(data, 0, len(data), (2,))
    assert next(found) == (1, 4, 8)
    with pytest.raises(DecodeError) as error:
        next(found)
    assert (error.value.reason, error.value.offset, error.value.path) == (reason, 8, (2, 5))


def test_up_to_3_bytes_behind_the_last_are_no_attribute() -> None:
    """And a header alone is one that is empty."""
    empty = struct.pack("=HH", 4, 5)
    for trailing in range(4):
        data = empty + bytes(trailing)
        assert list(iterate_attributes(data, 0, len(data))) == [(5, 4, 4)]


def test_numbers_are_read_in_their_width() -> None:
    """The least and the largest of each; the last of a type counts."""
    data = build_attribute(1, b"\1" * 8) + build_attribute(1, b"\xfe" + b"\xff" * 7)
    said = read(data)
    assert said.u8(1) == 0xFE
    assert said.u16(1) in {0xFFFE, 0xFEFF}
    assert said.u32(1) == struct.unpack("=L", b"\xfe\xff\xff\xff")[0]
    assert said.s32(1) == struct.unpack("=l", b"\xfe\xff\xff\xff")[0]
    assert said.u64(1) == struct.unpack("=Q", b"\xfe" + b"\xff" * 7)[0]
    assert said.raw(1) == b"\xfe" + b"\xff" * 7
    assert said.all(1) == [b"\1" * 8, said.raw(1)]


@pytest.mark.parametrize(
    ("verb", "size"), [("u8", 1), ("u16", 2), ("u32", 4), ("s32", 4), ("u64", 8)]
)
def test_a_number_that_is_too_short_is_refused(verb: str, size: int) -> None:
    """With where its payload starts; one that stands in more bytes is read from its first."""
    exact = read(build_attribute(5, b"\0" * size))
    assert getattr(exact, verb)(5) == 0
    short = read(build_u32(1, 0) + build_attribute(5, b"\0" * (size - 1)), (2,))
    with pytest.raises(DecodeError) as error:
        getattr(short, verb)(5)
    assert error.value.reason == f"a number of {size - 1} bytes where {size} are needed"
    assert (error.value.offset, error.value.path) == (12, (2, 5))


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (b"lo\0", "lo"),
        (b"lo", "lo"),
        (b"lo\0eth0\0", "lo"),
        (b"", ""),
        (b"caf\xc3\xa9\xff\0", "caf\u00e9\udcff"),
    ],
)
def test_a_text_ends_at_its_first_nul(payload: bytes, text: str) -> None:
    """Or with its attribute; bytes that are no UTF-8 are surrogates, so that none is lost."""
    assert read(build_attribute(1, payload)).text(1) == text


BROKEN = struct.pack("=HH", 99, 3)


def test_what_is_nested_knows_the_way_to_it() -> None:
    """However one goes in, an error names the types from the outermost on."""
    data = build_nested(1, build_u32(2, 7)) + build_nested(4, build_nested(5, BROKEN))
    said = read(data)
    inside = said.nested(1)
    assert inside is not None
    assert inside.u32(2) == 7
    assert [type_ for type_, _ in said.each_nested()] == [1, 4]
    broken = said.nested(4)
    assert broken is not None
    for enter in (
        lambda: broken.nested(5),
        lambda: list(broken.each_nested()),
        lambda: [look() for _, _, _, look in broken.each()],
        lambda: dict(said.each_nested())[4].nested(5),
    ):
        with pytest.raises(DecodeError) as error:
            enter()
        assert (error.value.path, error.value.offset) == ((4, 5, 3), 20)


def test_each_says_its_type_its_flag_its_payload_and_what_is_inside() -> None:
    """In order, and inside is looked at only where one asks."""
    data = build_nested(1, build_u32(2, 7)) + build_attribute(3, b"abc")
    nested, plain = read(data).each()
    assert nested[:3] == (1, True, build_u32(2, 7))
    assert nested[3]().u32(2) == 7
    assert plain[:3] == (3, False, b"abc")


def test_attributes_are_whole_where_only_padding_follows() -> None:
    """A byte that belongs to none is told."""
    data = build_attribute(1, b"abcde") + build_attribute(2, b"a")
    assert read(data).is_whole
    assert read(data[:-3]).is_whole
    assert not read(data + b"\0").is_whole
    assert read(b"").is_whole
    assert not read(b"\0").is_whole


def test_nests_may_be_as_deep_as_the_limit() -> None:
    """One more is refused, with where it starts and the path that leads there."""
    path = tuple(range(DEEPEST))
    assert len(read(b"", path)) == 0
    with pytest.raises(DecodeError) as error:
        Attributes(bytes(8), 8, 8, (*path, 1))
    assert error.value.reason == "attributes that are nested deeper than 32"
    assert (error.value.offset, error.value.path) == (8, (*path, 1))


def test_a_path_leads_as_deep_as_the_limit_and_ends_there() -> None:
    """The kernel's own offset may point deeper than attributes may be nested."""
    data = b""
    for _ in range(DEEPEST + 10):
        data = build_nested(1, data)
    message = bytes(20) + data
    for depth in (1, 5, DEEPEST + 1, DEEPEST + 9):
        offset = 20 + 4 * (depth - 1)
        assert path_at(message, 20, offset) == (1,) * min(depth, DEEPEST + 1)


def test_an_offset_into_a_payload_leads_to_its_attribute() -> None:
    """Where no attribute starts there, what it lies in is meant."""
    message = bytes(20) + build_u32(1, 0) + build_nested(2, build_u32(3, 0))
    assert path_at(message, 20, 25) == (1,)
    assert path_at(message, 20, 28) == (2,)
    assert path_at(message, 20, 32) == (2, 3)
    assert path_at(message, 20, 19) == ()


def test_a_missing_attribute_of_the_top_needs_no_nest() -> None:
    """With a nest, what is missing stands behind the path to it; a type 0 is one like others."""
    message = bytes(20) + build_nested(2, build_u32(3, 0))
    assert path_meant(message, 20, ExtendedAck(missing_type=0)) == (0,)
    assert path_meant(message, 20, ExtendedAck(missing_type=9, missing_nest=20)) == (2, 9)
    assert path_meant(message, 20, ExtendedAck(missing_type=9, offset=24)) == (9,)
    assert spelled((2, 9, 1), {2: ("OUTER", {9: ("INNER", None)})}) == "OUTER.INNER.1"
