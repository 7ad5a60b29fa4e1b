"""Attributes: every byte is in one of them, or behind the last, or all are refused there.

The first two bytes choose where in the datagram they begin, and how many bytes before its end
they end; all behind these is the datagram.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from fuzz.common import Bytes, check_refusal, refused
from netlink_safe.errors import DecodeError
from netlink_safe.wire.attributes import (
    ATTRIBUTE,
    DEEPEST,
    U16,
    Attributes,
    build_attribute,
    build_nested,
    encode_text,
    is_name,
)
from netlink_safe.wire.constants import NLA_TYPE_MASK
from netlink_safe.wire.header import align

if TYPE_CHECKING:
    from collections.abc import Callable

#: Types that are looked for in every level.
_ENOUGH = 16


def one_input(data: bytes) -> None:
    """Read them by all means there are, at every depth."""
    given = Bytes(data)
    before, behind = given.byte(), given.byte()
    datagram = given.rest()
    start = min(before, len(datagram))
    end = max(len(datagram) - behind, start)
    if (said := _read(datagram, lambda: Attributes(datagram, start, end))) is not None:
        assert _looked_at(datagram, said, end - start, 0) <= end - start


def _read(datagram: bytes, read: Callable[[], Attributes]) -> Attributes | None:
    try:
        return read()
    except DecodeError as refusal:
        check_refusal(refusal, datagram)
        assert len(refusal.path) <= DEEPEST + 1
        return None


def _looked_at(datagram: bytes, said: Attributes, size: int, depth: int) -> int:
    """Look at one level, and at what is in it; the bytes that were in attributes."""
    assert depth <= DEEPEST
    pairs = list(said)
    _check_tiles(said, pairs, size)
    for type_ in list(dict(pairs))[:_ENOUGH]:
        _check_type(said, type_, [payload for found, payload in pairs if found == type_])
    absent = next(type_ for type_ in range(len(pairs) + 1) if type_ not in said)
    for read in (said.raw, said.text, said.u32, said.nested):
        assert read(absent) is None
    for type_, says_nested, payload, inside in said.each():
        build = build_nested if says_nested else build_attribute
        (length,) = U16.unpack_from(build(type_, payload))
        assert length == ATTRIBUTE.size + len(payload)
        if (nest := _read(datagram, inside)) is not None:
            _looked_at(datagram, nest, len(payload), depth + 1)
    return sum(ATTRIBUTE.size + len(payload) for _, payload in pairs)


def _check_tiles(said: Attributes, pairs: list[tuple[int, bytes]], size: int) -> None:
    padded = sum(align(ATTRIBUTE.size + len(payload)) for _, payload in pairs)
    assert padded - 3 <= size or not pairs
    left = size - padded
    assert left < ATTRIBUTE.size
    assert said.is_whole == (left <= 0)
    assert len(said) == len(pairs)
    assert all(0 <= type_ <= NLA_TYPE_MASK for type_, _ in pairs)
    rebuilt = b"".join(build_attribute(type_, payload) for type_, payload in pairs)
    assert list(Attributes(rebuilt, 0, len(rebuilt))) == pairs


def _check_type(said: Attributes, type_: int, payloads: list[bytes]) -> None:
    last = payloads[-1]
    assert type_ in said
    assert said.all(type_) == payloads
    assert said.raw(type_) == last
    text = said.text(type_)
    assert text is not None
    assert encode_text(text) == last.partition(b"\0")[0]
    assert is_name(text, len(last)) == bool(text)
    for read, width in ((said.u8, 1), (said.u16, 2), (said.u32, 4), (said.s32, 4), (said.u64, 8)):
        number = refused(lambda read=read: read(type_))  # type: ignore[misc]
        assert (number is None) == (len(last) < width)
    with contextlib.suppress(DecodeError):
        nest = said.nested(type_)
        assert nest is not None
