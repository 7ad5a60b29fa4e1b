"""A structure of the kernel's that only ever grows at its end, so its length says what is in it.

A field that the running kernel does not give is None; bytes past the last field known here are in
``tail``.

May call nothing of the library.
"""

from __future__ import annotations

import struct
import sys
from typing import ClassVar, Final, overload

_BITS_FROM_LOW: Final = sys.byteorder == "little"


class Field:
    """A number at an offset, read when asked for."""

    def __init__(self, offset: int, format_: str, meaning: str, *, bits: tuple[int, int] = (0, 0)):
        self._offset = offset
        self._struct = struct.Struct(f"={format_}")
        self.end: int = offset + self._struct.size
        self.__doc__ = meaning
        first, width = bits
        self._shift = first if _BITS_FROM_LOW else 8 - first - width
        self._mask = (1 << width) - 1 if width else -1

    @overload
    def __get__(self, instance: None, owner: type) -> Field: ...
    @overload
    def __get__(self, instance: GrowingStructure, owner: type) -> int | None: ...
    def __get__(self, instance: GrowingStructure | None, owner: type) -> Field | int | None:
        if instance is None:
            return self
        if self.end > len(instance.raw):
            return None
        (value,) = self._struct.unpack_from(instance.raw, self._offset)
        return value >> self._shift & self._mask if self._mask > 0 else int(value)


def u8(offset: int, meaning: str, bits: tuple[int, int] = (0, 0)) -> Field:
    """A number of 8 bits, or some of its bits: (the first, how many)."""
    return Field(offset, "B", meaning, bits=bits)


def u16(offset: int, meaning: str) -> Field:
    """A number of 16 bits."""
    return Field(offset, "H", meaning)


def u32(offset: int, meaning: str) -> Field:
    """A number of 32 bits."""
    return Field(offset, "I", meaning)


def u64(offset: int, meaning: str) -> Field:
    """A number of 64 bits."""
    return Field(offset, "Q", meaning)


class GrowingStructure:
    """The bytes that the kernel gave, and the fields that they hold.

    ``FIELDS`` are the names of the fields, ``KNOWN`` is the length in bytes of all of them.
    """

    __slots__ = ("raw",)
    FIELDS: ClassVar[tuple[str, ...]] = ()
    KNOWN: ClassVar[int] = 0

    def __init__(self, raw: bytes) -> None:
        self.raw: Final = raw

    def __init_subclass__(cls) -> None:
        fields = {name: field for name, field in vars(cls).items() if isinstance(field, Field)}
        cls.FIELDS = tuple(fields)
        cls.KNOWN = max(field.end for field in fields.values())

    @property
    def tail(self) -> bytes:
        """What a newer kernel put behind the last field known here."""
        return self.raw[self.KNOWN :]

    def as_dict(self) -> dict[str, int]:
        """The fields that the kernel gave, by name, in its order."""
        values = ((name, getattr(self, name)) for name in self.FIELDS)
        return {name: value for name, value in values if value is not None}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v}' for k, v in self.as_dict().items())})"

    def __eq__(self, other: object) -> bool:
        return self.raw == other.raw if type(other) is type(self) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.raw)
