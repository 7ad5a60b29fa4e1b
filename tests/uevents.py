"""What tests of listeners share: senders of events, a belief that bears no contradiction, sysfs."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from typing import TYPE_CHECKING, Any, Final

import pytest

import kernel
import netlink_safe as nls
from links import Links
from netlink_safe.wire.header import build_message

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

UEVENT: Final = 15
MNT_DETACH: Final = 2
NLM_F_REQUEST_ACK: Final = 0x05

LO: Final = "/devices/virtual/net/lo"
FAKE: Final = "/devices/pci0000:00/usb1/1-1"


def path(name: str) -> str:
    return f"/devices/virtual/net/{name}"


@pytest.fixture
def links() -> Iterator[Links]:
    with Links() as made:
        yield made


@pytest.fixture
def sysfs(tmp_path: Path) -> Iterator[Path]:
    with mounted_sysfs(tmp_path) as where:
        yield where


def text(action: str, devpath: str, subsystem: str = "net", /, **properties: object) -> bytes:
    """An event as the kernel writes it, but for the SEQNUM."""
    said = {"ACTION": action, "DEVPATH": devpath, "SUBSYSTEM": subsystem, **properties}
    lines = "".join(f"{name}={value}\0" for name, value in said.items())
    return f"{action}@{devpath}\0{lines}".encode("utf-8", "surrogateescape")


def inject(payload: bytes) -> None:
    """Have the kernel broadcast a text, with a SEQNUM of its own; raise what it answers."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, UEVENT) as sock:
        sock.bind((0, 0))
        sock.send(build_message(16, NLM_F_REQUEST_ACK, 1, 0, payload))
        error = -int(struct.unpack_from("=i", sock.recv(65536), 16)[0])
    if error:
        raise OSError(error, os.strerror(error))


def multicast(payload: bytes, group: int = 1) -> None:
    """Send a datagram to everybody who listens, from a port of our own."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, UEVENT) as sock:
        sock.bind((0, 0))
        sock.sendto(payload, (0, 1 << group - 1))


def udev_text(properties: bytes, **changed: Any) -> bytes:
    """A message as udevd sends it; a field of its header may be another."""
    fields = {
        "prefix": b"libudev\0",
        "magic": b"\xfe\xed\xca\xfe",
        "size": 40,
        "offset": 40,
        "length": len(properties),
        **changed,
    }
    return struct.pack("=8s4sIII16x", *fields.values()) + properties


@contextlib.contextmanager
def mounted_sysfs(where: Path) -> Iterator[Path]:
    """The sysfs of the calling thread's network namespace."""
    kernel.mount("sysfs", str(where), "sysfs")
    try:
        yield where
    finally:
        kernel.unmount(str(where))


def devices(sysfs: Path, subsystem: str) -> set[str]:
    """The devices of a class, as a plain look at sysfs has them."""
    links = (sysfs / "class" / subsystem).iterdir()
    root = os.path.realpath(sysfs)
    return {os.path.realpath(link).removeprefix(root) for link in links}


class Belief:
    """The devices that a listener believes in, by what it was told; nothing may be told twice."""

    def __init__(self, *devices: str) -> None:
        self.devices: dict[str, str | None] = dict.fromkeys(devices)
        self.drops = 0
        self.overruns = 0
        self.added: list[str] = []
        self.removed: list[str] = []
        self.resyncs = 0

    def take(self, item: Any) -> None:
        if isinstance(item, nls.Overrun):
            assert item.unresynced is None
            assert item.drops > 0
            self.drops += item.drops
            self.overruns += 1
        elif isinstance(item, nls.Resynced):
            self.resyncs += 1
        elif item.action == "add":
            assert item.devpath not in self.devices, f"{item!r} was told before"
            self.devices[item.devpath] = item.properties.get("IFINDEX")
            self.added.append(item.devpath)
        elif item.action == "remove":
            assert item.devpath in self.devices, f"{item!r} is of nothing that was told of"
            known = self.devices.pop(item.devpath)
            assert known in (None, item.properties.get("IFINDEX")), f"{item!r} is of another one"
            self.removed.append(item.devpath)
        elif item.action == "move":
            old = item.properties["DEVPATH_OLD"]
            assert old in self.devices, f"{item!r} is of nothing that was told of"
            del self.devices[old]
            self.devices[item.devpath] = item.properties.get("IFINDEX")


async def until_silent(events: Any, belief: Belief, seconds: float = 0.2) -> None:
    """Take what there is, until nothing comes, nothing is queued, and every loss was told."""
    for _ in range(100):
        with contextlib.suppress(nls.NetlinkTimeout):
            while True:
                belief.take(await events.receive(timeout=seconds))
        statistics = events.statistics()
        if (statistics.queued, statistics.drops) == (0, belief.drops):
            return
    raise AssertionError(f"it never fell silent: {statistics}")
