"""Attributes, struct nlattr: built, and found without copying.

May call ``errors`` and ``wire``.
"""

from __future__ import annotations

import struct
from functools import partial
from typing import TYPE_CHECKING, Final, TypeGuard

from netlink_safe.errors import DecodeError
from netlink_safe.wire.constants import NLA_F_NESTED, NLA_TYPE_MASK
from netlink_safe.wire.header import align

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ATTRIBUTE: Final = struct.Struct("=HH")
LARGEST: Final = 0xFFFF - ATTRIBUTE.size
#: How deep attributes may be nested; the kernel's own policies end at 10 (lib/nlattr.c:
#: MAX_POLICY_RECURSION_DEPTH).
DEEPEST: Final = 32

U8: Final = struct.Struct("=B")
U16: Final = struct.Struct("=H")
U32: Final = struct.Struct("=I")
U64: Final = struct.Struct("=Q")
S32: Final = struct.Struct("=i")


def build_attribute(type_: int, payload: bytes) -> bytes:
    """One attribute, padded.  Raises ValueError where the 16-bit length cannot hold it."""
    if len(payload) > LARGEST:
        raise ValueError(f"an attribute holds at most {LARGEST} bytes, not {len(payload)}")
    length = ATTRIBUTE.size + len(payload)
    return ATTRIBUTE.pack(length, type_) + payload + bytes(align(length) - length)


def build_nested(type_: int, *attributes: bytes) -> bytes:
    """An attribute whose payload is attributes."""
    return build_attribute(type_ | NLA_F_NESTED, b"".join(attributes))


def build_u32(type_: int, value: int) -> bytes:
    """An attribute that is a number of 32 bits."""
    return build_attribute(type_, U32.pack(value))


def encode_text(value: str) -> bytes:
    """The bytes of a text, without a NUL behind it; what was read as no UTF-8 goes out as it came.

    Raises ValueError for a NUL inside, where the kernel would end it, and for other surrogates.
    """
    if "\0" in value:
        raise ValueError("a text ends at a NUL")
    return value.encode("utf-8", "surrogateescape")


def is_name(value: object, longest: int) -> TypeGuard[str]:
    """Whether it is a text of 1 to so many bytes: what the kernel counts are not letters."""
    try:
        return isinstance(value, str) and 0 < len(encode_text(value)) <= longest
    except ValueError:
        return False


def build_text(type_: int, value: str) -> bytes:
    """An attribute that is a text with a NUL behind it.  Raises ValueError for what is no text."""
    return build_attribute(type_, encode_text(value) + b"\0")


def iterate_attributes(
    data: bytes, start: int, end: int, path: tuple[int, ...] = ()
) -> Iterator[tuple[int, int, int]]:
    """Yield (type, payload start, payload end) of each attribute between two offsets.

    Raises DecodeError for a length below the header's or past ``end``; up to 3 bytes of padding
    at the end are no attribute.
    """
    while end - start >= ATTRIBUTE.size:
        length, type_ = ATTRIBUTE.unpack_from(data, start)
        type_ &= NLA_TYPE_MASK
        if length < ATTRIBUTE.size:
            raise DecodeError(f"an attribute that claims {length} bytes", start, (*path, type_))
        if start + length > end:
            raise DecodeError(
                f"an attribute that claims {length} bytes where {end - start} are left",
                start,
                (*path, type_),
            )
        yield type_, start + ATTRIBUTE.size, start + length
        start += align(length)


class Attributes:
    """Attributes that stand side by side in a datagram, read by type.

    What is not there is None.  Of a type that stands there twice the last counts, as it does to
    the kernel (lib/nlattr.c: __nla_validate_parse); ``all`` has every one.
    Raises DecodeError for lengths that cannot be, for numbers that are too short, and for what is
    nested deeper than 32.
    """

    __slots__ = ("_data", "_path", "_size", "_spans")

    def __init__(self, data: bytes, start: int, end: int, path: tuple[int, ...] = ()) -> None:
        if len(path) > DEEPEST:
            raise DecodeError(f"attributes that are nested deeper than {DEEPEST}", start, path)
        self._data = data
        self._path = path
        self._spans = list(iterate_attributes(data, start, end, path))
        self._size = end - start

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        """The type and payload of each, in order."""
        return ((type_, self._data[start:end]) for type_, start, end in self._spans)

    def __contains__(self, type_: int) -> bool:
        return any(found == type_ for found, _, _ in self._spans)

    def __len__(self) -> int:
        return len(self._spans)

    @property
    def is_whole(self) -> bool:
        """Whether nothing stands behind the last one but what it is padded with."""
        return self._size <= sum(
            align(ATTRIBUTE.size + end - start) for _, start, end in self._spans
        )

    def raw(self, type_: int) -> bytes | None:
        """The payload as it is."""
        span = self._span(type_)
        return None if span is None else self._data[span[0] : span[1]]

    def all(self, type_: int) -> list[bytes]:
        """The payloads of every attribute of this type."""
        return [self._data[start:end] for found, start, end in self._spans if found == type_]

    def u8(self, type_: int) -> int | None:
        """A number of 8 bits."""
        return self._number(type_, U8)

    def u16(self, type_: int) -> int | None:
        """A number of 16 bits."""
        return self._number(type_, U16)

    def u32(self, type_: int) -> int | None:
        """A number of 32 bits."""
        return self._number(type_, U32)

    def s32(self, type_: int) -> int | None:
        """A signed number of 32 bits."""
        return self._number(type_, S32)

    def u64(self, type_: int) -> int | None:
        """A number of 64 bits."""
        return self._number(type_, U64)

    def text(self, type_: int) -> str | None:
        """A text, up to its first NUL."""
        payload = self.raw(type_)
        if payload is None:
            return None
        return payload.partition(b"\0")[0].decode("utf-8", "surrogateescape")

    def nested(self, type_: int) -> Attributes | None:
        """The attributes inside one."""
        span = self._span(type_)
        return None if span is None else self._inside(type_, *span)

    def each_nested(self) -> Iterator[tuple[int, Attributes]]:
        """The attributes inside each one, by type: what an array of nests is."""
        for type_, start, end in self._spans:
            yield type_, self._inside(type_, start, end)

    def each(self) -> Iterator[tuple[int, bool, bytes, Callable[[], Attributes]]]:
        """Type, whether it says that it is nested, payload, and what is inside if one looks."""
        for type_, start, end in self._spans:
            (flags,) = U16.unpack_from(self._data, start - U16.size)
            inside = partial(self._inside, type_, start, end)
            yield type_, bool(flags & NLA_F_NESTED), self._data[start:end], inside

    def _inside(self, type_: int, start: int, end: int) -> Attributes:
        return Attributes(self._data, start, end, (*self._path, type_))

    def _span(self, type_: int) -> tuple[int, int] | None:
        for found, start, end in reversed(self._spans):
            if found == type_:
                return start, end
        return None

    def _number(self, type_: int, form: struct.Struct) -> int | None:
        span = self._span(type_)
        if span is None:
            return None
        start, end = span
        if end - start < form.size:
            raise DecodeError(
                f"a number of {end - start} bytes where {form.size} are needed",
                start,
                (*self._path, type_),
            )
        return int(form.unpack_from(self._data, start)[0])
