"""What an outbox gives up: under which word it is counted, and how its owner is told.

May call ``protocol`` and ``errors``.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from netlink_safe.errors import ClosedError, NetlinkError, NoSuchPeer
from netlink_safe.protocol.message import Undelivered

if TYPE_CHECKING:
    from collections.abc import Callable

    from netlink_safe.protocol.backlog import Message, Reason


def reason_of(error: NetlinkError) -> Reason:
    """The word for what a send raised."""
    if isinstance(error, NoSuchPeer):
        return "no_such_peer"
    return "closed" if isinstance(error, ClosedError) else "refused"


def tell(
    on_undelivered: Callable[[Undelivered], object],
    message: Message,
    reason: Reason,
    error: NetlinkError,
) -> None:
    """Tell of one message; what the callback raises is logged."""
    payload, port_id, posted_at = message
    age = time.monotonic() - posted_at
    try:
        on_undelivered(Undelivered(payload, port_id, age, reason, error))
    except Exception:  # whatever it raises is no reason to hold up other messages
        import logging

        logging.getLogger(__name__).exception("on_undelivered failed; the outbox goes on")
