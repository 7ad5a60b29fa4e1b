"""Records as plain data, for JSON.

May call ``families.growing``.
"""

from __future__ import annotations

import enum
from typing import Any, Final

import attrs

from netlink_safe.families.growing import GrowingStructure

_AS_THEY_ARE: Final = frozenset({int, bool})


def plain(record: attrs.AttrsInstance) -> dict[str, Any]:
    """A record's fields by name, in plain data: enums by name, flags and sets as sorted lists.

    Bytes are ASCII text with everything else as ``\\x`` escapes, and a backslash as two; of a text
    the bytes that are no UTF-8 are such escapes.
    """
    return {
        field.name: plain_value(getattr(record, field.name)) for field in attrs.fields(type(record))
    }


def plain_value(value: object) -> Any:
    """A value as plain data, as ``plain`` has it."""
    if value is None or type(value) in _AS_THEY_ARE:  # most are
        return value
    if isinstance(value, enum.Flag):
        known = [str(member.name).lower() for member in value]
        rest = value.value & ~sum(member.value for member in type(value))
        return [*known, f"0x{rest:x}"] if rest else known
    if isinstance(value, enum.Enum):
        return str(value)
    if isinstance(value, bytes):
        return printable(value)
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    if isinstance(value, GrowingStructure):
        return value.as_dict()
    if isinstance(value, frozenset):
        return sorted(map(plain_value, value))
    if isinstance(value, tuple):
        return list(map(plain_value, value))
    if attrs.has(type(value)):
        return plain(value)  # type: ignore[arg-type]  # has() narrows nothing
    return value


def printable(raw: bytes) -> str:
    """Bytes as text that prints: ``\\x`` escapes for what does not, a backslash as two."""
    return "".join(
        chr(byte) if 0x20 <= byte < 0x7F and byte != 0x5C else _escape(byte) for byte in raw
    )


def _escape(byte: int) -> str:
    return "\\\\" if byte == 0x5C else f"\\x{byte:02x}"
