"""With Debian's udevd in the machine, which tells of every event again with what its rules add."""

from __future__ import annotations

import contextlib
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from netlink_safe import Uevent
from netlink_safe.families.uevent import Origin
from vm.guest.listeners import Surface, on_every_surface
from vm.guest.usb import KEYBOARD, Bus, believed, present

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netlink_safe.families.uevents import UeventItem
    from vm.guest.qmp import Monitor


@pytest.fixture
def _udevd(monitor: Monitor) -> Iterator[None]:
    """udevd, from when it answers until the end of the test."""
    with subprocess.Popen(
        ["/lib/systemd/systemd-udevd"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as daemon:
        try:
            _wait_until_it_answers()
            yield
        finally:
            daemon.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                daemon.wait(30)
            daemon.kill()


def _wait_until_it_answers() -> None:
    end = time.monotonic() + 60
    ping = ["udevadm", "control", "--ping", "--timeout=10"]
    while subprocess.run(ping, stderr=subprocess.DEVNULL, check=False).returncode:
        assert time.monotonic() < end, "udevd does not answer"
        time.sleep(0.05)


@pytest.mark.usefixtures("_udevd")
@on_every_surface
def test_udevd_tells_of_every_event_and_adds_what_its_rules_say(bus: Bus, surface: Surface) -> None:
    """The udev source yields each event of a plug, from udevd, with udevd's own properties."""
    with surface.listen(source="udev") as listener:
        begin = bus.mark()
        devpath = bus.plug(KEYBOARD)
        said = bus.said_between(begin, bus.mark())
        missing = {event["SEQNUM"] for event in said}

        def is_complete(item: UeventItem) -> bool:
            assert isinstance(item, Uevent)
            missing.discard(str(item.seqnum))
            return not missing

        events = listener.until(is_complete)
    assert len(said) >= KEYBOARD.plug
    told = {}
    for event in events:
        assert isinstance(event, Uevent)
        assert event.origin is Origin.UDEV
        told[str(event.seqnum)] = event.properties
    for properties in said:
        again = told[properties["SEQNUM"]]
        for name in ("ACTION", "DEVPATH", "SUBSYSTEM"):
            assert again[name] == properties[name]
    (device,) = [
        one for one in told.values() if (one["ACTION"], one["DEVPATH"]) == ("add", devpath)
    ]
    assert device["ID_VENDOR_ID"] == "0627"
    assert any(one.get("ID_INPUT_KEYBOARD") == "1" for one in told.values())


@pytest.mark.usefixtures("_udevd")
@on_every_surface
def test_what_was_there_before_is_added_and_udevd_removes_it(bus: Bus, surface: Surface) -> None:
    """Coldplug goes with the udev source: one picture, begun by sysfs and carried on by udevd."""
    devpath = bus.plug(KEYBOARD)
    subprocess.run(["udevadm", "settle", "--timeout=60"], check=True)
    with surface.listen(source="udev", coldplug=True, subsystem="usb") as listener:
        items = listener.until(bus.mark().is_heard)
        assert believed(items) == present()
        bus.unplug()
        items += listener.until(
            lambda item: (
                isinstance(item, Uevent) and (item.action, item.devpath) == ("remove", devpath)
            )
        )
    assert believed(items) == present()
    of_device = [
        (event.action, event.origin)
        for event in items
        if isinstance(event, Uevent) and event.devpath == devpath
    ]
    assert of_device[0] == ("add", Origin.COLDPLUG)
    assert of_device[-1] == ("remove", Origin.UDEV)
    assert [action for action, _ in of_device].count("add") == 1
