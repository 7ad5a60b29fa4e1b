"""A look at sysfs, as whoever made it hands it over.

May call nothing of the library.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

_IDENTITY: Final = re.compile(
    rb"(?:^|[\0\n])(IFINDEX|DISKSEQ|BUSNUM|DEVNUM|MAJOR|MINOR)=([^\0\n]*)"
)


def identity_in(text: bytes) -> Mapping[bytes, bytes]:
    """What tells a device from another one that has its path later, in an event or a uevent file.

    The first of a name counts: the driver core writes before the subsystem and the driver do
    (``drivers/base/core.c``: dev_uevent), who write what the device says of itself, perhaps with
    line ends in it.
    """
    return dict(reversed(_IDENTITY.findall(text)))


@attrs.frozen(slots=True)
class Sighting:
    """One device, or another object that the kernel sends events of, such as a driver.

    ``subsystem`` is None for what is there and not described by sysfs.
    ``uevent`` is the text of its file of that name, ``inode`` its directory's.
    """

    subsystem: bytes | None
    uevent: bytes
    inode: int
    is_device: bool

    @property
    def identity(self) -> Mapping[bytes, bytes]:
        """What tells it from another one that has its path later; often nothing."""
        return identity_in(self.uevent)


@attrs.frozen(slots=True)
class Look:
    """All that was seen, under the paths below /sys.

    ``seqnum`` is the number of the last event before the look began; ``covered`` are the subsystems
    of which everything was seen.
    """

    sightings: Mapping[bytes, Sighting]
    seqnum: int
    covered: frozenset[bytes]
