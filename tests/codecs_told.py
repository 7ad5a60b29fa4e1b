"""What a codec of pyroute2's has read, for a comparison."""

from __future__ import annotations

from typing import Any


def plain(message: Any) -> Any:
    """The attributes of a message, as plain data; of whoever carried it, nothing is left."""
    if isinstance(message, dict) and "attrs" in message:
        return [(one[0], plain(one[1])) for one in message["attrs"]]
    if isinstance(message, list):
        return [plain(one) for one in message]
    return message
