"""How long to wait before a peer that was full is tried again.

May call nothing of the library.
"""

from __future__ import annotations

import random
from typing import Final

#: In seconds: each pause is twice the last, and then shortened by up to a half at random, so that
#: many senders do not come at once.
FIRST: Final = 0.001
LONGEST: Final = 0.1


class Pauses:
    """The pauses of one sender and one peer, as long as that peer stays full."""

    def __init__(self) -> None:
        self._next = FIRST

    def take(self) -> float:
        """The next one, in seconds."""
        pause = self._next
        self._next = min(pause * 2, LONGEST)
        return pause * random.uniform(0.5, 1.0)  # noqa: S311  # no secret
