"""Policies as the kernel writes them: read, walked, shown."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netlink_safe.wire.attributes import Attributes, build_attribute, build_u32
from netlink_safe.wire.policy import (
    NUMBERS,
    SIGNED,
    VARIABLE,
    AttributeKind,
    AttributePolicy,
    OperationPolicy,
    Policy,
    parse_attribute_policy,
    parse_policies,
)

pytestmark = pytest.mark.anywhere

KIND = AttributeKind


def build_u64(type_: int, value: int) -> bytes:
    return build_attribute(type_, struct.pack("=Q", value))


def parsed(*attributes: bytes) -> AttributePolicy:
    data = b"".join(attributes)
    return parse_attribute_policy(Attributes(data, 0, len(data)))


#: include/uapi/linux/netlink.h: enum netlink_policy_type_attr, of a policy that says it all.
EVERYTHING = [
    build_u64(2, (1 << 64) - 5),  # the least signed number
    build_u64(3, 6),  # the largest
    build_u64(4, 7),  # the least unsigned one
    build_u64(5, 8),
    build_u32(6, 9),  # lengths
    build_u32(7, 10),
    build_u32(8, 11),  # the nested policy's place, and its last type
    build_u32(9, 12),
    build_u32(10, 13),  # the mask of a bit field
    build_u64(12, 14),  # and of a number
]


@pytest.mark.parametrize(
    ("kind", "bounds", "mask"),
    [
        (KIND.U32, (7, 8), 14),
        (KIND.UINT, (7, 8), 14),
        (KIND.S8, (-5, 6), 14),
        (KIND.S16, (-5, 6), 14),
        (KIND.S32, (-5, 6), 14),
        (KIND.S64, (-5, 6), 14),
        (KIND.SINT, (-5, 6), 14),
        (KIND.BITFIELD32, (7, 8), 13),
    ],
)
def test_a_policy_is_read_by_its_kind(
    kind: AttributeKind, bounds: tuple[int, int], mask: int
) -> None:
    """Signed kinds have bounds of their own, and a bit field its own mask."""
    policy = parsed(build_u32(1, kind), *EVERYTHING)
    assert policy == AttributePolicy(
        kind=kind,
        minimum=bounds[0],
        maximum=bounds[1],
        minimum_length=9,
        maximum_length=10,
        mask=mask,
        policy=11,
        maximum_type=12,
    )


def test_what_a_policy_does_not_say_is_none() -> None:
    """Not even a kind has to be there; a signed bound that is missing is no 0."""
    assert parsed() == AttributePolicy(KIND.INVALID)
    assert parsed(build_u32(1, KIND.S32)) == AttributePolicy(KIND.S32)


@given(st.integers(-(1 << 63), (1 << 63) - 1), st.integers(0, (1 << 64) - 1))
def test_bounds_are_signed_where_the_kind_is(signed: int, unsigned: int) -> None:
    """All 64 bits of them, in two's complement."""
    bounds = [
        build_attribute(2, struct.pack("=q", signed)),
        build_attribute(3, struct.pack("=q", -1 - signed)),
        build_u64(4, unsigned),
        build_u64(5, (1 << 64) - 1 - unsigned),
    ]
    of_signed = parsed(build_u32(1, KIND.S64), *bounds)
    assert (of_signed.minimum, of_signed.maximum) == (signed, -1 - signed)
    of_unsigned = parsed(build_u32(1, KIND.U64), *bounds)
    assert (of_unsigned.minimum, of_unsigned.maximum) == (unsigned, (1 << 64) - 1 - unsigned)


@pytest.mark.parametrize("bound", [(1 << 63) - 1, 1 << 63, (1 << 63) + 1])
def test_the_sign_is_the_highest_bit(bound: int) -> None:
    """At the border between the largest signed number and the least."""
    (wanted,) = struct.unpack("=q", struct.pack("=Q", bound))
    assert parsed(build_u32(1, KIND.S64), build_u64(2, bound)).minimum == wanted


def test_kinds_have_the_kernels_numbers() -> None:
    """enum netlink_attribute_type; each is told by its name in small letters."""
    assert [str(kind) for kind in KIND] == [
        "invalid", "flag", "u8", "u16", "u32", "u64", "s8", "s16", "s32", "s64", "binary",
        "string", "nul_string", "nested", "nested_array", "bitfield32", "sint", "uint",
    ]  # fmt: skip
    assert [kind.value for kind in KIND] == list(range(18))
    assert KIND(77).name == "KIND_77"


def test_numbers_have_the_width_and_the_sign_of_their_kinds_name() -> None:
    """u8 to s64; and what is as wide as it needs to be has 4 bytes or 8."""
    for kind, form in NUMBERS.items():
        assert form.size * 8 == int(str(kind)[1:])
        is_signed = str(kind).startswith("s")
        assert (form.unpack(b"\xff" * form.size)[0] < 0) is is_signed
        assert (kind in SIGNED) is is_signed
    assert len(NUMBERS) == 8
    assert {str(kind): [form.size for form in forms] for kind, forms in VARIABLE.items()} == {
        "uint": [4, 8],
        "sint": [4, 8],
    }
    assert [form.unpack(b"\xff" * form.size)[0] < 0 for form in VARIABLE[KIND.SINT]] == [True] * 2
    assert [form.unpack(b"\xff" * form.size)[0] < 0 for form in VARIABLE[KIND.UINT]] == [False] * 2
    assert KIND.SINT in SIGNED
    assert KIND.UINT not in SIGNED


#: Two that are in each other, and one that is in none.
LEVELS: dict[int, dict[int, AttributePolicy]] = {
    0: {
        1: AttributePolicy(KIND.U8, minimum=0, maximum=7),
        2: AttributePolicy(KIND.NESTED, policy=3, maximum_type=4),
        5: AttributePolicy(KIND.NESTED),
    },
    3: {4: AttributePolicy(KIND.NESTED_ARRAY, policy=0, maximum_type=5)},
    9: {},
}
PLAIN: dict[int, Any] = {
    0: {
        1: {"kind": "u8", "minimum": 0, "maximum": 7},
        2: {"kind": "nested", "policy": 3, "maximum_type": 4},
        5: {"kind": "nested"},
    },
    3: {4: {"kind": "nested_array", "policy": 0, "maximum_type": 5}},
}


def test_a_policy_is_a_mapping_of_one_level() -> None:
    """By type; the next level is a policy, too."""
    policy = Policy(0, LEVELS)
    assert dict(policy) == LEVELS[0]
    assert (len(policy), list(policy), 3 in policy) == (3, [1, 2, 5], False)
    inside = policy.nested(2)
    assert inside is not None
    assert dict(inside) == LEVELS[3]
    again = inside.nested(4)
    assert again is not None
    assert dict(again) == LEVELS[0]
    assert (policy.nested(1), policy.nested(5), policy.nested(99)) == (None, None, None)
    assert repr(policy) == f"Policy({PLAIN[0]})"


def test_a_place_that_the_kernel_did_not_describe_is_empty() -> None:
    """A reply may have been cut short by a kernel that has no more to say."""
    policy = Policy(7, LEVELS)
    assert (len(policy), list(policy), dict(policy)) == (0, [], {})
    with pytest.raises(KeyError, match=r"^1$"):
        policy[1]
    assert policy.as_dict() == {"root": 7, "policies": {7: {}}}


def test_a_policy_is_told_with_all_that_is_in_it() -> None:
    """Each place once, though they contain each other; what is in none is left out."""
    assert Policy(0, LEVELS).as_dict() == {"root": 0, "policies": PLAIN}
    assert Policy(3, LEVELS).as_dict() == {"root": 3, "policies": PLAIN}
    assert Policy(9, LEVELS).as_dict() == {"root": 9, "policies": {9: {}}}


def test_of_several_nests_on_a_level_each_is_told() -> None:
    """Down to what is in them."""
    nest = {number: AttributePolicy(KIND.NESTED, policy=number) for number in range(1, 5)}
    levels = {0: {1: nest[1], 2: nest[2]}, 1: {3: nest[3]}, 2: {4: nest[4]}, 3: {}, 4: {}}
    assert set(Policy(0, levels).as_dict()["policies"]) == {0, 1, 2, 3, 4}


def test_an_operation_has_a_policy_for_one_thing_and_for_a_dump() -> None:
    """Each may be missing, which says that it cannot be asked so."""
    policies = parse_policies(LEVELS, {1: (0, 3), 2: (None, 9), 8: (None, None)})
    assert {number: one.as_dict() for number, one in policies.items()} == {
        1: {
            "do": {"root": 0, "policies": PLAIN},
            "dump": {"root": 3, "policies": PLAIN},
        },
        2: {"do": None, "dump": {"root": 9, "policies": {9: {}}}},
        8: {"do": None, "dump": None},
    }
    assert policies[8] == OperationPolicy()
