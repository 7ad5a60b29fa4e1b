"""A sysfs mount that stands in no mount table, of the calling thread's network namespace.

``fsopen(2)``, ``fsconfig(2)`` and ``fsmount(2)``, Linux 5.2 and newer, with CAP_SYS_ADMIN.
Python has no names for them.

May call ``transport.machine``.
"""

from __future__ import annotations

import ctypes
import os
from typing import Final

from netlink_safe.transport.machine import HERE

_FSOPEN: Final = HERE.system_calls + 430
_FSCONFIG: Final = HERE.system_calls + 431
_FSMOUNT: Final = HERE.system_calls + 432
_CLOEXEC: Final = 1
_CREATE: Final = 6
_NOSUID_NODEV_NOEXEC: Final = 2 | 4 | 8


def mounted_sysfs() -> int:
    """A descriptor of its root; the mount ends with it.  Raises OSError where it may not be."""
    context = _call(_FSOPEN, b"sysfs", _CLOEXEC)
    try:
        _call(_FSCONFIG, context, _CREATE, None, None, 0)
        return _call(_FSMOUNT, context, _CLOEXEC, _NOSUID_NODEV_NOEXEC)
    finally:
        os.close(context)


def _call(number: int, *arguments: int | bytes | None) -> int:
    result = ctypes.CDLL(None, use_errno=True).syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return int(result)
