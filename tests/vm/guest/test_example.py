"""What an embedded developer would copy: the example, with a stick that is really plugged."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

from vm.guest.usb import STICK, Bus

EXAMPLE = Path(__file__).parents[3] / "examples" / "usb_hotplug.py"
TOLD_WITHIN = 60.0


class Printed:
    """What a program prints, line by line, each within a bound."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._received = b""

    def next(self) -> str:
        """The next line."""
        while b"\n" not in self._received:
            assert select.select([self._descriptor], [], [], TOLD_WITHIN)[0], "it says nothing"
            data = os.read(self._descriptor, 4096)
            assert data, "it has ended"
            self._received += data
        line, _, self._received = self._received.partition(b"\n")
        return line.decode()


def test_the_example_tells_of_a_stick_by_vendor_product_and_serial(bus: Bus) -> None:
    """What was there at its start, what is pulled out, and what is plugged in again."""
    bus.plug(STICK)
    with subprocess.Popen([sys.executable, str(EXAMPLE)], stdout=subprocess.PIPE) as it:
        try:
            assert it.stdout is not None
            printed = Printed(it.stdout.fileno())
            there = printed.next()
            while not there.startswith("+ 46f4:0001"):  # the root hubs are USB devices as well
                there = printed.next()
            bus.unplug()
            removed = printed.next()
            bus.plug(STICK)
            again = printed.next()
            it.send_signal(signal.SIGINT)
            assert it.wait(TOLD_WITHIN) == 0
        finally:
            it.kill()
    serial = there.removeprefix("+ 46f4:0001 ")
    assert serial.startswith("'")
    assert (removed, again) == (f"- 46f4:0001 {serial}", f"+ 46f4:0001 {serial}")
