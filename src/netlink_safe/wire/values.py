"""Plain values as attributes and back, by what the kernel's policy says of them.

::

    int                 a number of the width that the policy says, within its bounds
    str                 a text, with a NUL behind it where the policy wants one
    True                a flag; False and None are left out
    bytes               the payload as it is, whatever the policy says of its kind
    a mapping           attributes inside an attribute, by type
    a list              the same attribute several times, or an array of nested ones
    (value, selector)   a bit field

May call ``errors`` and ``wire``.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from netlink_safe.errors import LocalProtocolError
from netlink_safe.wire.attributes import DEEPEST, LARGEST, build_attribute
from netlink_safe.wire.constants import NLA_F_NESTED, NLA_TYPE_MASK
from netlink_safe.wire.policy import NUMBERS, VARIABLE, AttributeKind, AttributePolicy

if TYPE_CHECKING:
    from netlink_safe.wire.attributes import Attributes
    from netlink_safe.wire.policy import Policy

#: What stands for an attribute; see above.
Value: TypeAlias = (
    "int | str | bytes | bool | tuple[int, int] | list[Any] | Mapping[int, Any] | None"
)

_BITFIELD: Final = struct.Struct("=II")
_UNKNOWN: Final = AttributePolicy(AttributeKind.INVALID)
#: Of what the policy says nothing, True is a flag all the same: there is no other way to send one.
_FLAGS: Final = frozenset({AttributeKind.FLAG, AttributeKind.INVALID})
_TEXTS: Final = frozenset({AttributeKind.STRING, AttributeKind.NUL_STRING})


def encode_values(
    values: Mapping[int, Value], policy: Policy | None, path: tuple[int, ...] = ()
) -> bytes:
    """The attributes, in the order given.

    Raises LocalProtocolError, which names the attribute, for a value that the policy does not take.
    """
    if len(path) > DEEPEST:
        raise LocalProtocolError(f"attributes may be nested {DEEPEST} deep, and no deeper")
    built = []
    for type_, value in values.items():
        where = (*path, type_)
        if isinstance(type_, bool) or not isinstance(type_, int) or not 0 < type_ <= NLA_TYPE_MASK:
            raise _refused(where, f"the type is no number from 1 to {NLA_TYPE_MASK}")
        one = _UNKNOWN if policy is None else policy.get(type_, _UNKNOWN)
        nested = None if policy is None else policy.nested(type_)
        is_array = one.kind is AttributeKind.NESTED_ARRAY
        each = value if isinstance(value, list) and not is_array else [value]
        built += [_encode(type_, one_value, one, nested, where) for one_value in each]
    return b"".join(built)


def _encode(
    type_: int, value: Value, one: AttributePolicy, nested: Policy | None, where: tuple[int, ...]
) -> bytes:
    if value is None or (value is False and one.kind in _FLAGS):
        return b""
    if isinstance(value, Mapping):
        inside = encode_values(value, nested, where)
        return _built(type_ | NLA_F_NESTED, inside, where)
    if isinstance(value, list):
        inside = b"".join(
            _encode(number, member, _UNKNOWN, nested, (*where, number))
            for number, member in enumerate(value, 1)
        )
        return _built(type_ | NLA_F_NESTED, inside, where)
    payload = _payload(value, one, where)
    if isinstance(value, str) or one.kind is AttributeKind.BINARY:
        _check_length(len(payload) - (one.kind is AttributeKind.NUL_STRING), one, where)
    return _built(type_, payload, where)


def _check_length(size: int, one: AttributePolicy, where: tuple[int, ...]) -> None:
    least, most = one.minimum_length, one.maximum_length
    if least is not None and size < least:
        raise _refused(where, f"{size} bytes are less than the {least} that the kernel wants")
    if most is not None and size > most:
        raise _refused(where, f"{size} bytes are more than the {most} that the kernel takes")


def _payload(value: Value, one: AttributePolicy, where: tuple[int, ...]) -> bytes:
    kind = one.kind
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if value is True and kind in _FLAGS:
        return b""
    if isinstance(value, str) and kind in _TEXTS:
        return value.encode("utf-8", "surrogateescape") + b"\0" * (kind is AttributeKind.NUL_STRING)
    if isinstance(value, tuple) and kind is AttributeKind.BITFIELD32:
        return _bitfield(value, one, where)
    if isinstance(value, int) and not isinstance(value, bool):
        if kind in NUMBERS or kind in VARIABLE:
            return _number(value, one, where)
        if kind is AttributeKind.INVALID:
            raise _refused(
                where, "the kernel's policy does not say how wide a number is here; give bytes"
            )
    wanted = "bytes" if kind is AttributeKind.INVALID else str(kind)
    raise _refused(where, f"{value!r} is given where {wanted} is wanted")


def _number(value: int, one: AttributePolicy, where: tuple[int, ...]) -> bytes:
    if one.minimum is not None and value < one.minimum:
        raise _refused(where, f"{value} is below the {one.minimum} that the kernel takes at least")
    if one.maximum is not None and value > one.maximum:
        raise _refused(where, f"{value} is above the {one.maximum} that the kernel takes at most")
    if one.mask is not None and value & ~one.mask:
        raise _refused(where, f"{value:#x} has bits beside {one.mask:#x}, which the kernel takes")
    forms = VARIABLE.get(one.kind) or (NUMBERS[one.kind],)
    for form in forms:
        try:
            return form.pack(value)
        except struct.error:
            continue
    raise _refused(where, f"{value} does not fit {one.kind}")


def _bitfield(value: tuple[int, ...], one: AttributePolicy, where: tuple[int, ...]) -> bytes:
    try:
        bits, selector = value
        payload = _BITFIELD.pack(bits, selector)
    except (ValueError, struct.error):
        raise _refused(where, f"{value!r} is no value and selector of 32 bits each") from None
    if one.mask is not None and (bits | selector) & ~one.mask:
        raise _refused(where, f"{value!r} has bits beside {one.mask:#x}, which the kernel takes")
    return payload


def _built(type_: int, payload: bytes, where: tuple[int, ...]) -> bytes:
    if len(payload) > LARGEST:
        raise _refused(where, f"{len(payload)} bytes are more than an attribute holds ({LARGEST})")
    return build_attribute(type_, payload)


def _refused(where: tuple[int, ...], why: str) -> LocalProtocolError:
    return LocalProtocolError(f"attribute {'.'.join(map(str, where))}: {why}")


def decode_values(attributes: Attributes, policy: Policy | None) -> dict[int, Any]:
    """The attributes as plain values, by type.

    What the policy says nothing of is bytes, or a mapping where the attribute says itself that it
    is nested.  What stands there several times is a list.  Raises DecodeError.
    """
    found: dict[int, list[Any]] = {}
    for type_, says_nested, payload, inside in attributes.each():
        one = _UNKNOWN if policy is None else policy.get(type_, _UNKNOWN)
        nested = None if policy is None else policy.nested(type_)
        value: Any
        if one.kind is AttributeKind.NESTED_ARRAY:
            value = [decode_values(member, nested) for _, member in inside().each_nested()]
        elif one.kind is AttributeKind.NESTED or (one is _UNKNOWN and says_nested):
            value = decode_values(inside(), nested)
        else:
            value = _decode(payload, one.kind)
        found.setdefault(type_, []).append(value)
    return {type_: values[0] if len(values) == 1 else values for type_, values in found.items()}


def _decode(payload: bytes, kind: AttributeKind) -> Any:
    """A payload of a kind; as it is where it is not of the size that the kind has."""
    for form in VARIABLE.get(kind) or (NUMBERS.get(kind, _BITFIELD),):
        if len(payload) == form.size and (kind in NUMBERS or kind in VARIABLE):
            return form.unpack(payload)[0]
    if kind is AttributeKind.BITFIELD32 and len(payload) == _BITFIELD.size:
        return _BITFIELD.unpack(payload)
    if kind is AttributeKind.FLAG:
        return True
    if kind in _TEXTS:
        return payload.rstrip(b"\0").decode("utf-8", "surrogateescape")
    return payload
