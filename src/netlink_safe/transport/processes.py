"""Other processes, as /proc shows them: who holds which sockets, and what their threads wait for.

What may not be seen is told as such: of another user's process the descriptors and system calls
take CAP_SYS_PTRACE (``fs/proc/base.c``: proc_fd_permission, proc_pid_syscall), and a wchan that may
not be seen reads as 0 (proc_pid_wchan).  What ends meanwhile is left out.

May call ``protocol`` and ``errors``.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections import defaultdict
from typing import TYPE_CHECKING, Final

import attrs

from netlink_safe.errors import NetlinkTimeout

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from netlink_safe.protocol.deadline import Deadline

_SOCKET: Final = re.compile(r"socket:\[(\d+)\]")
_SWITCHES: Final = re.compile(rb"^(?:non)?voluntary_ctxt_switches:\s+(\d+)", re.MULTILINE)
_INNER: Final = re.compile(rb"^NSpid:.*?(\d+)$", re.MULTILINE)
_GONE: Final = (FileNotFoundError, ProcessLookupError)
_LONGEST_COMMAND: Final = 200


@attrs.frozen(slots=True)
class SystemCall:
    """A system call that a thread is in: its number, its six arguments, and from where.

    Two that are equal are one, unless it was left and made again meanwhile.
    """

    number: int
    arguments: tuple[int, ...]
    stack_pointer: int
    instruction: int


@attrs.frozen(slots=True)
class Thread:
    """What a thread of a process was at.

    ``call`` is None where it runs, or waits in no system call, and where ``is_seen`` is False.
    ``place`` is the function of the kernel in which it sleeps (wchan), None where that is unknown.
    ``switches`` counts how often it has slept or been interrupted so far.
    ``inner_id`` is what its own process calls it, in its own PID namespace.
    """

    tid: int
    name: str
    call: SystemCall | None
    place: str | None
    switches: int
    inner_id: int
    is_seen: bool


@attrs.frozen(slots=True)
class Holders:
    """By inode, which processes hold a socket; and how many processes may not be looked at."""

    pids: Mapping[int, tuple[int, ...]]
    unseen: int


def holders(inodes: Collection[int], deadline: Deadline | None = None) -> Holders:
    """Who holds sockets, in one walk over /proc.  Raises NetlinkTimeout at the deadline."""
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    found: defaultdict[int, list[int]] = defaultdict(list)
    unseen = 0
    for pid in pids() if wanted else ():
        if deadline is not None and deadline.remaining() <= 0:
            raise NetlinkTimeout("the walk over /proc for who holds the sockets", deadline.timeout)
        try:
            names = _targets(pid)
        except PermissionError:
            unseen += not has_ended(pid)
        except OSError:  # it has ended
            continue
        else:
            for name in wanted.keys() & names:
                found[wanted[name]].append(pid)
    return Holders({inode: tuple(sorted(them)) for inode, them in found.items()}, unseen)


def own() -> frozenset[int]:
    """The inodes of the sockets that this very process holds."""
    found = map(_SOCKET.fullmatch, _targets(os.getpid()))
    return frozenset(int(match[1]) for match in found if match)


def pids() -> Iterator[int]:
    """The processes there are."""
    return map(int, filter(str.isdigit, os.listdir("/proc")))


def has_ended(pid: int) -> bool:
    """Whether a process is no more, whose links may have been refused for just that reason.

    The kernel says EACCES of a link whose process ends while it is followed
    (fs/proc/base.c: proc_pid_readlink; fs/proc/namespaces.c: proc_ns_get_link).
    """
    return not os.path.exists(f"/proc/{pid}")


def _targets(pid: int) -> set[str]:
    """What a process's descriptors are; of one whose first thread has ended its others know."""
    if targets := _targets_in(f"/proc/{pid}/fd"):
        return targets
    for tid in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(*_GONE):
            if targets := _targets_in(f"/proc/{pid}/task/{tid}/fd"):
                return targets
    return set()


def _targets_in(path: str) -> set[str]:
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        targets = set()
        for name in os.listdir(directory):
            with contextlib.suppress(*_GONE):  # closed meanwhile
                targets.add(os.readlink(name, dir_fd=directory))
        return targets
    finally:
        os.close(directory)


def inode_behind(pid: int, tid: int, descriptor: int) -> int | None:
    """The inode of the socket that a thread calls by this number; None for what is none."""
    with contextlib.suppress(OSError):
        if match := _SOCKET.fullmatch(os.readlink(f"/proc/{pid}/task/{tid}/fd/{descriptor}")):
            return int(match[1])
    return None


def command(pid: int) -> str:
    """Its command line, or its name where it has none; empty where it has ended."""
    for file in ("cmdline", "comm"):
        text = _beginning(f"/proc/{pid}/{file}")
        if words := text.replace(b"\0", b" ").strip():
            return words[:_LONGEST_COMMAND].decode("utf-8", "backslashreplace")
    return ""


def threads(pid: int) -> list[Thread]:
    """What the threads of a process are at; none where it has ended."""
    try:
        tids = sorted(map(int, os.listdir(f"/proc/{pid}/task")))
    except OSError:
        return []
    return [found for tid in tids if (found := thread(pid, tid)) is not None]


def thread(pid: int, tid: int) -> Thread | None:
    """What one thread is at; None where it has ended.

    Its switches are read first: whoever has the same number later has not run in between.
    """
    where = f"/proc/{pid}/task/{tid}"
    status = _read(f"{where}/status")
    if status is None:
        return None
    try:
        call, is_seen = _system_call(_content(f"{where}/syscall")), True
    except PermissionError:
        call, is_seen = None, False
    except OSError:
        return None
    place = (_read(f"{where}/wchan") or b"0").decode("ascii", "backslashreplace")
    inner = _INNER.search(status)
    return Thread(
        tid=tid,
        name=status.partition(b"\n")[0].partition(b"\t")[2].decode("utf-8", "backslashreplace"),
        call=call,
        place=None if place == "0" else place,
        switches=sum(map(int, _SWITCHES.findall(status))),
        inner_id=tid if inner is None else int(inner[1]),
        is_seen=is_seen,
    )


def _system_call(text: bytes) -> SystemCall | None:
    """``fs/proc/base.c``: proc_pid_syscall; "running" and -1 are no call."""
    words = text.split()
    if len(words) != 9 or words[0] == b"-1":
        return None
    number, *arguments = int(words[0]), *(int(word, 16) for word in words[1:])
    return SystemCall(number, tuple(arguments[:6]), arguments[6], arguments[7])


def memory(pid: int, address: int, length: int) -> bytes | None:
    """Bytes of a process's memory; None where they may not, or cannot, be read."""
    with contextlib.suppress(OSError, OverflowError):
        descriptor = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
        try:
            data = os.pread(descriptor, length, address)
        finally:
            os.close(descriptor)
        return data if len(data) == length else None
    return None


def setting(name: str) -> int | None:
    """A number under /proc/sys, such as ``net/core/rmem_max``; None where there is none."""
    text = _read(f"/proc/sys/{name}")
    return int(text) if text is not None and text.strip().isdigit() else None


def _read(path: str) -> bytes | None:
    with contextlib.suppress(OSError):
        return _content(path)
    return None


def _beginning(path: str) -> bytes:
    """Some of a file that a stranger fills, with megabytes if he likes; nothing if it is gone."""
    with contextlib.suppress(OSError), open(path, "rb", buffering=0) as file:
        return file.read(20 * _LONGEST_COMMAND) or b""
    return b""


def _content(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.readall()
