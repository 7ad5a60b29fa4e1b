"""A generic family whose number is known, for tests that need no kernel."""

from __future__ import annotations

from typing import Any, NamedTuple


class Known(NamedTuple):
    """One with a header of its own of 5 bytes, unless said."""

    name: str = "test"
    id: int = 99
    version: int = 3
    header_size: int = 5
    groups: Any = None
    operations: Any = ()

    def operation(self, _command: int) -> None:
        return None
