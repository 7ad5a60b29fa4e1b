"""What tests do to the kernel that Python has no call for: namespaces, links, descriptors."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import gc
import itertools
import os
import resource
import socket
import struct
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Final, TypeVar

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

CLONE_NEWNS: Final = 0x00020000
CLONE_NEWUSER: Final = 0x10000000
CLONE_NEWNET: Final = 0x40000000
MS_BIND: Final = 0x1000
MS_REC: Final = 0x4000
MS_PRIVATE: Final = 0x40000
MNT_DETACH: Final = 2
#: The network namespace that the machine begins with, in which a module makes its devices.
FIRST_NAMESPACE: Final = "/proc/1/ns/net"

SIOCSIFFLAGS: Final = 0x8914
IFF_UP_AND_RUNNING: Final = 0x41

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def unshare(flags: int) -> None:
    """Give the calling thread namespaces of its own."""
    _checked(_libc.unshare(flags))


def mount(source: str, target: str, kind: str | None, flags: int = 0) -> None:
    """mount(2)."""
    _checked(
        _libc.mount(
            source.encode(), target.encode(), kind and kind.encode(), ctypes.c_ulong(flags), None
        )
    )


def unmount(target: str) -> None:
    """umount2(2), at once, whoever still looks at it."""
    _checked(_libc.umount2(target.encode(), MNT_DETACH))


def become_root_of_a_user_namespace() -> None:
    """Be root in a user namespace; only a process with a single thread may."""
    uid, gid = os.geteuid(), os.getegid()
    os.environ["LOGNAME"] = f"uid-{uid}"  # by this pytest names its files, not by root's
    unshare(CLONE_NEWUSER)
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"0 {uid} 1"),
        ("gid_map", f"0 {gid} 1"),
    ):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(text)


def is_root_of_the_machine() -> bool:
    """Whether root here is root everywhere, as a few families of the kernel want it."""
    with open("/proc/self/uid_map", encoding="ascii") as file:
        return [line.split()[:2] for line in file] == [["0", "0"]]


def enter_own_namespaces() -> None:
    """A network namespace with loopback up, and a mount namespace with an empty /run/netns."""
    unshare(CLONE_NEWNET | CLONE_NEWNS)
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    mount("tmpfs", "/run", "tmpfs")
    os.mkdir("/run/netns")
    set_up_loopback()


def set_up_loopback() -> None:
    """Bring lo up in the calling thread's network namespace.

    By a socket of the file system's: the end of a TCP socket would be told there, a little later.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("=16sH22x", b"lo", IFF_UP_AND_RUNNING))


@contextlib.contextmanager
def named_namespace(name: str) -> Iterator[str]:
    """A network namespace with loopback up, under /run/netns as iproute2 has it."""
    path = f"/run/netns/{name}"
    with open(path, "w", encoding="ascii"):
        pass

    def make() -> None:
        unshare(CLONE_NEWNET)
        set_up_loopback()
        mount("/proc/thread-self/ns/net", path, None, MS_BIND)

    in_thread(make)
    try:
        yield path
    finally:
        unmount(path)
        os.unlink(path)


def in_namespace(path: str, function: Callable[[], T]) -> T:
    """Call the function in a thread that has entered the namespace."""

    def inside() -> T:
        enter(path)
        return function()

    return in_thread(inside)


def enter(path: str) -> None:
    """Move the calling thread into a network namespace."""
    with open(path, encoding="ascii") as file:
        _checked(_libc.setns(file.fileno(), CLONE_NEWNET))


def in_thread(function: Callable[[], T]) -> T:
    """Call the function in a thread of its own."""
    outcome: list[T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(function())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]


def in_child(function: Callable[[], object]) -> str:
    """Fork, call the function in the child, and return the text of what it returned or raised."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            text = str(function())
        except BaseException as error:
            text = f"{type(error).__name__}: {error}"
        os.write(writing, text.encode())
        os._exit(0)
    os.close(writing)
    with open(reading, encoding="utf-8") as file:
        text = file.read()
    os.waitpid(pid, 0)
    return text


def drop_all_rights() -> None:
    """Give up every capability of the calling process, for good."""
    version_3 = struct.pack("=II", 0x20080522, 0)
    _checked(_libc.capset(version_3, bytes(24)))


def rmem_max() -> int:
    """What SO_RCVBUF is clamped to, in bytes."""
    with open("/proc/sys/net/core/rmem_max", encoding="ascii") as file:
        return int(file.read())


def may_force_buffers() -> bool:
    """Whether SO_RCVBUFFORCE is allowed; root of a user namespace may not (net/core/sock.c)."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4) as sock:
        try:
            sock.setsockopt(socket.SOL_SOCKET, 33, 65536)
        except PermissionError:
            return False
        return True


def run_python(program: str, seconds: float) -> int:
    """Run a program in an interpreter of its own, under a bound; return its exit status."""
    return subprocess.run([sys.executable, "-c", program], timeout=seconds, check=False).returncode


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Let others run until something is so; it must be so in time.

    Who looks all the time takes the processor from whom he waits for, so that the looks get rarer.
    """
    end = time.monotonic() + seconds
    pause = 0.00005
    while not condition():
        assert time.monotonic() < end, "it never came to be"
        time.sleep(pause)
        pause = min(1.2 * pause, 0.01)


def descriptors() -> set[tuple[int, str]]:
    """What this process has open, less what nobody holds any more."""
    gc.collect()
    return descriptors_and_garbage()


def descriptors_and_garbage() -> set[tuple[int, str]]:
    """What this process has open, without the time that a look for garbage takes."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # listdir's own
            found.add((int(name), os.readlink(f"/proc/self/fd/{name}")))
    return found


@contextlib.contextmanager
def without_collector() -> Iterator[None]:
    """Nothing of an earlier test's ends in the middle of this one."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def limits_with_room(most: int) -> Iterator[int]:
    """Limits on descriptors that leave none to be had, then one, and so on."""
    taken = {number for number, _ in descriptors()}
    free = (number for number in itertools.count() if number not in taken)
    return itertools.islice(free, most + 1)


@contextlib.contextmanager
def descriptors_for(count: int) -> Iterator[None]:
    """Room for so many more descriptors, where the machine begins with fewer."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft = max(before[0], count + 100)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, max(before[1], soft)))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def threads() -> int:
    """How many threads this process has."""
    return len(os.listdir("/proc/self/task"))


def is_asleep(tid: int | None) -> bool:
    """Whether a thread of this process waits for a lock."""
    with open(f"/proc/self/task/{tid}/wchan", encoding="ascii") as file:
        return file.read().startswith("futex")


def release() -> tuple[int, int]:
    """The running kernel's version, its first two numbers."""
    first, second, *_ = os.uname().release.split(".")
    return int(first), int(second)


def skip_without(what: str) -> None:
    """Skip the test: this kernel is built without something, as most are without one or the other.

    A run on a kernel that is said to have everything fails instead.
    """
    tell = pytest.fail if "NETLINK_SAFE_REQUIRE_FEATURES" in os.environ else pytest.skip
    tell(f"this kernel has no {what}")


def send_buffer() -> int:
    """What a socket's send buffer is, in bytes, unless it says otherwise."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW) as sock:
        return sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
