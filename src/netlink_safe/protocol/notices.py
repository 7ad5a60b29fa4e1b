"""What a stream of notifications says of itself, and of the table that it follows.

May call nothing of the library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

import attrs

if TYPE_CHECKING:
    from collections.abc import Hashable

Row = TypeVar("Row")


@attrs.frozen(slots=True)
class Overrun:
    """Notifications were lost for want of room in the receive buffer; ``drops`` counts them.

    It is the kernel's own count of datagrams, or of ENOBUFS where the kernel has no SO_MEMINFO.
    It is 0 where a family was gone, and what it told when it came back was not heard; and where
    something was heard that only a look could explain, which then failed.
    What was queued before them has been handed out.  What follows now is the difference that a look
    at sysfs, or a dump, showed, and then Resynced; or, where none was to be had, nothing, and
    ``unresynced`` says why.
    """

    drops: int
    unresynced: str | None = None


@attrs.frozen(slots=True)
class Resynced:
    """The difference has been told: ``added``, ``removed`` and ``changed`` count its items.

    From here on the listener's picture is the kernel's again.
    """

    added: int
    removed: int
    changed: int = 0


@attrs.frozen(slots=True)
class Added(Generic[Row]):
    """There is a row that was not there, or that was not known; ``key`` says what it is about."""

    key: Hashable
    row: Row


@attrs.frozen(slots=True)
class Changed(Generic[Row]):
    """A row is another one than ``before``."""

    key: Hashable
    row: Row
    before: Row


@attrs.frozen(slots=True)
class Removed(Generic[Row]):
    """A row is gone; this is the last that was known of it."""

    key: Hashable
    row: Row
