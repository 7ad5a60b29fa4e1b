"""Enums of the kernel's that may have grown since this library was made.

Calls nothing of ours.
"""

from __future__ import annotations

import enum
from typing import TypeVar

Member = TypeVar("Member", bound=enum.IntEnum)


def newer_member(
    kind: type[Member], value: object, prefix: str, largest: int = 0xFFFFFFFF
) -> Member | None:
    """A member of its own for a number that is not listed, named by it; for ``_missing_``."""
    if not isinstance(value, int) or not 0 <= value <= largest:
        return None
    member = int.__new__(kind, value)
    member._name_ = f"{prefix}_{value}"
    member._value_ = value
    return member


class NewerFlags(enum.IntFlag):
    """Flags of which the kernel may set more than are listed; those are kept, as bits.

    Python remembers each combination that it has met for as long as it runs, which is well for the
    few of bits that are listed; of others a number of 32 bits has more than there is memory.
    """

    @classmethod
    def _missing_(cls, value: object) -> NewerFlags:
        member: NewerFlags = super()._missing_(value)
        if member.value & ~sum(cls):
            cls._value2member_map_.pop(member.value, None)
        return member
