"""The guest: a machine without udevd, its drivers loaded, and a bus for each test."""

from __future__ import annotations

import contextlib
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

import kernel
from vm.guest.listeners import Reference
from vm.guest.qmp import Monitor
from vm.guest.usb import Bus

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What udevd would load at the first plug of each.
MODULES: Final = ("evdev", "hid_generic", "sd_mod", "sg", "usb_storage", "usbhid", "xhci_pci")


@pytest.fixture(scope="session")
def monitor() -> Iterator[Monitor]:
    """QEMU's monitor, in a machine in which nobody but the test does anything."""
    with Monitor() as monitor:
        subprocess.run(["udevadm", "settle", "--timeout=60"], check=True)
        subprocess.run(["udevadm", "control", "--exit"], check=True)
        _wait_until_gone("systemd-udevd")
        subprocess.run(["modprobe", "--all", *MODULES], check=True)
        yield monitor


@pytest.fixture
def bus(monitor: Monitor) -> Iterator[Bus]:
    """The USB bus, empty at the beginning and at the end."""
    with Reference() as reference:
        bus = Bus(monitor, reference)
        yield bus
        bus.unplug_all()


@pytest.fixture
def network() -> Iterator[None]:
    """A network namespace of the test's own."""
    kernel.unshare(kernel.CLONE_NEWNET)
    kernel.set_up_loopback()
    yield
    kernel.enter(kernel.FIRST_NAMESPACE)


def _wait_until_gone(name: str) -> None:
    end = time.monotonic() + 60
    while name in _running():
        assert time.monotonic() < end, f"{name} does not end"
        time.sleep(0.05)


def _running() -> set[str]:
    names = set()
    for file in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            names.add(file.read_text().strip())
    return names
