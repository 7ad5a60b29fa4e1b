"""What an embedded developer would copy: the example, with a stick that is really plugged."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from printed import TOLD_WITHIN, running
from vm.guest.usb import STICK

if TYPE_CHECKING:
    from vm.guest.usb import Bus


def test_the_example_tells_of_a_stick_by_vendor_product_and_serial(bus: Bus) -> None:
    """What was there at its start, what is pulled out, and what is plugged in again."""
    bus.plug(STICK)
    with running("usb_hotplug.py") as printed:
        there = printed.next()
        while not there.startswith("+ 46f4:0001"):  # the root hubs are USB devices as well
            there = printed.next()
        bus.unplug()
        removed = printed.next()
        bus.plug(STICK)
        again = printed.next()
        printed.program.send_signal(signal.SIGINT)
        assert printed.program.wait(TOLD_WITHIN) == 0
    serial = there.removeprefix("+ 46f4:0001 ")
    assert serial.startswith("'")
    assert (removed, again) == (f"- 46f4:0001 {serial}", f"+ 46f4:0001 {serial}")
