"""A listener that comes after the device, or while it is being plugged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from netlink_safe import Uevent
from netlink_safe.families.uevent import Origin
from vm.guest.listeners import Surface, on_every_surface
from vm.guest.usb import STICK, TABLET, Bus, believed, present

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netlink_safe.families.uevents import UeventItem


def added(items: Sequence[UeventItem], devpath: str) -> list[Uevent]:
    """How often a device was added."""
    events = [item for item in items if isinstance(item, Uevent)]
    return [event for event in events if (event.action, event.devpath) == ("add", devpath)]


@on_every_surface
def test_a_stick_that_is_there_already_is_added_once(bus: Bus, surface: Surface) -> None:
    """Coldplug tells of a device that was plugged before, with its vendor and product."""
    devpath = bus.plug(STICK)
    with surface.listen(coldplug=True, subsystem="usb") as listener:
        items = listener.until(bus.mark().is_heard)
    (event,) = added(items, devpath)
    assert event.origin is Origin.COLDPLUG
    assert event.devtype == "usb_device"
    assert event.properties["PRODUCT"] == STICK.product
    assert believed(items) == present()


@pytest.mark.parametrize("_attempt", range(3))
@on_every_surface
def test_a_device_is_added_once_however_the_opening_and_the_plug_overlap(
    bus: Bus, surface: Surface, _attempt: int
) -> None:
    """What both the look at sysfs and the kernel tell of is told once."""
    devpath = bus.begin_plug(TABLET)
    with surface.listen(coldplug=True, subsystem="usb") as listener:
        bus.finish_plug(TABLET)
        items = listener.until(bus.mark().is_heard)
    assert len(added(items, devpath)) == 1
    assert believed(items) == present()


@on_every_surface
def test_a_device_of_the_beginning_goes_as_any_other(bus: Bus, surface: Surface) -> None:
    """What coldplug told of is removed by the kernel's own event, and comes again by its own."""
    bus.plug(TABLET)
    with surface.listen(coldplug=True, subsystem="usb") as listener:
        items = listener.until(bus.mark().is_heard)
        bus.unplug()
        items += listener.until(bus.mark().is_heard)
        assert believed(items) == present()
        devpath = bus.plug(TABLET)
        items += listener.until(bus.mark().is_heard)
    assert believed(items) == present()
    assert [event.origin for event in added(items, devpath)] == [Origin.COLDPLUG, Origin.KERNEL]
