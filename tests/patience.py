"""Deadlines that are short on a quick machine, and longer on one that was too slow for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

import netlink_safe as nls

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

ATTEMPTS: Final = 4
#: How many times as long the next one has.
LONGER: Final = 4


async def patiently(
    call: Callable[[float], Awaitable[T]],
    seconds: float,
    *too_late: type[Exception],
) -> T:
    """What a call comes to that is given so many seconds, or more if it was too late for them.

    NetlinkTimeout says so, and what else is given: what a call is of which an attempt was late.
    """
    late: tuple[type[Exception], ...] = (nls.NetlinkTimeout, *too_late)
    for _ in range(ATTEMPTS - 1):
        try:
            return await call(seconds)
        except late:
            seconds *= LONGER
    return await call(seconds)
