"""What an embedded developer would copy: the example, with a stick that is really plugged."""

from __future__ import annotations

import select
import signal
import subprocess
import sys
from pathlib import Path

from vm.guest.usb import STICK, Bus

EXAMPLE = Path(__file__).parents[3] / "examples" / "usb_hotplug.py"
TOLD_WITHIN = 60.0


def next_line(process: subprocess.Popen[str]) -> str:
    """What it prints next, within a bound."""
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], TOLD_WITHIN)
    assert readable, "it says nothing"
    return process.stdout.readline()


def test_the_example_tells_of_a_stick_by_vendor_product_and_serial(bus: Bus) -> None:
    """What was there at its start, what is pulled out, and what is plugged in again."""
    bus.plug(STICK)
    with subprocess.Popen([sys.executable, str(EXAMPLE)], stdout=subprocess.PIPE, text=True) as it:
        lines = [next_line(it)]
        while not lines[-1].startswith("+ 46f4:0001"):  # the root hubs are USB devices as well
            lines.append(next_line(it))
        serial = lines[-1].split(" ", 2)[2].strip()
        bus.unplug()
        removed = next_line(it)
        bus.plug(STICK)
        again = next_line(it)
        it.send_signal(signal.SIGINT)
        assert it.wait(TOLD_WITHIN) == 0
    assert serial
    assert removed.split() == ["-", "46f4:0001", *serial.split()]
    assert again.split() == ["+", "46f4:0001", *serial.split()]
