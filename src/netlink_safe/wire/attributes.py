"""Attributes, struct nlattr: built, and found without copying.

May call ``errors`` and ``wire``.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from netlink_safe.errors import DecodeError
from netlink_safe.wire.constants import NLA_F_NESTED, NLA_TYPE_MASK
from netlink_safe.wire.header import align

if TYPE_CHECKING:
    from collections.abc import Iterator

ATTRIBUTE: Final = struct.Struct("=HH")
LARGEST: Final = 0xFFFF - ATTRIBUTE.size


def build_attribute(type_: int, payload: bytes) -> bytes:
    """One attribute, padded.  Raises ValueError where the 16-bit length cannot hold it."""
    if len(payload) > LARGEST:
        raise ValueError(f"an attribute holds at most {LARGEST} bytes, not {len(payload)}")
    length = ATTRIBUTE.size + len(payload)
    return ATTRIBUTE.pack(length, type_) + payload + bytes(align(length) - length)


def build_nested(type_: int, *attributes: bytes) -> bytes:
    """An attribute whose payload is attributes."""
    return build_attribute(type_ | NLA_F_NESTED, b"".join(attributes))


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
