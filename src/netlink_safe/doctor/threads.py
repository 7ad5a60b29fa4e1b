"""The threads of processes that hold netlink sockets: what each waits for, read out of /proc.

Where a send goes, and who has a lock, stands in the memory of the process that waits; that of
another user takes CAP_SYS_PTRACE.

May call ``doctor.observation``, ``doctor.system_calls`` and ``transport.processes``.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from netlink_safe.doctor import system_calls
from netlink_safe.doctor.observation import SeenThread, Waiting
from netlink_safe.doctor.system_calls import ADDRESS, POINTER, PURPOSES
from netlink_safe.transport import processes

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from netlink_safe.transport.processes import SystemCall, Thread

AF_NETLINK: Final = 16
#: Words of 32 bits behind a futex in which its lock may keep the thread that has it: the futex
#: itself (PI, and musl's mutex, in whose upper two bits are flags), glibc's struct pthread_mutex_t
#: (__owner), and its struct pthread_rwlock_t (__cur_writer) behind either of its two futexes, where
#: flags stand before it if words are of 32 bits.
_KEPT_AT: Final = (0, 2, 3, 4) if POINTER.size > 4 else (0, 2, 4, 5)
_TID: Final = 0x3FFFFFFF
#: A plain mutex that is taken, without and with others who wait.
_TAKEN: Final = frozenset({1, 2})
#: struct mmsghdr, and how many the kernel takes (net/socket.c: __sys_sendmmsg, UIO_MAXIOV).
_MMSGHDR: Final = 8 * POINTER.size
_MOST_MESSAGES: Final = 1024
_LOCK: Final = struct.Struct("=5I" if POINTER.size > 4 else "=6I")


def look(pids: Iterable[int]) -> dict[int, list[Thread]]:
    """What the threads of each process are at."""
    return {pid: processes.threads(pid) for pid in pids}


def seen(
    before: Mapping[int, Sequence[Thread]],
    now: Mapping[int, Sequence[Thread]],
    commands: Mapping[int, str],
    inodes: Collection[int],
) -> dict[int, tuple[SeenThread, ...]]:
    """The threads at the last look, beside the first; the sockets of interest are ``inodes``."""
    found = {}
    for pid, threads in now.items():
        earlier = {one.tid: one for one in before.get(pid, ())}
        found[pid] = tuple(
            SeenThread(
                pid,
                one.tid,
                one.name,
                commands.get(pid, ""),
                waiting(pid, one, threads, inodes),
                one.place,
                _is_still(earlier.get(one.tid), one),
            )
            for one in threads
        )
    return found


def _is_still(before: Thread | None, now: Thread) -> bool:
    return (
        before is not None
        and now.call is not None
        and (before.call, before.switches) == (now.call, now.switches)
    )


def waiting(
    pid: int, thread: Thread, threads: Sequence[Thread], inodes: Collection[int]
) -> Waiting | None:
    """What a thread waits for; None where it runs, or that is not to be told."""
    known = system_calls.names()
    if thread.call is None or known is None:
        return None
    name = system_calls.name_of(thread.call, known)
    if name is None:
        return Waiting(f"system call {thread.call.number}", "other")
    purpose = PURPOSES[name]
    if purpose == "lock":
        address = thread.call.arguments[0]
        return Waiting(name, purpose, address=address, holder=_holder(pid, thread, threads))
    if purpose not in {"send", "receive"}:
        return Waiting(name, purpose)
    inode = processes.inode_behind(pid, thread.tid, thread.call.arguments[0])
    if inode is None or inode not in inodes:
        return Waiting(name, "other")
    port_id = destination(pid, name, thread.call) if purpose == "send" else None
    return Waiting(name, purpose, inode, port_id)


def destination(pid: int, name: str, call: SystemCall) -> int | None:
    """To which port ID a send goes by its address; None where it has none, or it cannot be read."""
    first, count = call.arguments[1], call.arguments[2]
    if name == "sendto":
        return _port_id(pid, call.arguments[4])
    if name == "sendmsg":
        return _port_id(pid, _pointer(pid, first))
    if name == "sendmmsg":  # which of its messages it is at is not to be seen
        starts = (first + _MMSGHDR * number for number in range(min(count, _MOST_MESSAGES)))
        goals = {_port_id(pid, _pointer(pid, start)) for start in starts}
        return goals.pop() if len(goals) == 1 else None
    return None


def _port_id(pid: int, where: int | None) -> int | None:
    raw = processes.memory(pid, where, ADDRESS.size) if where else None
    if raw is None:
        return None
    family, _, port_id, _ = ADDRESS.unpack(raw)
    return int(port_id) if family == AF_NETLINK else None


def _pointer(pid: int, address: int) -> int | None:
    raw = processes.memory(pid, address, POINTER.size)
    return None if raw is None else int(POINTER.unpack(raw)[0])


def _holder(pid: int, waiter: Thread, threads: Sequence[Thread]) -> int | None:
    """Which other thread of the process has the lock, if the lock says so."""
    if waiter.call is None:
        return None
    raw = processes.memory(pid, waiter.call.arguments[0], _LOCK.size)
    if raw is None:
        return None
    others = {one.inner_id: one.tid for one in threads if one.tid != waiter.tid}
    words = _LOCK.unpack(raw)
    # 1 and 2 are the states of a plain mutex, and in a PID namespace threads have such numbers.
    is_plain = words[0] in _TAKEN and not system_calls.inherits_priority(waiter.call)
    kept = (words[at] & _TID for at in _KEPT_AT if at or not is_plain)
    return next((others[tid] for tid in kept if tid in others), None)
