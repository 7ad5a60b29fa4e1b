"""A uevent: what the kernel, or udevd, says of a device; read lazily over its text.

The kernel's text is ``action@devpath``, then properties, each ended by a zero byte; ACTION, DEVPATH
and SUBSYSTEM come first and SEQNUM last (``lib/kobject_uevent.c``: kobject_uevent_env).
What does not follow the grammar is no event.

May call ``protocol.sighting``.
"""

from __future__ import annotations

import enum
import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from netlink_safe.protocol.sighting import identity_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_SYNTHETIC: Final = b"\0SYNTH_UUID="
#: What is of an event, and not of its device.
MADE_ANEW: Final = (b"ACTION", b"DEVPATH", b"SUBSYSTEM", b"SEQNUM", b"SYNTH_UUID", b"DEVPATH_OLD")

#: What the kernel writes: both names again as properties, SEQNUM at the end.
_KERNEL: Final = re.compile(
    rb"([^@\0]++)@(/[^\0]*+)\0ACTION=\1\0DEVPATH=\2\0SUBSYSTEM=([^\0]++)\0"
    rb"(?:[^=\0]++=[^\0]*+\0)*?SEQNUM=([0-9]{1,20}+)\0"
)
#: What anybody may have written whom the kernel or udevd has passed on: any order.
_ANY: Final = re.compile(rb"([^@\0]++)@(/[^\0]*+)\0((?:[^=\0]++=[^\0]*+\0)++)")
_PROPERTY: Final = re.compile(rb"([^=\0]+)=([^\0]*)\0")


class Origin(enum.Enum):
    """Who says it.

    KERNEL is the kernel itself.  INJECTED came from the kernel's port on behalf of a process, as
    container managers do to forward USB (``lib/kobject_uevent.c``: uevent_net_rcv_skb); its pid is
    told as its own PID namespace has it, and nobody may state 0 (``net/core/scm.c``: __scm_send).
    UDEV is udevd.  COLDPLUG and RESYNC were read from sysfs: at the start, and after an overrun.
    """

    KERNEL = "kernel"
    INJECTED = "injected"
    UDEV = "udev"
    COLDPLUG = "coldplug"
    RESYNC = "resync"

    def __str__(self) -> str:
        return self.value


class Uevent:
    """One event of one device.

    Texts are UTF-8; a byte that is none stands as a surrogate, as ``os.fsdecode`` has it, so that
    nothing is lost.  ``devpath`` is the path below /sys, ``devname`` the one below /dev.
    The kernel's grammar is that of ``lib/kobject_uevent.c``: kobject_uevent_env.
    """

    __slots__ = ("_data", "_head", "_origin")
    _data: bytes
    _origin: Origin
    _head: tuple[bytes, bytes, bytes, bytes]

    @property
    def action(self) -> str:
        """``add``, ``remove``, ``change``, ``move``, ``bind``, ``unbind``, ``online``, …"""
        return _text(self._head[0])

    @property
    def devpath(self) -> str:
        """The device's path below /sys, with a leading slash."""
        return _text(self._head[1])

    @property
    def subsystem(self) -> str:
        """``usb``, ``net``, ``block``, …"""
        return _text(self._head[2])

    @property
    def devtype(self) -> str | None:
        """``usb_device``, ``usb_interface``, ``disk``, …; many devices have none."""
        return self.properties.get("DEVTYPE")

    @property
    def devname(self) -> str | None:
        """The device node below /dev, where there is one."""
        return self.properties.get("DEVNAME")

    @property
    def driver(self) -> str | None:
        """The driver that is bound to it, if one is."""
        return self.properties.get("DRIVER")

    @property
    def major(self) -> int | None:
        """The device node's major number; None where it has no node, or what is said is none."""
        return _number(self.properties.get("MAJOR"))

    @property
    def minor(self) -> int | None:
        """The device node's minor number; None as of ``major``."""
        return _number(self.properties.get("MINOR"))

    @property
    def seqnum(self) -> int | None:
        """The kernel's number of the event, of 64 bits; None for what was read from sysfs.

        It counts all events of the machine, those of other network namespaces too, so that a gap
        means nothing.
        """
        return int(self._head[3]) if self._head[3] else None

    @property
    def origin(self) -> Origin:
        """Who says it."""
        return self._origin

    @property
    def properties(self) -> Mapping[str, str]:
        """All that was said, by its name; decoded anew each time that it is asked for."""
        text = _text(self._data)
        said = dict([line.split("=", 1) for line in text.split("\0")[1:-1]])
        # Whoever writes a text may write these twice; what they are is what was checked.
        said["ACTION"], said["DEVPATH"] = self.action, self.devpath
        said["SUBSYSTEM"] = self.subsystem
        return MappingProxyType(said)

    @property
    def identity(self) -> Mapping[bytes, bytes]:
        """What tells the device from another one that has its path later; often nothing."""
        return identity_in(self._data)

    @property
    def is_synthetic(self) -> bool:
        """Whether somebody asked for it, as ``udevadm trigger`` does; nothing has happened then."""
        return _SYNTHETIC in self._data

    @property
    def old_devpath(self) -> bytes:
        """For ``move``: where the device was; empty for every other action."""
        _, found, rest = self._data.partition(b"\0DEVPATH_OLD=")
        return rest.partition(b"\0")[0] if found else b""

    def resynced(self, action: bytes) -> Uevent:
        """The same device in an event that a look at sysfs stands for."""
        _, devpath, subsystem, _ = self._head
        kept = (pair for pair in _PROPERTY.findall(self._data) if pair[0] not in MADE_ANEW)
        return made(action, devpath, subsystem, kept, Origin.RESYNC)

    def moved(self, path: bytes) -> Uevent:
        """The same event, of the device under its new path."""
        action, _, subsystem, number = self._head
        kept = (pair for pair in _PROPERTY.findall(self._data) if pair[0] not in MADE_ANEW)
        event = made(action, path, subsystem, kept, self._origin)
        event._head = (action, path, subsystem, number)
        return event

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Uevent):
            return NotImplemented
        return (self._data, self._origin) == (other._data, other._origin)

    def __hash__(self) -> int:
        return hash((self._data, self._origin))

    def __repr__(self) -> str:
        return f"<Uevent {self.action} {self.devpath} ({self.subsystem}, {self.origin})>"


_new = Uevent.__new__


def read_kernel(data: bytes, origin: Origin) -> Uevent | None:
    """The event of a datagram of the kernel's group; None for what is none."""
    found = _KERNEL.fullmatch(data)
    if found is None:
        return read_any(data, origin)
    event = _new(Uevent)
    event._data = data
    event._head = found.groups()  # type: ignore[assignment]  # four groups, none optional
    event._origin = origin
    return event


def read_any(data: bytes, origin: Origin) -> Uevent | None:
    """The event of such a text whose properties stand in any order; None for what is none."""
    found = _ANY.fullmatch(data)
    if found is None:
        return None
    action, devpath, _ = found.groups()
    said = dict(_PROPERTY.findall(data, found.start(3)))
    subsystem, number = said.get(b"SUBSYSTEM", b""), said.get(b"SEQNUM", b"")
    if (said.get(b"ACTION"), said.get(b"DEVPATH")) != (action, devpath) or not subsystem:
        return None
    if number and not (number.isdigit() and len(number) <= 20):
        return None
    event = Uevent.__new__(Uevent)
    event._data = data
    event._head = (action, devpath, subsystem, number)
    event._origin = origin
    return event


def made(
    action: bytes,
    devpath: bytes,
    subsystem: bytes,
    properties: Iterable[tuple[bytes, bytes]],
    origin: Origin,
) -> Uevent:
    """An event of our own making, in the kernel's order, without a SEQNUM."""
    event = Uevent.__new__(Uevent)
    event._head = (action, devpath, subsystem, b"")
    first = ((b"ACTION", action), (b"DEVPATH", devpath), (b"SUBSYSTEM", subsystem))
    lines = [b"%b=%b\0" % pair for pair in (*first, *properties)]
    event._data = b"%b@%b\0%b" % (action, devpath, b"".join(lines))
    event._origin = origin
    return event


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _number(text: str | None) -> int | None:
    plain = text is not None and text.isascii() and text.isdecimal() and len(text) <= 20
    return int(text) if plain else None  # type: ignore[arg-type]  # plain is no None
