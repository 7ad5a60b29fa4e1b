"""The messages that udevd sends to its own group: a header before the properties.

``struct monitor_netlink_header`` of systemd's sd-device/device-monitor.c: "libudev" and a zero
byte, a magic number in network order, then in the machine's own order the header's size, offset and
length of the properties, and hashes for filters in the kernel.

May call ``families.uevent``.
"""

from __future__ import annotations

import struct
from typing import Final

from netlink_safe.families.uevent import Origin, Uevent, read_any

_HEADER: Final = struct.Struct("=8s4sIII16x")
_PREFIX: Final = b"libudev\0"
_MAGIC: Final = b"\xfe\xed\xca\xfe"


def read_udev(data: bytes, origin: Origin) -> Uevent | str:
    """The event of a datagram of udevd's group, or why it is none."""
    if len(data) < _HEADER.size or not data.startswith(_PREFIX):
        return "udev_prefix"
    _, magic, size, offset, length = _HEADER.unpack_from(data)
    if magic != _MAGIC:
        return "udev_magic"
    if not _HEADER.size <= size <= offset <= len(data) or length > len(data) - offset:
        return "udev_offsets"
    properties = data[offset : offset + length]
    return read_any(_first_line(properties) + properties, origin) or "malformed"


def _first_line(properties: bytes) -> bytes:
    """What the kernel's own text would begin with."""
    said = dict(line.split(b"=", 1) for line in properties.split(b"\0") if b"=" in line)
    return b"%b@%b\0" % (said.get(b"ACTION", b""), said.get(b"DEVPATH", b""))
