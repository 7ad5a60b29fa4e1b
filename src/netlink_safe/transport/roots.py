"""By which numbers this process sees root of the user namespace that owns a network namespace.

The kernel signs what it multicasts in a network namespace as root of its owner
(``lib/kobject_uevent.c``: uevent_net_broadcast_tagged), and a reader sees that user by the number
that it has in the reader's own user namespace, or as nobody where it has none.

May call ``transport.machine`` and ``protocol``.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sys
from typing import Final

from netlink_safe.protocol.trust import Roots
from netlink_safe.transport.machine import HERE

OWN: Final = "/proc/thread-self/ns/net"
USER: Final = "/proc/thread-self/ns/user"
NOBODY: Final = "/proc/sys/kernel/overflowuid"
#: NSIO of ``include/uapi/linux/nsfs.h``.
NS_GET_USERNS: Final = HERE.ioctl(0xB7, 1)
NS_GET_OWNER_UID: Final = HERE.ioctl(0xB7, 4)


def roots() -> Roots:
    """Those of the calling thread's network namespace."""
    try:
        descriptor = os.open(OWN, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:  # without /proc
        return Roots(frozenset({0}))
    try:
        owner = fcntl.ioctl(descriptor, NS_GET_USERNS)
    except OSError as error:
        if error.errno != errno.EPERM:  # older than the call (Linux 4.9)
            return Roots(frozenset({0}))
        # The owner is above us, and its root perhaps nobody to us; nobody below it may send there.
        with open(NOBODY, encoding="ascii") as file:
            return Roots(frozenset({0, int(file.read())}))
    finally:
        os.close(descriptor)
    try:
        if os.path.samestat(os.fstat(owner), os.stat(USER)):
            return Roots(frozenset({0}))
        number = fcntl.ioctl(owner, NS_GET_OWNER_UID, bytes(4))
        return Roots(frozenset({0, int.from_bytes(number, sys.byteorder)}), any_of_the_kernel=True)
    finally:
        os.close(owner)
