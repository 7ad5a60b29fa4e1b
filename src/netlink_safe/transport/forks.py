"""Whether a process is still the one that opened what it uses.

May call ``errors``.
"""

from __future__ import annotations

import os
import weakref
from typing import Final, Protocol

from netlink_safe.errors import LocalProtocolError


class Orphaned(Protocol):
    """What wants to know that it is in a child, where those who served it are not."""

    def forked(self) -> None: ...


_forks = 0
_to_tell: Final[weakref.WeakSet[Orphaned]] = weakref.WeakSet()


def tell_of_forks(one: Orphaned) -> None:
    """Call ``forked()`` of it in every child, as long as it is there."""
    _to_tell.add(one)


def _count_fork() -> None:
    global _forks  # noqa: PLW0603  # wherever the fork happens, this is where it is seen
    _forks += 1
    for one in _to_tell:
        one.forked()


os.register_at_fork(after_in_child=_count_fork)


def forks() -> int:
    """How many forks lie between this process and the one that imported this."""
    return _forks


def check_not_forked(forks_at_opening: int) -> None:
    """Raise LocalProtocolError where a parent opened what a child uses."""
    if forks_at_opening != _forks:
        raise LocalProtocolError(
            "this netlink socket was opened before a fork and belongs to the parent, whose "
            "replies the child would steal; open a new one in the child"
        )
