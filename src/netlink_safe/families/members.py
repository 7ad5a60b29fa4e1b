"""What a caller names: members of an enum, by themselves, by number or by name.

May call ``errors``.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import TypeVar

from netlink_safe.errors import LocalProtocolError

Member = TypeVar("Member", bound=enum.IntEnum)


def members(
    kind: type[Member], given: Iterable[Member | int | str] | Member | int | str, what: str
) -> frozenset[Member]:
    """The members that are meant, by one or by several.

    Raises LocalProtocolError for what is none.
    """
    if isinstance(given, str) or not isinstance(given, Iterable):
        return frozenset({member(kind, given, what)})
    return frozenset(member(kind, item, what) for item in given)


def member(kind: type[Member], given: Member | int | str, what: str) -> Member:
    """The member that is meant.  Raises LocalProtocolError for what is none."""
    found = (
        kind.__members__.get(given.upper())
        if isinstance(given, str)
        else next((member for member in kind if member == given), None)
    )
    if found is None or isinstance(given, bool) or not isinstance(given, int | str):
        known = ", ".join(name.lower() for name in kind.__members__)
        raise LocalProtocolError(f"{given!r} is no {what}; there are {known}")
    return found
