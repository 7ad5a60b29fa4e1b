"""The paths of cgroups by their numbers, as the kernel gives them with a socket.

The number is the inode's in the one hierarchy of cgroup v2 (``net/ipv4/inet_diag.c``:
INET_DIAG_CGROUP_ID), which tells nobody the way back; so it is walked, and remembered.  A number is
never given twice while the machine runs, and what a walk behind the question has not found is gone,
or not to be seen from here, for good.

May call ``protocol``.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from netlink_safe.protocol.deadline import Deadline

MOUNTS: Final = "/proc/self/mountinfo"
#: As the kernel writes what would be taken for the end of a word (fs/proc_namespace.c: mangle).
_ESCAPED: Final = re.compile(r"\\([0-7]{3})")
_GONE_OR_CLOSED: Final = (FileNotFoundError, PermissionError)


class CgroupPaths:
    """Remembers the paths of those that were looked for last; any thread may ask."""

    def __init__(self) -> None:
        self._known: dict[int, str | None] = {}

    def path(self, number: int) -> str | None:
        """The path below the mount, ``/`` for the root; None if it was not found."""
        return self._known.get(number)

    def look_for(self, numbers: Collection[int], deadline: Deadline) -> None:
        """Find the paths; what the deadline cuts short is looked for again the next time."""
        known = {number: self._known[number] for number in numbers if number in self._known}
        missing = set(numbers) - known.keys()
        with contextlib.suppress(OSError):  # not to be seen now, and perhaps the next time
            for number, path in _walk() if missing else ():
                if number in missing:
                    known[number] = path
                    missing.discard(number)
                if not missing or not deadline.remaining():
                    break
            else:
                known |= dict.fromkeys(missing)
        self._known = known


def _walk() -> Iterator[tuple[int, str]]:
    """Every cgroup that is to be seen, those near the root first."""
    root = mounted_at()
    if root is None:
        return
    yield os.stat(root).st_ino, "/"
    waiting = deque([root])
    while waiting:
        directory = waiting.popleft()
        with contextlib.suppress(*_GONE_OR_CLOSED), os.scandir(directory) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield entry.inode(), entry.path.removeprefix(root.rstrip("/"))
                    waiting.append(entry.path)


def mounted_at() -> str | None:
    """Where cgroup v2 is mounted; None where it is not."""
    with open(MOUNTS, encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            before, _, after = line.partition(" - ")
            if after.split(" ", 1)[0] == "cgroup2":
                return _ESCAPED.sub(lambda found: chr(int(found[1], 8)), before.split()[4])
    return None
