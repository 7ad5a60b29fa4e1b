"""Attributes and plain values: there and back, by policy, and errors that say where."""

from __future__ import annotations

import contextlib
import struct
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from netlink_safe.errors import DecodeError, ExtendedAck, LocalProtocolError
from netlink_safe.wire.attribute_path import path_at, path_meant, spelled
from netlink_safe.wire.attributes import (
    DEEPEST,
    Attributes,
    build_attribute,
    build_nested,
    build_text,
    build_u32,
)
from netlink_safe.wire.constants import NLA_F_NESTED
from netlink_safe.wire.header import HEADER
from netlink_safe.wire.policy import AttributeKind, AttributePolicy, Policy, parse_attribute_policy
from netlink_safe.wire.values import decode_values, encode_values

pytestmark = pytest.mark.anywhere

KIND = AttributeKind


def number(kind: AttributeKind, bits: int, *, signed: bool = False) -> AttributePolicy:
    """A number of so many bits, anything that fits."""
    least = -(1 << bits - 1) if signed else 0
    most = (1 << bits - 1) - 1 if signed else (1 << bits) - 1
    return AttributePolicy(kind, minimum=least, maximum=most)


#: One attribute of every kind, and itself inside.
ONE_OF_EACH: dict[int, AttributePolicy] = {
    1: AttributePolicy(KIND.FLAG),
    2: number(KIND.U8, 8),
    3: number(KIND.U16, 16),
    4: number(KIND.U32, 32),
    5: number(KIND.U64, 64),
    6: number(KIND.S8, 8, signed=True),
    7: number(KIND.S16, 16, signed=True),
    8: number(KIND.S32, 32, signed=True),
    9: number(KIND.S64, 64, signed=True),
    10: AttributePolicy(KIND.BINARY, maximum_length=20),
    11: AttributePolicy(KIND.STRING, maximum_length=20),
    12: AttributePolicy(KIND.NUL_STRING, maximum_length=20),
    13: AttributePolicy(KIND.NESTED, policy=0, maximum_type=17),
    14: AttributePolicy(KIND.NESTED_ARRAY, policy=0, maximum_type=17),
    15: AttributePolicy(KIND.BITFIELD32, mask=0xFF),
    16: AttributePolicy(KIND.SINT),
    17: AttributePolicy(KIND.UINT),
}
POLICY = Policy(0, {0: ONE_OF_EACH})

TEXT = st.text(st.characters(min_codepoint=1, max_codepoint=127), max_size=20)
SINGLE: dict[int, st.SearchStrategy[Any]] = {
    1: st.just(True),
    **{
        type_: st.integers(one.minimum, one.maximum)
        for type_, one in ONE_OF_EACH.items()
        if one.minimum is not None
    },
    10: st.binary(max_size=20),
    11: TEXT,
    12: TEXT,
    15: st.tuples(st.integers(0, 0xFF), st.integers(0, 0xFF)),
    16: st.integers(-(1 << 63), (1 << 63) - 1),
    17: st.integers(0, (1 << 64) - 1),
}
FLAT = st.fixed_dictionaries({}, optional=SINGLE)
VALUES = st.recursive(
    FLAT,
    lambda inside: st.fixed_dictionaries(
        {}, optional={**SINGLE, 13: inside, 14: st.lists(inside, max_size=3)}
    ),
    max_leaves=5,
)


#: An attribute, and two bytes that are none.
CUT_SHORT = build_attribute(2, b"1") + b"xy"


def read(data: bytes) -> Attributes:
    return Attributes(data, 0, len(data))


@given(VALUES)
def test_values_come_back_as_they_went_out(values: dict[int, Any]) -> None:
    """Of every kind, nested and in arrays, with themselves inside."""
    assert decode_values(read(encode_values(values, POLICY)), POLICY) == values


@given(st.lists(st.integers(0, 1 << 31), min_size=2, max_size=5))
def test_what_stands_there_several_times_is_a_list(numbers: list[int]) -> None:
    """Out and back; and without a policy its payloads are bytes."""
    data = encode_values({4: numbers}, POLICY)
    assert decode_values(read(data), POLICY) == {4: numbers}
    assert decode_values(read(data), None) == {4: [struct.pack("=I", one) for one in numbers]}
    assert read(data).all(4) == [struct.pack("=I", one) for one in numbers]
    assert read(data).u32(4) == numbers[-1]


@given(VALUES)
def test_without_a_policy_nests_say_that_they_are_some(values: dict[int, Any]) -> None:
    """The rest is bytes, and those go out again as they came."""
    data = encode_values(values, POLICY)
    plain = decode_values(read(data), None)
    assert encode_values(plain, None) == data
    assert set(plain) == set(values)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({2: 256}, "attribute 2: 256 is above the 255"),
        ({2: -1}, "attribute 2: -1 is below the 0"),
        ({13: {13: {6: 128}}}, "attribute 13.13.6: 128 is above"),
        ({14: [{2: 1}, {2: 999}]}, "attribute 14.2.2: 999 is above"),
        ({10: b"x" * 21}, "attribute 10: 21 bytes are more than the 20"),
        ({11: "x" * 21}, "attribute 11: 21 bytes are more than the 20"),
        ({12: "x" * 21}, "attribute 12: 21 bytes are more than the 20"),
        ({15: (256, 0)}, "has bits beside 0xff"),
        ({15: (1, 2, 3)}, "no value and selector"),
        ({16: 1 << 63}, "does not fit sint"),
        ({17: -1}, "does not fit uint"),
        ({1: 5}, "5 is given where flag is wanted"),
        ({2: True}, "True is given where u8 is wanted"),
        ({99: (1, 2)}, "is given where bytes is wanted"),
        ({4: "1"}, "'1' is given where u32 is wanted"),
        ({11: 5}, "5 is given where string is wanted"),
        ({0: 1}, "no number from 1 to 16383"),
        ({14: {-1: {}}}, "attribute 14.-1: the type is no number from 0 to 16383"),
        ({12: "a\0b"}, "attribute 12: 'a.x00b' has a NUL"),
        ({13: {11: "\ud800"}}, "attribute 13.11: '.ud800' has a NUL or a lone surrogate"),
        ({99: 5}, "does not say how wide"),
        ({99: "x"}, "'x' is given where bytes is wanted"),
        ({4: 1.5}, "1.5 is given where u32 is wanted"),
    ],
)
def test_what_the_policy_does_not_take_is_named(values: dict[int, Any], text: str) -> None:
    """By the path that leads there, and with what would do."""
    with pytest.raises(LocalProtocolError, match=text):
        encode_values(values, POLICY)


def test_what_is_not_given_is_left_out() -> None:
    """None, and a flag that is not set."""
    assert encode_values({1: False, 2: None, 13: None}, POLICY) == b""
    assert decode_values(read(b""), POLICY) == {}


def test_a_payload_of_another_size_is_bytes() -> None:
    """A policy says what goes out; what comes back may be something else under the same number."""
    data = build_attribute(4, b"123") + build_attribute(15, b"1") + build_attribute(2, b"12")
    assert decode_values(read(data), POLICY) == {4: b"123", 15: b"1", 2: b"12"}


@pytest.mark.parametrize(
    ("data", "values"),
    [
        (build_attribute(1, b"1234"), {1: b"1234"}),
        (build_attribute(12, b"\1\0\0\0"), {12: b"\1\0\0\0"}),
        (build_attribute(12, b"lo\0"), {12: "lo"}),
        (build_attribute(12, b"lo\0\0"), {12: b"lo\0\0"}),
        (build_attribute(11, b"\xff"), {11: b"\xff"}),
        (build_nested(11, build_u32(1, 5)), {11: {1: struct.pack("=I", 5)}}),
        (build_nested(2, build_attribute(9, b"")), {2: {9: b""}}),
        (build_attribute(13, b"1234"), {13: b"1234"}),
        (build_attribute(13, CUT_SHORT), {13: CUT_SHORT}),
        (build_attribute(14, b"1234"), {14: b"1234"}),
        (build_nested(14, build_nested(0, build_u32(4, 7))), {14: {0: {4: 7}}}),
        (build_nested(14, build_u32(1, 7)), {14: {1: struct.pack("=I", 7)}}),
        (
            build_nested(14, build_nested(1, build_u32(4, 7))) + build_nested(14),
            {14: [[{4: 7}], []]},
        ),
    ],
)
def test_what_does_not_fit_its_kind_is_not_forced_into_it(
    data: bytes, values: dict[int, Any]
) -> None:
    """An answer is read by the policy of its request, which may mean something else by a type."""
    assert decode_values(read(data), POLICY) == values


#: One of each that takes whatever it is given, less what 8 bytes may come back from in 4.
UNBOUNDED = Policy(
    0,
    {
        0: {
            type_: AttributePolicy(one.kind, policy=one.policy)
            for type_, one in ONE_OF_EACH.items()
            if one.kind not in {KIND.SINT, KIND.UINT}
        }
    },
)
TYPES = st.integers(1, 20)
ATTRIBUTES = st.recursive(
    st.builds(build_attribute, TYPES, st.binary(max_size=12)),
    lambda inside: st.builds(
        build_attribute,
        st.builds(int.__or__, TYPES, st.sampled_from([0, NLA_F_NESTED])),
        st.lists(inside, max_size=3).map(b"".join),
    ),
    max_leaves=6,
)


def bare(data: bytes) -> Any:
    """Attributes by type, less what a reader may pass over: padding, flags, a text's last NUL."""
    try:
        attributes = read(data)
    except DecodeError:
        return data
    if not attributes or not attributes.is_whole:
        return data
    told = []
    for type_, payload in attributes:
        inside = bare(payload)
        is_text = type_ in {11, 12} and isinstance(inside, bytes)
        told.append((type_, inside.removesuffix(b"\0") if is_text else inside))
    return sorted(told, key=lambda pair: pair[0])


@given(ATTRIBUTES)
def test_what_is_read_is_the_bytes_or_can_be_told_back_to_them(data: bytes) -> None:
    """Whatever stands under which type: nothing is lost, and nothing made up."""
    with contextlib.suppress(DecodeError):
        values = decode_values(read(data), UNBOUNDED)
        assert bare(encode_values(values, UNBOUNDED)) == bare(data)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """With a policy or without, nothing but DecodeError is raised."""
    for policy in (POLICY, None):
        with contextlib.suppress(DecodeError):
            decode_values(read(data), policy)


def test_a_nest_with_a_false_length_is_refused() -> None:
    """The offset and the path say where."""
    inside = struct.pack("=HH", 400, 2) + b"lo\0\0"
    data = build_nested(1, inside)
    with pytest.raises(DecodeError, match="claims 400 bytes where 8 are left") as refused:
        decode_values(read(data), None)
    assert refused.value.path == (1, 2)
    assert refused.value.offset == 4


def test_a_thousand_levels_are_refused() -> None:
    """On the way in and on the way out, before Python's own stack is full."""
    data = b""
    values: dict[int, Any] = {}
    for _ in range(1000):
        data, values = build_nested(1, data), {1: values}
    with pytest.raises(DecodeError, match=f"nested deeper than {DEEPEST}"):
        decode_values(read(data), None)
    with pytest.raises(LocalProtocolError, match=f"{DEEPEST} deep"):
        encode_values(values, None)


def test_attributes_are_read_by_type() -> None:
    """What is not there is None; what is too short for a number is an error."""
    data = build_text(1, "lo") + build_u32(2, 7) + build_nested(3, build_u32(1, 9))
    said = read(
        data
        + build_attribute(4, b"\xff\xff\xff\xff")
        + build_attribute(5, b"x")
        + build_attribute(6, struct.pack("=H", 6))
    )
    assert said.text(1) == "lo"
    assert (said.u8(5), said.u16(6), said.u32(2)) == (ord("x"), 6, 7)
    assert said.s32(4) == -1
    inside = said.nested(3)
    assert inside is not None
    assert inside.u32(1) == 9
    assert (said.raw(9), said.text(9), said.u64(9), said.nested(9)) == (None, None, None, None)
    assert 1 in said
    assert 9 not in said
    assert len(said) == 6
    assert [type_ for type_, _ in said] == [1, 2, 3, 4, 5, 6]
    with pytest.raises(DecodeError, match="a number of 1 bytes where 4 are needed") as short:
        said.u32(5)
    assert short.value.path == (5,)


def test_a_kind_that_is_newer_than_this_library_has_a_name() -> None:
    """Its payload is bytes."""
    policy = parse_attribute_policy(read(build_u32(1, 77)))
    assert str(policy.kind) == "kind_77"
    assert policy.as_dict() == {"kind": "kind_77"}
    assert decode_values(read(build_u32(1, 5)), Policy(0, {0: {1: policy}})) == {
        1: struct.pack("=I", 5)
    }


NAMES = {1: ("A_HEADER", {2: ("A_NAME", None)}), 3: ("A_FLAG", None)}
BODY = build_nested(1, build_u32(1, 5), build_text(2, "lo")) + build_u32(3, 0)
MESSAGE = bytes(HEADER.size) + b"\2\1\0\0" + BODY
START = HEADER.size + 4


@pytest.mark.parametrize(
    ("offset", "path", "text"),
    [
        (START, (1,), "A_HEADER"),
        (START + 4, (1, 1), "A_HEADER.1"),
        (START + 12, (1, 2), "A_HEADER.A_NAME"),
        (START + 20, (3,), "A_FLAG"),
        (START + 28, (), ""),
        (0, (), ""),
        (9999, (), ""),
    ],
)
def test_an_offset_leads_to_an_attribute(offset: int, path: tuple[int, ...], text: str) -> None:
    """By name where one is known, by number elsewhere; outside of all it leads nowhere."""
    assert path_at(MESSAGE, START, offset) == path
    assert spelled(path, NAMES) == text
    assert spelled(path, None) == ".".join(map(str, path))
    assert path_meant(MESSAGE, START, ExtendedAck(offset=offset)) == path


def test_what_is_missing_is_named_by_its_nest() -> None:
    """NLMSGERR_ATTR_MISS_TYPE and MISS_NEST; without a nest it is the top."""
    assert path_meant(MESSAGE, START, ExtendedAck(missing_type=3)) == (3,)
    nested = ExtendedAck(missing_type=2, missing_nest=START)
    assert path_meant(MESSAGE, START, nested) == (1, 2)
    assert path_meant(MESSAGE, START, ExtendedAck("words alone")) == ()
    assert path_meant(MESSAGE, START, None) == ()


@given(st.binary(max_size=100), st.integers(0, 200))
def test_no_offset_leads_astray(body: bytes, offset: int) -> None:
    """Of whatever was sent: the kernel's word is believed as far as it makes sense."""
    assert len(path_at(bytes(20) + body, 20, offset)) <= DEEPEST + 1
