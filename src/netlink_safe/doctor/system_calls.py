"""System calls by their numbers, which differ from machine to machine: what a thread is in one for.

From ``arch/*/entry/syscalls/*.tbl`` and ``include/uapi/asm-generic/unistd.h``.
May call ``doctor.observation``, ``transport.machine`` and ``transport.processes``.
"""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING, Final

from netlink_safe.transport.machine import POINTER_BITS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from netlink_safe.doctor.observation import Purpose
    from netlink_safe.transport.processes import SystemCall

PURPOSES: Final[dict[str, Purpose]] = {
    **dict.fromkeys(("write", "writev", "send", "sendto", "sendmsg", "sendmmsg"), "send"),
    **dict.fromkeys(("read", "readv", "recv", "recvfrom", "recvmsg", "recvmmsg"), "receive"),
    **dict.fromkeys(("futex", "futex_time64"), "lock"),
    **dict.fromkeys(
        (
            "poll",
            "ppoll",
            "ppoll_time64",
            "select",
            "pselect6",
            "pselect6_time64",
            "epoll_wait",
            "epoll_pwait",
            "epoll_pwait2",
        ),
        "poll",
    ),
    **dict.fromkeys(("nanosleep", "clock_nanosleep", "clock_nanosleep_time64", "pause"), "sleep"),
}

_X86_64: Final = {
    0: "read", 1: "write", 7: "poll", 19: "readv", 20: "writev", 23: "select", 34: "pause",
    35: "nanosleep", 44: "sendto", 45: "recvfrom", 46: "sendmsg", 47: "recvmsg", 202: "futex",
    230: "clock_nanosleep", 232: "epoll_wait", 270: "pselect6", 271: "ppoll", 281: "epoll_pwait",
    299: "recvmmsg", 307: "sendmmsg", 441: "epoll_pwait2",
}  # fmt: skip
_GENERIC: Final = {
    22: "epoll_pwait", 63: "read", 64: "write", 65: "readv", 66: "writev", 72: "pselect6",
    73: "ppoll", 98: "futex", 101: "nanosleep", 115: "clock_nanosleep", 206: "sendto",
    207: "recvfrom", 211: "sendmsg", 212: "recvmsg", 243: "recvmmsg", 269: "sendmmsg",
    441: "epoll_pwait2",
}  # fmt: skip
_ARM: Final = {
    3: "read", 4: "write", 29: "pause", 142: "select", 145: "readv", 146: "writev",
    162: "nanosleep", 168: "poll", 240: "futex", 252: "epoll_wait", 265: "clock_nanosleep",
    289: "send", 290: "sendto", 291: "recv", 292: "recvfrom", 296: "sendmsg", 297: "recvmsg",
    335: "pselect6", 336: "ppoll", 346: "epoll_pwait", 365: "recvmmsg", 374: "sendmmsg",
    407: "clock_nanosleep_time64", 413: "pselect6_time64", 414: "ppoll_time64",
    422: "futex_time64", 441: "epoll_pwait2",
}  # fmt: skip
#: By how the kernel calls itself, and the bits of a pointer: a 64-bit kernel runs others, too.
MACHINES: Final = {
    ("x86_64", 64): _X86_64,
    ("aarch64", 64): _GENERIC,
    ("riscv64", 64): _GENERIC,
    ("loongarch64", 64): _GENERIC,
    ("aarch64", 32): _ARM,
    ("armv8l", 32): _ARM,
    ("armv7l", 32): _ARM,
    ("armv6l", 32): _ARM,
}

#: struct sockaddr_nl.
ADDRESS: Final = struct.Struct("=HHII")
#: What a struct msghdr begins with: where the address is.
POINTER: Final = struct.Struct("=Q" if POINTER_BITS > 32 else "=I")
#: FUTEX_WAIT, FUTEX_LOCK_PI, FUTEX_WAIT_BITSET, FUTEX_LOCK_PI2; behind it are flags.
_LOCKING: Final = frozenset({0, 6, 9, 13})
_INHERITING: Final = frozenset({6, 13})
_OPERATION: Final = 0x7F


def names(machine: str | None = None, bits: int = POINTER_BITS) -> Mapping[int, str] | None:
    """The names of a process's system calls, ours unless said; None where they are not known."""
    return MACHINES.get((machine or os.uname().machine, bits))


def name_of(call: SystemCall, known: Mapping[int, str]) -> str | None:
    """What a system call is called; None for one that no rule asks for.

    A process with shorter pointers than ours has other numbers, and its stack lies low.
    """
    is_long = call.stack_pointer > 0xFFFFFFFF
    if is_long != (POINTER_BITS > 32):
        return None
    name = known.get(call.number)
    if name is not None and PURPOSES[name] == "lock":
        return name if call.arguments[1] & _OPERATION in _LOCKING else None
    return name


def inherits_priority(call: SystemCall) -> bool:
    """Whether a futex is one whose word is the thread that has it (FUTEX_LOCK_PI)."""
    return call.arguments[1] & _OPERATION in _INHERITING
