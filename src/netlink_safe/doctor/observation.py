"""What was seen: sockets several times, who holds them, and what the holders' threads wait for.

May call ``families``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from netlink_safe.families.link import Link
    from netlink_safe.families.netlink import NetlinkSocket

#: How often is looked at the sockets.  Between two looks a queue that is read may fill again, and
#: one dump may follow upon another; not at every one of them.
LOOKS: Final = 5

#: What a thread is in the kernel for.
Purpose: TypeAlias = Literal["send", "receive", "lock", "poll", "sleep", "other"]


@attrs.frozen(slots=True)
class SeenSocket:
    """A netlink socket, at each look at which it was there, the last one among them.

    ``netns`` is the name or path of its network namespace, None where the doctor is itself;
    ``pids`` are the processes that hold it, the oldest first, none where they may not be seen;
    ``commands`` their command lines, in the same order, empty for one that has gone.
    Sizes are bytes as the kernel counts them (SO_MEMINFO), 0 where it does not tell.
    """

    looks: tuple[NetlinkSocket, ...]
    netns: str | None
    pids: tuple[int, ...]
    commands: tuple[str, ...]

    @property
    def row(self) -> NetlinkSocket:
        """What it was at the last look."""
        return self.looks[-1]

    @property
    def is_new(self) -> bool:
        """Whether it was not there yet at the first look."""
        return len(self.looks) < LOOKS

    @property
    def queued(self) -> int:
        """Bytes in its receive queue, as the kernel counts them."""
        return 0 if self.row.memory is None else self.row.memory.receive

    @property
    def receive_buffer(self) -> int:
        """Bytes that its receive queue may hold, as the kernel counts them."""
        return 0 if self.row.memory is None else self.row.memory.receive_buffer

    @property
    def drops(self) -> int:
        """Messages that were lost since it was opened."""
        return 0 if self.row.memory is None else self.row.memory.drops

    @property
    def is_full(self) -> bool:
        """Whether next to nothing more fits: nine tenths of the receive buffer are taken."""
        return 0 < self.receive_buffer * 9 <= self.queued * 10

    @property
    def owner(self) -> int:
        """The process that holds it, the oldest of several; 0 where none is to be seen."""
        return self.pids[0] if self.pids else 0

    def as_dict(self) -> dict[str, Any]:
        """The same as plain data."""
        return {
            **self.row.as_dict(),
            "netns": self.netns,
            "processes": [
                {"pid": pid, "command": command}
                for pid, command in zip(self.pids, self.commands, strict=True)
            ],
        }


@attrs.frozen(slots=True)
class Waiting:
    """What a thread is in a system call for.

    ``inode`` is the socket's, of a send or a receive; ``port_id`` where a send goes, None where
    that is not to be seen.
    ``address`` is the lock's, and ``holder`` the thread that has it, where that is recorded there.
    """

    name: str
    purpose: Purpose
    inode: int | None = None
    port_id: int | None = None
    address: int = 0
    holder: int | None = None


@attrs.frozen(slots=True)
class SeenThread:
    """A thread of a process that holds a netlink socket, at the last look.

    ``place`` is the kernel's function in which it sleeps, None where that is unknown.
    ``is_still`` says that it was in the same system call at the first look, and has not run since.
    """

    pid: int
    tid: int
    name: str
    command: str
    waiting: Waiting | None
    place: str | None
    is_still: bool


@attrs.frozen(slots=True)
class SeenPort:
    """A port of Open vSwitch whose other end is in another network namespace."""

    link: Link
    datapath: str
    netns: str | None
    peer_netns: str


@attrs.frozen(slots=True)
class Observation:
    """All that was seen, in so many seconds; ``settings`` are numbers under /proc/sys."""

    by_inode: Mapping[int, SeenSocket]
    threads: Mapping[int, tuple[SeenThread, ...]]
    ports: tuple[SeenPort, ...]
    settings: Mapping[str, int]
    unseen: tuple[str, ...]
    seconds: float

    @property
    def sockets(self) -> tuple[SeenSocket, ...]:
        """All sockets."""
        return tuple(self.by_inode.values())

    def socket(self, inode: int | None) -> SeenSocket | None:
        """The socket with this inode."""
        return None if inode is None else self.by_inode.get(inode)
