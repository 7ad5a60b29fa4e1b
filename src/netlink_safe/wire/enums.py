"""Enums of the kernel's that may have grown since this library was made.

Calls nothing of ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import enum

Member = TypeVar("Member", bound="enum.IntEnum")


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
