"""What udevd has noted of a device: /run/udev/data, one file for each that its rules said more of.

systemd's sd-device: a file's name is made of the device's number, interface index, or subsystem
and name; a device with a number or an index has been processed once its file is there.

May call ``protocol``.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from netlink_safe.protocol.sighting import Sighting

DATA: Final = "/run/udev/data"
#: How many bytes of a file are read; udevd's have a few hundred.
_LONGEST: Final = 1 << 20
_NUMBER: Final = re.compile(rb"^(MAJOR|MINOR|IFINDEX)=([0-9]+)$", re.MULTILINE)
_PROPERTY: Final = re.compile(rb"^E:(.*\n)", re.MULTILINE)


def processed(path: bytes, sighting: Sighting, is_foreign: bool) -> Sighting | None:
    """The same with udevd's properties; None for what it has not processed yet.

    In a foreign network namespace interfaces have indexes that are others' in the database.
    """
    if not sighting.is_device or not os.path.isdir(DATA):
        return sighting
    numbers = dict(reversed(_NUMBER.findall(sighting.uevent)))  # the first is the driver core's
    if is_foreign and b"IFINDEX" in numbers:
        return sighting
    subsystem = sighting.subsystem or b""
    if b"MAJOR" in numbers:
        kind = b"b" if subsystem == b"block" else b"c"
        name = b"%b%b:%b" % (kind, numbers[b"MAJOR"], numbers.get(b"MINOR", b"0"))
    elif b"IFINDEX" in numbers:
        name = b"n%b" % numbers[b"IFINDEX"]
    else:
        name = b"+%b:%b" % (subsystem, os.path.basename(path))
    try:
        with open(os.path.join(DATA.encode(), name), "rb") as file:
            noted = file.read(_LONGEST)
    except OSError:
        return None if numbers else sighting
    # The first of a name counts, and what a rule has set is what udevd sends.
    return attrs.evolve(sighting, uevent=b"".join(_PROPERTY.findall(noted)) + sighting.uevent)
