"""Where the library awaits, counted, so that a test can cancel it at each of those places."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import pytest


class Awaits:
    """Counts the awaits of the library, and cancels at one of them."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.seen = 0
        self._cancel_at = 0
        self._scope: anyio.CancelScope | None = None
        for module, name in ((anyio, "wait_readable"), (anyio.lowlevel, "checkpoint")):
            patch.setattr(module, name, self._counting(getattr(module, name)))

    def cancel_at(self, number: int, scope: anyio.CancelScope) -> None:
        """Cancel the scope when the await of this number begins."""
        self.seen, self._cancel_at, self._scope = 0, number, scope

    def _counting(self, wait: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        async def counted(*arguments: Any) -> None:
            self.seen += 1
            if self.seen == self._cancel_at and self._scope is not None:
                self._scope.cancel()
            await wait(*arguments)

        return counted
