"""The rtnl_lock, really held in the kernel, for as long as a test likes.

A thread asks for the addresses of interfaces, which are copied out under the lock
(net/core/dev_ioctl.c: dev_ifconf), to a page that is not there; who has to bring it is the test
(fs/userfaultfd.c: handle_userfault), and it does so behind the body.

That takes root of the machine.  Others delete thousands of links in one go, which goes on behind
the lock (net/core/dev.c: netdev_run_todo), so that nobody can tell how long it is held.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import mmap
import os
import select
import socket
import struct
import threading
from typing import TYPE_CHECKING, Final

import pytest

import kernel
from links import Links, names

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

SIOCGIFCONF: Final = 0x8912
USERFAULTFD: Final = "/dev/userfaultfd"
USERFAULTFD_IOC_NEW: Final = 0xAA00
UFFDIO_API: Final = 0xC018AA3F
UFFD_API: Final = 0xAA
UFFDIO_REGISTER: Final = 0xC020AA00
UFFDIO_REGISTER_MODE_MISSING: Final = 1

#: Seconds: whoever waits for the lock cannot be killed, and the whole machine may wait for it.
HELD_AT_MOST: Final = 20.0

ATTEMPTS: Final = 5
PAIRS: Final = 3000
#: The number of sendto(2) on x86-64, as /proc has it.
SENDTO: Final = "44 "
#: Of processor time, in nanoseconds: more than it takes to come to the lock, and a small part of
#: what the deletion takes under it.
WELL_INSIDE: Final = 20_000_000


async def under_the_lock(body: Callable[[], Awaitable[None]]) -> None:
    """Do it while the lock is held; again where it may have been let go before that."""
    if os.access(USERFAULTFD, os.R_OK | os.W_OK):
        with _page_missing():
            await body()
        return
    for left in reversed(range(ATTEMPTS)):
        with _links_deleted():
            try:
                await body()
            except (AssertionError, pytest.fail.Exception):
                if not left:
                    raise
            else:
                return


@contextlib.contextmanager
def _page_missing() -> Iterator[None]:
    page = mmap.mmap(-1, mmap.PAGESIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    faults = _faults_at(address)
    over = threading.Event()

    def bring_the_page() -> None:
        over.wait(HELD_AT_MOST)
        os.close(faults)

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        wanted = struct.pack("@iP", mmap.PAGESIZE, address)
        asking = threading.Thread(target=fcntl.ioctl, args=(sock, SIOCGIFCONF, wanted))
        bringing = threading.Thread(target=bring_the_page)
        bringing.start()
        asking.start()
        try:
            assert select.select([faults], [], [], 10)[0], "it never came to the page"
            yield
        finally:
            over.set()
            bringing.join()
            asking.join()


def _faults_at(address: int) -> int:
    """What can be read once somebody waits for the page there, who waits until it is closed."""
    with open(USERFAULTFD, "rb", 0) as device:
        faults = fcntl.ioctl(device, USERFAULTFD_IOC_NEW, os.O_CLOEXEC | os.O_NONBLOCK)
    fcntl.ioctl(faults, UFFDIO_API, struct.pack("=QQQ", UFFD_API, 0, 0))
    wanted = (address, mmap.PAGESIZE, UFFDIO_REGISTER_MODE_MISSING, 0)
    fcntl.ioctl(faults, UFFDIO_REGISTER, struct.pack("=QQQQ", *wanted))
    return faults


@contextlib.contextmanager
def _links_deleted() -> Iterator[None]:
    entered = threading.Event()
    with Links() as links:
        for pair in names(range(PAIRS)):
            links.make(*pair)

    def delete() -> None:
        with Links() as links:
            entered.set()
            links.delete_all()

    def task(name: str) -> str:
        with open(f"/proc/self/task/{deleting.native_id}/{name}", encoding="ascii") as file:
            return file.read()

    def is_inside() -> bool:
        # We run Python, and so it does not: if it runs, then in the system call.
        has_run = int(task("schedstat").split()[0]) - before
        return task("syscall").startswith((SENDTO, "running")) and has_run > WELL_INSIDE

    deleting = threading.Thread(target=delete)
    deleting.start()
    assert entered.wait(30)
    before = int(task("schedstat").split()[0])
    kernel.until(lambda: is_inside() or not deleting.is_alive())
    try:
        yield
    finally:
        deleting.join()
