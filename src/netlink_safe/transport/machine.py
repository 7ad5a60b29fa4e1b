"""Numbers of the kernel's that differ from machine to machine, and that Python has no names for.

From ``arch/*/include/uapi/asm/socket.h`` and ``ioctl.h``, and from the tables of system calls.
Calls nothing of ours.
"""

from __future__ import annotations

import os
import struct
from typing import Final

import attrs


@attrs.frozen
class Machine:
    """What a kind of machine has; the defaults are those of all the others.

    ``system_calls`` is where the numbers begin that are common to all since Linux 5.0;
    ``no_data`` is what an ioctl's number has in it that carries nothing (_IOC_NONE, in place).
    """

    receive_buffer_force: int = 33
    memory_info: int = 55
    attach_filter: int = 26
    detach_filter: int = 27
    system_calls: int = 0
    no_data: int = 0

    def ioctl(self, kind: int, number: int) -> int:
        """The number of an ioctl that carries no data: _IO(kind, number)."""
        return self.no_data | kind << 8 | number


_NO_DATA: Final = 1 << 29
#: By how os.uname() calls it, or begins to, and the bits of a pointer.
_OTHERS: Final = {
    ("alpha", 64): Machine(receive_buffer_force=0x100B, system_calls=110, no_data=_NO_DATA),
    ("mips", 32): Machine(system_calls=4000, no_data=_NO_DATA),
    ("mips", 64): Machine(system_calls=5000, no_data=_NO_DATA),
    ("parisc", 32): Machine(
        receive_buffer_force=0x100B, memory_info=0x4030, attach_filter=0x401A, detach_filter=0x401B
    ),
    ("ppc", 32): Machine(no_data=_NO_DATA),
    ("ppc", 64): Machine(no_data=_NO_DATA),
    ("sparc", 32): Machine(receive_buffer_force=0x100B, memory_info=0x39, no_data=_NO_DATA),
    ("sparc", 64): Machine(receive_buffer_force=0x100B, memory_info=0x39, no_data=_NO_DATA),
}

#: How wide a pointer of this process is.
POINTER_BITS: Final = 8 * struct.calcsize("@P")


def machine(name: str, bits: int) -> Machine:
    """That of a name, for processes whose pointers are so wide."""
    found = (
        one for (begin, width), one in _OTHERS.items() if name.startswith(begin) and width == bits
    )
    return next(found, Machine())


HERE: Final = machine(os.uname().machine, POINTER_BITS)
