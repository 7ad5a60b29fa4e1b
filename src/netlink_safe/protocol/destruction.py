"""What destroying sockets takes from a family: how a row is named, and the order for it.

May call ``protocol``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Hashable

    from netlink_safe.protocol.request import Request


class Destruction(Protocol):
    """A family's own words for it, as a module or an object has them."""

    def destruction(self, row: Any, /) -> Request[None]:
        """The order.  Raises LocalProtocolError for what cannot be destroyed."""

    def called(self, row: Any, /) -> str:
        """What a row is called in an error."""

    def place_of(self, row: Any, /) -> Hashable:
        """What it has in common with others of which the kernel may find one instead."""
