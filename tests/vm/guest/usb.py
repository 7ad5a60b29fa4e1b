"""This machine's USB bus: devices that are plugged and pulled out, and what the kernel said."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from netlink_safe import Overrun, Resynced

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from netlink_safe.families.uevents import UeventItem
    from vm.guest.listeners import Reference
    from vm.guest.qmp import Monitor

DEVICES: Final = Path("/sys/bus/usb/devices")
ROOT_HUB: Final = DEVICES / "usb1"


@attrs.frozen
class Kind:
    """What can be plugged.

    ``plug`` and ``unplug`` are how many events there are at least; of a plug, the last is that a
    driver is bound to a device of the type ``last``.
    """

    driver: str
    plug: int
    unplug: int
    product: str
    last: str = "usb_device"
    options: Mapping[str, str] = attrs.field(factory=dict)


TABLET: Final = Kind("usb-tablet", 11, 10, "627/1/0")
KEYBOARD: Final = Kind("usb-kbd", 20, 19, "627/1/0")
#: Its disk is found by a thread, a second after the stick itself.
STICK: Final = Kind("usb-storage", 16, 15, "46f4/1/0", "scsi_device", {"drive": "stick"})
KINDS: Final = (TABLET, KEYBOARD, STICK)


@attrs.frozen
class Mark:
    """An event that was asked for, and says nothing but that what came before it has come."""

    uuid: str

    def is_said(self, properties: Mapping[str, str]) -> bool:
        """Whether the kernel's text is this."""
        return properties.get("SYNTH_UUID") == self.uuid

    def is_heard(self, item: UeventItem) -> bool:
        """Whether the library hands this out."""
        return not isinstance(item, Overrun | Resynced) and self.is_said(item.properties)


class Bus:
    """The bus with a listener of its own, by which it knows when a device has come or gone."""

    def __init__(self, monitor: Monitor, reference: Reference) -> None:
        self._monitor = monitor
        self._reference = reference
        self._plugged: dict[int, str] = {}
        self._said: list[Mapping[str, str]] = []

    def plug(self, kind: Kind, port: int = 1) -> str:
        """Plug a device in and wait until its drivers have it; its path below /sys."""
        devpath = self.begin_plug(kind, port)
        self.finish_plug(kind, port)
        return devpath

    def begin_plug(self, kind: Kind, port: int = 1) -> str:
        """Plug a device in and wait until the kernel has named it; its path below /sys."""
        self._monitor.plug(kind.driver, _name(port), bus="xhci.0", port=str(port), **kind.options)
        self._plugged[port] = "/"
        self._plugged[port] = self._wait_for("add", "usb_device")["DEVPATH"]
        return self._plugged[port]

    def finish_plug(self, kind: Kind, port: int = 1) -> None:
        """Wait until a device's drivers have it."""
        self._wait_for("bind", kind.last, self._plugged[port])

    def unplug(self, port: int = 1) -> None:
        """Pull a device out and wait until the kernel has forgotten it."""
        devpath = self._plugged.pop(port)
        self._monitor.unplug(_name(port))
        self._wait_for("remove", "usb_device", devpath)

    def unplug_all(self) -> None:
        """Pull out whatever a test has left."""
        for port in list(self._plugged):
            self.unplug(port)

    def mark(self) -> Mark:
        """Have the kernel send an event of the root hub that only says: up to here."""
        mark = Mark(str(uuid.uuid4()))
        (ROOT_HUB / "uevent").write_text(f"change {mark.uuid}")
        self._said += self._reference.until(mark.is_said)
        return mark

    def said_between(self, begin: Mark, end: Mark) -> list[Mapping[str, str]]:
        """What the kernel said between two marks."""
        uuids = [properties.get("SYNTH_UUID") for properties in self._said]
        return self._said[uuids.index(begin.uuid) + 1 : uuids.index(end.uuid)]

    def _wait_for(self, action: str, devtype: str, below: str = "/") -> Mapping[str, str]:
        def is_it(said: Mapping[str, str]) -> bool:
            is_there = said["DEVPATH"].startswith(below)
            return is_there and (said["ACTION"], said.get("DEVTYPE")) == (action, devtype)

        self._said += self._reference.until(is_it)
        return self._said[-1]


def _name(port: int) -> str:
    return f"port{port}"


def present() -> set[str]:
    """The paths of all that sysfs shows on the bus."""
    return {os.path.realpath(device).removeprefix("/sys") for device in DEVICES.iterdir()}


def believed(items: Iterable[UeventItem]) -> set[str]:
    """The paths that somebody believes in who takes every ``add`` and ``remove`` at its word."""
    paths: set[str] = set()
    for item in items:
        if isinstance(item, Overrun | Resynced) or item.is_synthetic:
            continue
        if item.action == "add":
            assert item.devpath not in paths, "added twice"
            paths.add(item.devpath)
        elif item.action == "remove":
            paths.remove(item.devpath)
    return paths
