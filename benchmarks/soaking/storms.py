"""Who makes the kernel tell things, in a network namespace of their own, and counts what is told.

A witness is a plain socket with room for all, which is read in between: what it has heard is what
the kernel has told.

May call ``soaking.crowds``, ``soaking.told`` and the tests' ``kernel``, ``links`` and ``uevents``.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import socket
import struct
import threading
import time
import traceback
from typing import TYPE_CHECKING, Final

import kernel
import uevents
from links import Links
from netlink_safe.wire.constants import NETLINK_ADD_MEMBERSHIP, NETLINK_GENERIC, SOL_NETLINK
from soaking.crowds import abort
from soaking.told import SERIAL

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

SO_RCVBUFFORCE: Final = 33
SO_MEMINFO: Final = 55
DROPS_AT: Final = 32
ROOM: Final = 64 << 20
LOOPBACK: Final = "devices/virtual/net/lo/uevent"
UUID: Final = "00000000-0000-0000-0000-000000000001"
#: Of one kind of event, so many at once at most; and seconds between two handfuls.
HANDFUL: Final = 120
PAIRS: Final = 6
LULL: Final = 0.2


class Witness:
    """Hears all of some groups, opened in the calling thread's namespace."""

    def __init__(self, protocol: int, groups: Sequence[int]) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
        with contextlib.suppress(PermissionError):  # a handful fits without it, too
            self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, ROOM)
        self._socket.bind((0, 0))
        for group in groups:
            self._socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)
        self._socket.setblocking(False)
        self.heard = 0

    def take(self) -> None:
        """Count what is queued.  Raises OSError where anything was lost."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self._socket.recv(65536)
                self.heard += 1

    def all(self) -> int:
        """How much was told.  Raises RuntimeError where it was not heard."""
        self.take()
        raw = self._socket.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, DROPS_AT + 4)
        if struct.unpack_from("=I", raw, DROPS_AT)[0]:
            raise RuntimeError("the witness has lost something")
        return self.heard

    def close(self) -> None:
        """Hear no more."""
        self._socket.close()


class Storm(threading.Thread):
    """Tells for a while; ``told`` is how much, and ``failure`` what went wrong, behind its end."""

    def __init__(self, path: str, seconds: float, seed: int) -> None:
        super().__init__(name="storm", daemon=True)
        self.told = 0
        self.failure: str | None = None
        self.draws = random.Random(seed)
        self._path = path
        self._seconds = seconds

    def run(self) -> None:
        try:
            kernel.enter(self._path)
            self.blow(time.monotonic() + self._seconds)
        except Exception:
            self.failure = traceback.format_exc()

    def blow(self, end: float) -> None:
        """Tell, until it is time to stop."""
        raise NotImplementedError

    def lull(self) -> None:
        """A while of silence."""
        time.sleep(self.draws.uniform(0, LULL))


class DeviceStorm(Storm):
    """Events of devices: by the kernel itself, by writes to sysfs, and injected ones.

    ``devices`` are the network devices that there are in the end.
    """

    def __init__(self, path: str, seconds: float, seed: int, directory: Path) -> None:
        super().__init__(path, seconds, seed)
        self.devices: set[str] = set()
        self._directory = directory
        self._numbers = itertools.count(1)

    def blow(self, end: float) -> None:
        self._directory.mkdir()
        with (
            contextlib.closing(Witness(uevents.UEVENT, [1])) as witness,
            uevents.mounted_sysfs(self._directory) as sysfs,
            Links() as links,
        ):
            acts: list[Callable[[], object]] = [
                lambda: self._written(sysfs),
                self._injected,
                lambda: linked(links, self.draws),
            ]
            while time.monotonic() < end:
                self.draws.choice(acts)()
                witness.take()
                self.lull()
            self.devices = uevents.devices(sysfs, "net")
            self.told = witness.all()
        self._directory.rmdir()

    def _written(self, sysfs: Path) -> None:
        for _ in range(self.draws.randrange(HANDFUL)):
            with open(os.path.join(sysfs, LOOPBACK), "w", encoding="ascii") as file:
                file.write(f"change {UUID} SERIAL={next(self._numbers)}")

    def _injected(self) -> None:
        for _ in range(self.draws.randrange(HANDFUL // 4)):
            number = next(self._numbers)
            uevents.inject(
                uevents.text("add", f"/devices/fake/{number}", "usb", **{SERIAL: number})
            )


def linked(links: Links, draws: random.Random) -> None:
    """Some pairs, those that there were gone, and now and then none."""
    with contextlib.suppress(OSError):  # there were none
        links.delete_all()
    for number in range(draws.randrange(PAIRS)):
        links.make(f"left{number}", f"right{number}")


class LinkStorm(Storm):
    """What a generic family tells of network devices."""

    def __init__(self, path: str, seconds: float, seed: int, group: int) -> None:
        super().__init__(path, seconds, seed)
        self._group = group

    def blow(self, end: float) -> None:
        with (
            contextlib.closing(Witness(NETLINK_GENERIC, [self._group])) as witness,
            Links() as links,
        ):
            while time.monotonic() < end:
                for _ in range(self.draws.randrange(1, 8)):
                    linked(links, self.draws)
                witness.take()
                self.lull()
            self.told = witness.all()


class ClosingStorm(Storm):
    """Sockets that close."""

    def blow(self, end: float) -> None:
        while time.monotonic() < end:
            self.draws.choice([self._datagrams, self._streams])()
            self.lull()

    def _datagrams(self) -> None:
        for _ in range(self.draws.randrange(HANDFUL)):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.bind(("127.0.0.1", 0))
            self.told += 1

    def _streams(self) -> None:
        opened = [socket.create_server(("127.0.0.1", 0))]
        for _ in range(self.draws.randrange(HANDFUL // 4)):
            opened.append(socket.create_connection(opened[0].getsockname()))
            opened.append(opened[0].accept()[0])
        abort(opened)
        self.told += len(opened)
