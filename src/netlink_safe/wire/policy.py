"""What attributes the kernel takes in a request, as it says itself (Linux 5.10 and newer).

``net/netlink/policy.c`` writes a family's policies as a list, in which a nested one stands once and
is named by its place, so that policies may contain themselves.

May call ``errors`` and ``wire``.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import attrs

from netlink_safe.wire.enums import newer_member

if TYPE_CHECKING:
    from netlink_safe.wire.attributes import Attributes

(
    TYPE, MINIMUM_SIGNED, MAXIMUM_SIGNED, MINIMUM, MAXIMUM, MINIMUM_LENGTH, MAXIMUM_LENGTH,
    POLICY, MAXIMUM_TYPE, BITFIELD, _PAD, MASK,
) = range(1, 13)  # fmt: skip


class AttributeKind(enum.IntEnum):
    """What an attribute holds: enum netlink_attribute_type of ``include/uapi/linux/netlink.h``."""

    INVALID = 0
    FLAG = 1
    U8 = 2
    U16 = 3
    U32 = 4
    U64 = 5
    S8 = 6
    S16 = 7
    S32 = 8
    S64 = 9
    BINARY = 10
    STRING = 11
    NUL_STRING = 12
    NESTED = 13
    NESTED_ARRAY = 14
    BITFIELD32 = 15
    SINT = 16
    UINT = 17

    def __str__(self) -> str:
        return self.name.lower()

    @classmethod
    def _missing_(cls, value: object) -> AttributeKind | None:
        """A kind that is newer than this library: its payload is bytes."""
        return newer_member(cls, value, "KIND")


#: How the kinds that are numbers of one width stand in memory.
NUMBERS: Final = {
    AttributeKind.U8: struct.Struct("=B"),
    AttributeKind.U16: struct.Struct("=H"),
    AttributeKind.U32: struct.Struct("=I"),
    AttributeKind.U64: struct.Struct("=Q"),
    AttributeKind.S8: struct.Struct("=b"),
    AttributeKind.S16: struct.Struct("=h"),
    AttributeKind.S32: struct.Struct("=i"),
    AttributeKind.S64: struct.Struct("=q"),
}
#: Numbers that are as wide as they need to be, 4 or 8 bytes (Linux 6.7 and newer).
VARIABLE: Final = {
    AttributeKind.UINT: (NUMBERS[AttributeKind.U32], NUMBERS[AttributeKind.U64]),
    AttributeKind.SINT: (NUMBERS[AttributeKind.S32], NUMBERS[AttributeKind.S64]),
}
SIGNED: Final = frozenset(
    {
        AttributeKind.S8,
        AttributeKind.S16,
        AttributeKind.S32,
        AttributeKind.S64,
        AttributeKind.SINT,
    }
)


@attrs.frozen(slots=True)
class AttributePolicy:
    """What the kernel takes for one attribute.

    ``minimum`` and ``maximum`` bound a number, ``mask`` says which of its bits may be set;
    ``minimum_length`` and ``maximum_length`` are in bytes, of a text without its NUL.
    ``policy`` is the place of the nested attributes' policy, which goes up to ``maximum_type``.
    None is what the kernel does not say (``net/netlink/policy.c``:
    __netlink_policy_dump_write_attr).
    """

    kind: AttributeKind
    minimum: int | None = None
    maximum: int | None = None
    minimum_length: int | None = None
    maximum_length: int | None = None
    mask: int | None = None
    policy: int | None = None
    maximum_type: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """The same as plain data, without what is not said."""
        plain = attrs.asdict(self, filter=lambda _, value: value is not None)
        return {**plain, "kind": str(self.kind)}


@attrs.frozen(slots=True, eq=False, repr=False)
class Policy(Mapping[int, AttributePolicy]):
    """The attributes of one level, by type; ``nested`` leads to the next.

    ``index`` is the place of this level among all that the kernel told, which nests are named by.
    """

    index: int
    _all: Mapping[int, Mapping[int, AttributePolicy]]

    def __repr__(self) -> str:
        """With the attributes of this level; what is nested is named by its place."""
        shown = {type_: one.as_dict() for type_, one in self.items()}
        return f"Policy({shown})"

    def __getitem__(self, type_: int) -> AttributePolicy:
        return self._all.get(self.index, {})[type_]

    def __iter__(self) -> Any:
        return iter(self._all.get(self.index, {}))

    def __len__(self) -> int:
        return len(self._all.get(self.index, {}))

    def as_dict(self) -> dict[str, Any]:
        """The same as plain data, with every policy that is nested in it, by place."""
        policies: dict[int, dict[int, Any]] = {}
        waiting: list[Policy] = [self]
        while waiting:
            policy = waiting.pop()
            if policy.index not in policies:
                policies[policy.index] = {type_: one.as_dict() for type_, one in policy.items()}
                inside = [policy.nested(type_) for type_ in policy]
                waiting += [one for one in inside if one is not None]
        return {"root": self.index, "policies": policies}

    def nested(self, type_: int) -> Policy | None:
        """The policy of what is inside an attribute; None where the kernel does not say."""
        one = self.get(type_)
        return None if one is None or one.policy is None else Policy(one.policy, self._all)


@attrs.frozen(slots=True)
class OperationPolicy:
    """What an operation takes, asked for one thing and for a dump; None where it cannot be."""

    do: Policy | None = None
    dump: Policy | None = None

    def as_dict(self) -> dict[str, Any]:
        """The same as plain data."""
        pairs = (("do", self.do), ("dump", self.dump))
        return {name: None if policy is None else policy.as_dict() for name, policy in pairs}


def parse_policies(
    policies: Mapping[int, Mapping[int, AttributePolicy]],
    operations: Mapping[int, tuple[int | None, int | None]],
) -> dict[int, OperationPolicy]:
    """The policies of each operation, of the places that the kernel gave for do and dump."""

    def policy(place: int | None) -> Policy | None:
        return None if place is None else Policy(place, policies)

    return {
        operation: OperationPolicy(policy(do), policy(dump))
        for operation, (do, dump) in operations.items()
    }


def parse_attribute_policy(said: Attributes) -> AttributePolicy:
    """One attribute's policy, NL_POLICY_TYPE_ATTR_*.  Raises DecodeError."""
    kind = AttributeKind(said.u32(TYPE) or 0)
    minimum, maximum = said.u64(MINIMUM), said.u64(MAXIMUM)
    if kind in SIGNED:
        minimum, maximum = _signed(said.u64(MINIMUM_SIGNED)), _signed(said.u64(MAXIMUM_SIGNED))
    mask = said.u32(BITFIELD) if kind is AttributeKind.BITFIELD32 else said.u64(MASK)
    return AttributePolicy(
        kind,
        minimum,
        maximum,
        said.u32(MINIMUM_LENGTH),
        said.u32(MAXIMUM_LENGTH),
        mask,
        said.u32(POLICY),
        said.u32(MAXIMUM_TYPE),
    )


def _signed(value: int | None) -> int | None:
    return value if value is None or value < 1 << 63 else value - (1 << 64)
