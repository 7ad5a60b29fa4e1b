"""Whether a process is still the one that opened what it uses.

May call ``errors``.
"""

from __future__ import annotations

import os

from netlink_safe.errors import LocalProtocolError

_forks = 0


def _count_fork() -> None:
    global _forks  # noqa: PLW0603  # wherever the fork happens, this is where it is seen
    _forks += 1


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
