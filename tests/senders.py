"""Senders with just so much right: each is a child process that ends when it has sent."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import socket
import struct
from typing import TYPE_CHECKING, Final

import attrs
import pytest

import kernel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CLONE_NEWPID: Final = 0x20000000
PR_SET_KEEPCAPS: Final = 8
CAP_SETUID: Final = 1 << 7
CAP_NET_ADMIN: Final = 1 << 12
CAP_SYS_ADMIN: Final = 1 << 21
EVERY: Final = (1 << 64) - 1
SOMEBODY: Final = 4242
#: What the words of whoever is not root end with.
SOMEBODY_ELSE: Final = "not root's uid"

_libc = ctypes.CDLL(None, use_errno=True)


@attrs.frozen
class By:
    """Who sends, in words, and how to become that; ``become`` runs in a child that then sends."""

    words: str
    become: Callable[[], object]

    def __call__(self, send: Callable[[], object]) -> str:
        """Send; the name of the error that this comes to, or ``sent``."""

        def child() -> str:
            self.become()
            return outcome(send)

        return kernel.in_child(child)


def outcome(call: Callable[[], object]) -> str:
    """The name of the error that a call comes to, the text that it returns, or ``sent``."""
    try:
        told = call()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return told if isinstance(told, str) else "sent"


def keep(capabilities: int, uid: int = 0) -> None:
    """Be a user with these capabilities, of those that there are, and no others."""
    capabilities &= _permitted()
    if uid:
        _libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    low, high = capabilities & 0xFFFFFFFF, capabilities >> 32
    wanted = struct.pack("=6I", low, low, 0, high, high, 0)
    if _libc.capset(struct.pack("=II", 0x20080522, 0), wanted):
        raise OSError(ctypes.get_errno(), "capset")


def _permitted() -> int:
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1], 16) for line in file if line.startswith("CapPrm:"))


def somebody(words: str, capabilities: int) -> By:
    """A user who is not root."""
    return By(f"{words}, {SOMEBODY_ELSE}", lambda: keep(capabilities, SOMEBODY))


def skip_without_other_users() -> None:
    """Skip what takes another user, where the run has only one: in a user namespace of its own."""
    if not kernel.is_root_of_the_machine():
        pytest.skip("this user namespace has a single user")


def _in_other_pids() -> None:
    """Go on as the second process of a new PID namespace; the others wait for it."""
    kernel.unshare(CLONE_NEWPID)
    for _ in range(2):
        if pid := os.fork():
            os.waitpid(pid, 0)
            os._exit(0)  # what is told goes through the pipe that all have


def _with_rights_over_pids() -> None:
    _in_other_pids()
    keep(CAP_SYS_ADMIN)


ROOT: Final = By("root, every capability", lambda: None)
NOTHING: Final = By("root's uid, no capability", lambda: keep(0))
NET_ADMIN: Final = By("`CAP_NET_ADMIN`, root's uid", lambda: keep(CAP_NET_ADMIN))
SYS_ADMIN: Final = By("`CAP_SYS_ADMIN`, root's uid", lambda: keep(CAP_SYS_ADMIN))
ALL_BUT_NET_ADMIN: Final = By(
    "every capability but `CAP_NET_ADMIN`", lambda: keep(EVERY & ~CAP_NET_ADMIN)
)
ALL_BUT_SYS_ADMIN: Final = By(
    "every capability but `CAP_SYS_ADMIN`", lambda: keep(EVERY & ~CAP_SYS_ADMIN)
)
USER: Final = somebody("no capability", 0)
USER_NET_ADMIN: Final = somebody("`CAP_NET_ADMIN`", CAP_NET_ADMIN)
USER_SYS_ADMIN: Final = somebody("`CAP_SYS_ADMIN`", CAP_SYS_ADMIN)
USER_WHO_MAY_BE_ROOT: Final = somebody(
    "`CAP_NET_ADMIN`, `CAP_SYS_ADMIN`, `CAP_SETUID`", CAP_NET_ADMIN | CAP_SYS_ADMIN | CAP_SETUID
)
ANYBODY: Final = By(
    "no capability", lambda: keep(0, SOMEBODY if kernel.is_root_of_the_machine() else 0)
)
SYS_ADMIN_OF_PIDS: Final = By(
    "`CAP_SYS_ADMIN`, over its PID namespace too, root's uid", _with_rights_over_pids
)
OTHER_USERS: Final = By("root of another user namespace", kernel.become_root_of_a_user_namespace)
OTHER_NETWORK: Final = By(
    "root, in another network namespace", lambda: kernel.unshare(kernel.CLONE_NEWNET)
)
OTHER_PIDS: Final = By("root, in another PID namespace", _in_other_pids)
NOBODY: Final = By("—", lambda: None)


def send_stating(
    protocol: int, data: bytes, credentials: tuple[int, int, int], port_id: int = 0, groups: int = 0
) -> None:
    """Send with a pid, uid and gid that are said, and not the sender's own."""
    stated = (socket.SOL_SOCKET, socket.SCM_CREDENTIALS, struct.pack("=iII", *credentials))
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol) as sock:
        sock.bind((0, 0))
        sock.sendmsg([data], [stated], socket.MSG_DONTWAIT, (port_id, groups))


@attrs.frozen
class Container:
    """A process in a user namespace of its own, which acts when told."""

    pid: int
    _end: socket.socket

    def act(self) -> str:
        """Have it do that; what ``outcome`` says of it."""
        self._end.send(b"act")
        return self._end.recv(100).decode()


@contextlib.contextmanager
def container(
    act: Callable[[], object], root: int = 0, also: int = kernel.CLONE_NEWNET
) -> Iterator[Container]:
    """One whose root has this uid here; ``also`` are the namespaces that it makes as that root."""
    ours, theirs = socket.socketpair()
    with ours:
        pid = os.fork()
        if pid == 0:
            try:
                ours.close()
                _be_a_container(theirs, act, also)
            finally:
                os._exit(0)
        try:
            theirs.close()
            assert ours.recv(100)
            with open(f"/proc/{pid}/uid_map", "w", encoding="ascii") as file:
                file.write(f"0 {root} 1")
            ours.send(b"mapped")
            assert ours.recv(100) == b"ready"
            yield Container(pid, ours)
        finally:
            ours.shutdown(socket.SHUT_RDWR)
            os.waitpid(pid, 0)


def _be_a_container(end: socket.socket, act: Callable[[], object], also: int) -> None:
    kernel.unshare(kernel.CLONE_NEWUSER)
    end.send(b"unmapped")
    end.recv(100)
    os.setresuid(0, 0, 0)
    kernel.unshare(also)
    end.send(b"ready")
    while end.recv(100):
        end.send(outcome(act).encode())
