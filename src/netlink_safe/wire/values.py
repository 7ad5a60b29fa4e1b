"""Plain values as attributes and back, by what the kernel's policy says of them.

::

    int                 a number of the width that the policy says, within its bounds
    str                 a text, with a NUL behind it where the policy wants one
    True                a flag; False and None are left out
    bytes               the payload as it is, whatever the policy says of its kind
    a mapping           attributes inside an attribute, by type
    a list              the same attribute several times; of mappings, also an array of nested
                        attributes, numbered from 1: a mapping of mappings numbers them otherwise
    (value, selector)   a bit field

May call ``errors`` and ``wire``.
"""

from __future__ import annotations

import contextlib
import struct
from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from netlink_safe.errors import DecodeError, LocalProtocolError
from netlink_safe.wire.attributes import DEEPEST, LARGEST, build_attribute, encode_text
from netlink_safe.wire.constants import NLA_F_NESTED, NLA_TYPE_MASK
from netlink_safe.wire.policy import NUMBERS, VARIABLE, AttributeKind, AttributePolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

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
        # Inside an attribute 0 is a number: some families count what they nest from there.
        _check_type(type_, 0 if path else 1, where)
        one = _UNKNOWN if policy is None else policy.get(type_, _UNKNOWN)
        nested = None if policy is None else policy.nested(type_)
        is_array = one.kind is AttributeKind.NESTED_ARRAY
        each = [value]
        if isinstance(value, list) and (not is_array or _are_arrays(value)):
            each = value
        built += [_encode(type_, one_value, one, nested, where) for one_value in each]
    return b"".join(built)


def _check_type(type_: object, least: int, where: tuple[int, ...]) -> None:
    if isinstance(type_, int) and not isinstance(type_, bool) and least <= type_ <= NLA_TYPE_MASK:
        return
    raise _refused(where, f"the type is no number from {least} to {NLA_TYPE_MASK}")


def _are_arrays(values: list[Any]) -> bool:
    """Whether they are several arrays: those that are members of one are mappings."""
    return not all(isinstance(one, Mapping) for one in values)


def _encode(
    type_: int, value: Value, one: AttributePolicy, nested: Policy | None, where: tuple[int, ...]
) -> bytes:
    if value is None or (value is False and one.kind in _FLAGS):
        return b""
    if isinstance(value, Mapping) and one.kind is not AttributeKind.NESTED_ARRAY:
        inside = encode_values(value, nested, where)
        return _built(type_ | NLA_F_NESTED, inside, where)
    if isinstance(value, Mapping | list):
        inside = b"".join(
            _encode(number, member, _UNKNOWN, nested, (*where, number))
            for number, member in _members(value, where)
        )
        return _built(type_ | NLA_F_NESTED, inside, where)
    payload = _payload(value, one, where)
    if isinstance(value, str) or one.kind is AttributeKind.BINARY:
        _check_length(len(payload) - (one.kind is AttributeKind.NUL_STRING), one, where)
    return _built(type_, payload, where)


def _members(
    array: Mapping[int, Any] | list[Any], where: tuple[int, ...]
) -> Iterable[tuple[int, Any]]:
    """The members of an array, each with its number."""
    if isinstance(array, list):
        yield from enumerate(array, 1)
        return
    for number, members in array.items():
        _check_type(number, 0, (*where, number))
        for member in members if isinstance(members, list) else [members]:
            yield number, member


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
        try:
            return encode_text(value) + b"\0" * (kind is AttributeKind.NUL_STRING)
        except ValueError:
            raise _refused(where, f"{value!r} has a NUL or a lone surrogate in it") from None
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

    The policy is of what goes out, and under the same type something else may come back: so a value
    is what the policy says only where it fits to the byte, and bytes elsewhere.  An attribute that
    says itself that it is nested is a mapping, whatever the policy says.
    What stands there several times is a list.
    Raises DecodeError for an attribute that says that it is nested and holds none.
    """
    values = []
    each = list(attributes.each())
    times = Counter(type_ for type_, *_ in each)
    for type_, says_nested, payload, inside in each:
        one = _UNKNOWN if policy is None else policy.get(type_, _UNKNOWN)
        nested = None if policy is None else policy.nested(type_)
        value: Any
        if one.kind is AttributeKind.NESTED_ARRAY:
            value = _nest(says_nested, payload, inside, partial(_array, policy=nested))
            if isinstance(value, dict) and times[type_] > 1:
                value = payload  # in a list it would look like a member of one array
        elif says_nested or one.kind is AttributeKind.NESTED:
            value = _nest(says_nested, payload, inside, partial(decode_values, policy=nested))
        else:
            value = _plain(payload, one.kind)
        values.append((type_, value))
    return _by_type(values)


def _by_type(values: list[tuple[int, Any]]) -> dict[int, Any]:
    found: dict[int, list[Any]] = {}
    for type_, value in values:
        found.setdefault(type_, []).append(value)
    return {type_: values[0] if len(values) == 1 else values for type_, values in found.items()}


def _nest(
    says_nested: bool,
    payload: bytes,
    inside: Callable[[], Attributes],
    read: Callable[[Attributes], Any],
) -> Any:
    """What is inside an attribute; its payload where only the policy says that anything is."""
    try:
        attributes = inside()
        return read(attributes) if attributes.is_whole else payload
    except DecodeError:
        if says_nested:  # then it is broken
            raise
        return payload


def _array(attributes: Attributes, policy: Policy | None) -> list[Any] | dict[int, Any]:
    """The members of an array in a list, if they are nests and numbered from 1, or by number."""
    read = partial(decode_values, policy=policy)
    members = [
        (number, _nest(says_nested, payload, inside, read))
        for number, says_nested, payload, inside in attributes.each()
    ]
    if all(
        number == place and isinstance(member, dict)
        for place, (number, member) in enumerate(members, 1)
    ):
        return [member for _, member in members]
    return _by_type(members)


def _plain(payload: bytes, kind: AttributeKind) -> Any:
    """A payload of a kind that is not nested; as it is where that would lose any of it."""
    for form in VARIABLE.get(kind) or filter(None, [NUMBERS.get(kind)]):
        if len(payload) == form.size:
            return form.unpack(payload)[0]
    if kind is AttributeKind.BITFIELD32 and len(payload) == _BITFIELD.size:
        return _BITFIELD.unpack(payload)
    if kind is AttributeKind.FLAG and not payload:
        return True
    text = payload.removesuffix(b"\0")
    if kind in _TEXTS and b"\0" not in text:
        with contextlib.suppress(UnicodeDecodeError):
            return text.decode()
    return payload
