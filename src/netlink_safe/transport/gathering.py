"""What becomes of the rows of an attempt: they are handed out, or folded and gone.

May call ``transport.terms``, ``protocol``, ``wire`` and ``errors``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from netlink_safe.errors import LocalProtocolError
from netlink_safe.protocol.request import Row

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from netlink_safe.protocol.request import Request
    from netlink_safe.transport.terms import Terms
    from netlink_safe.wire.header import Strides


class RowFold(Protocol):
    """What makes something of rows without keeping them; each attempt starts with a new one.

    It is called in the caller's thread or in a worker, one after the other.
    """

    @property
    def rows(self) -> int:
        """How many it has taken, for an error to tell."""

    def read(self, data: bytes, offset: int, strides: Strides, /) -> int:
        """Take a stretch of rows, and return where it ends; see ``lowlevel.Reader``."""


Fold = TypeVar("Fold", bound=RowFold)


class Rows(Generic[Row]):
    """Rows decoded, to be handed out."""

    def __init__(self, request: Request[Row], terms: Terms) -> None:
        self.handed_out: bool = False
        self._read = request.read
        self._rows: list[Row] = []
        self._terms = terms
        self._identity = request.identity if terms.distinct or request.repeats else None
        if terms.distinct and request.identity is None:
            raise LocalProtocolError(f"nothing tells the rows of {request.name} apart")
        self.rows: int = 0

    def read(self, data: bytes, offset: int, strides: Strides, /) -> int:
        return self._read(data, offset, strides, self._rows)

    def take(self) -> list[Row]:
        rows, self._rows = self._rows, []
        if self._identity is not None:
            rows = self._first_seen(rows, self._identity)
        if rows:
            self.handed_out = True
            self.rows += len(rows)
        return rows

    def _first_seen(self, rows: list[Row], identity: Callable[[Row], Hashable]) -> list[Row]:
        fresh = {identity(row): row for row in reversed(rows)}  # reversed: the first of equals wins
        seen = self._terms.seen
        kept = [row for name, row in reversed(fresh.items()) if name not in seen]
        seen.update(fresh)
        return kept


class Kept(Generic[Row]):
    """A fold that keeps the rows: for a table that is of use only when it is whole."""

    def __init__(self, request: Request[Row]) -> None:
        self.kept: list[Row] = []
        self._read = request.read

    @property
    def rows(self) -> int:
        return len(self.kept)

    def read(self, data: bytes, offset: int, strides: Strides, /) -> int:
        return self._read(data, offset, strides, self.kept)


class Folded(Generic[Fold]):
    """Rows folded: there are never any to hand out."""

    def __init__(self, _request: Request[Any], new_fold: Callable[[], Fold]) -> None:
        self.handed_out = False
        self.fold = new_fold()
        self.read: Callable[[bytes, int, Strides], int] = self.fold.read

    @property
    def rows(self) -> int:
        return self.fold.rows

    def take(self) -> list[Any]:
        return []
