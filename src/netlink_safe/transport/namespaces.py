"""Every network namespace of the machine, as far as it is to be seen from here.

Those that have a name stand under /run/netns; of the others only a process that lives in one tells,
by /proc.  What may not be looked at is counted.  Each is opened, and found again by what the open
file is, since names go away and pids become another's.

May call ``transport.namespace`` and ``transport.processes``.
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING, Final, TypeAlias

import attrs

from netlink_safe.transport.namespace import NAMED, THREAD
from netlink_safe.transport.processes import has_ended

if TYPE_CHECKING:
    from collections.abc import Iterator

#: How many are told at most.
LIMIT: Final = 256

#: Device and inode: what tells one namespace from another.
Identity: TypeAlias = tuple[int, int]


class HeldNamespace:
    """A namespace that an open descriptor keeps there, until the last reference to it is gone."""

    def __init__(self, path: str) -> None:
        """Raises OSError."""
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        self.identity: Identity = _identity(os.fstat(self._descriptor))

    def fileno(self) -> int:
        """The descriptor."""
        return self._descriptor

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)


@attrs.frozen(slots=True)
class Namespaces:
    """Those that were found, by their labels; ``""`` is the calling thread's own.

    One without a name is called ``net:[inode]``, as the kernel calls it.
    ``unseen`` are the processes that may live in others and that may not be looked at, ``left_out``
    is how many there are beyond the limit.
    """

    found: dict[str, HeldNamespace]
    unseen: int
    left_out: int


def namespaces(limit: int = LIMIT) -> Namespaces:
    """Look for all of them.  Raises FileNotFoundError where there is no /proc."""
    own = HeldNamespace(f"{THREAD}/ns/net")
    found = {own.identity: ("", own)}
    left_out: set[Identity] = set()
    unseen = 0
    for label, path, identity in [*_named(), *_lived_in()]:
        if identity is None:
            unseen += 1
        elif identity[0] == own.identity[0] and identity not in found:  # else it is no namespace
            if len(found) >= limit:
                left_out.add(identity)
                continue
            try:
                held = HeldNamespace(path)
            except OSError as error:  # it has gone meanwhile, and so is none
                if error.errno in {errno.EMFILE, errno.ENFILE}:
                    left_out.add(identity)
                continue
            if held.identity == identity:
                found[identity] = label or f"net:[{identity[1]}]", held
    return Namespaces(dict(found.values()), unseen, len(left_out))


def _named() -> Iterator[tuple[str, str, Identity | None]]:
    """Label, path and identity of what stands under /run/netns, by name."""
    names = []
    with contextlib.suppress(FileNotFoundError):
        names = sorted(os.listdir(NAMED))
    for name in names:
        with contextlib.suppress(OSError):
            yield name, f"{NAMED}/{name}", _identity(os.stat(f"{NAMED}/{name}"))


def _lived_in() -> Iterator[tuple[str, str, Identity | None]]:
    """The same of where processes live, without a label; without an identity if not to be seen."""
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        path = f"/proc/{pid}/ns/net"
        try:
            identity = _identity(os.stat(path))
        except PermissionError:
            if not has_ended(int(pid)):
                yield "", path, None
        except OSError:  # it has ended
            continue
        else:
            yield "", path, identity


def _identity(status: os.stat_result) -> Identity:
    return status.st_dev, status.st_ino
