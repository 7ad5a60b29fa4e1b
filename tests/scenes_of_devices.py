"""Rows of the page on trust about devices and files; see ``scenes``."""

from __future__ import annotations

import contextlib
import os
import pathlib
import socket
import subprocess
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import kernel
import senders
import uevents
from faults import spoof
from links import Links
from netlink_safe import blocking
from netlink_safe.wire.header import build_message
from scenes import heard_by, items, listener
from test_command import run
from uevents import UEVENT, multicast, text, udev_text

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from scenes import Row
    from surfaces import Surface

FAKE: Final = "/devices/pci0000:00/usb1/1-1"
EVENT: Final = text("add", FAKE, "usb")
FROM_UDEV: Final = udev_text(text("add", FAKE, "usb").partition(b"\0")[2])
INJECTION: Final = build_message(16, 1, 1, 0, EVENT)


def hearing(
    send: Callable[[int], object], source: str = "kernel", strict: bool = False
) -> Callable[[Surface, Row, pathlib.Path], Awaitable[None]]:
    """A listener of devices hears what is sent, by somebody who knows its port ID."""

    async def scene(surface: Surface, row: Row, _: pathlib.Path) -> None:
        events = surface.open_uevents(subsystem="usb", source=source, strict=strict)
        told = await heard_by(row, events, lambda opened: send(listener(opened)._socket.port_id))
        assert [str(event.origin) for event in told] == row.told
        assert {event.devpath for event in told} <= {FAKE}

    return scene


def inject(_: int) -> None:
    """Have the kernel broadcast an event."""
    uevents.inject(EVENT)


def inject_as_nobody(_: int) -> None:
    """The same with the kernel's pid."""
    senders.send_stating(UEVENT, INJECTION, (0, 0, 0))


def inject_as_its_parent(_: int) -> None:
    """The same with the parent's pid."""
    senders.send_stating(UEVENT, INJECTION, (os.getppid(), 0, 0))


def inject_as_root_of_anything(_: int) -> None:
    """The sender's own pid, and root's uid."""
    senders.send_stating(UEVENT, INJECTION, (os.getpid(), 0, senders.SOMEBODY))


def udev_as_root_of_anything(_: int) -> None:
    """The same to udevd's group."""
    stated = (os.getpid(), 0, senders.SOMEBODY)
    senders.send_stating(UEVENT, FROM_UDEV, stated, groups=2)


def to_group(payload: bytes, group: int) -> Callable[[int], object]:
    """Multicast it."""
    return lambda _: multicast(payload, group)


def to_port(payload: bytes) -> Callable[[int], object]:
    """Send it to the listener itself."""
    return lambda port_id: spoof(port_id, payload, protocol=UEVENT)


async def kernel_event(surface: Surface, row: Row, _: pathlib.Path) -> None:
    """A device that comes."""
    async with surface.open_uevents(subsystem="net") as events:
        with Links() as links:
            links.make("left", "right")
        told = await items(events)
        assert {event.devpath.rpartition("/")[2] for event in told} == {"left", "right"}
        assert [str(event.origin) for event in told] == row.told * 2
        assert events.statistics().rejected == row.rejected


async def asked_for(surface: Surface, row: Row, here: pathlib.Path) -> None:
    """Two removals of a device that stays, written to its uevent file."""
    with uevents.mounted_sysfs(here) as sysfs:

        def ask() -> None:
            for _ in range(2):
                (sysfs / "class/net/lo/uevent").write_text("remove", "ascii")

        async with surface.open_uevents(subsystem="net", coldplug=True) as events:
            assert [event.action for event in await items(events)] == ["add"]
            row.send(ask)
            told = await items(events)
            assert [str(event.origin) for event in told] == row.told * 2
            assert all(event.properties["SYNTH_UUID"] for event in told)
            assert listener(events).reader.known.keys() == {b"/devices/virtual/net/lo"}
            assert events.statistics().rejected == row.rejected


async def connected(surface: Surface, row: Row, _: pathlib.Path) -> None:
    """A socket that root had connected to udevd's group, in the hands of another."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, UEVENT) as inherited:
        inherited.connect((0, 2))

        def send() -> None:
            with contextlib.suppress(ConnectionRefusedError):
                inherited.send(FROM_UDEV)

        await hearing(lambda _: send(), "udev")(surface, row, _)


def in_container(root: int, act: Callable[[], object]) -> Any:
    """A container acts, and is listened to from outside."""

    async def scene(surface: Surface, row: Row, _: pathlib.Path) -> None:
        if root:
            senders.skip_without_other_users()
        with senders.container(act, root) as inside:
            async with surface.open_uevents(netns=inside.pid, subsystem={"net", "usb"}) as events:
                assert inside.act() == "sent"
                told = await items(events)
                assert [str(event.origin) for event in told] == row.told * len(told)
                assert bool(told) == bool(row.told)
                assert events.statistics().rejected == row.rejected

    return scene


def make_links() -> None:
    """A pair of devices."""
    with Links() as links:
        links.make("left", "right")


async def heard_from_below(_surface: Surface, row: Row, _: pathlib.Path) -> None:
    """A listener in a user namespace below the owner's, which cannot name the sender."""
    heard: list[Any] = []

    def hear() -> str | None:
        if not heard:
            heard.append(blocking.open_uevents(subsystem="usb"))
            return None
        told = heard[0].receive(timeout=0.05)
        return f"{told.origin} {dict(heard[0].statistics().rejected)}"

    with senders.container(hear, also=0) as inside:
        assert inside.act() == "sent"
        row.send(partial(uevents.inject, EVENT))
        assert inside.act() == f"{row.told[0]} {row.rejected}"


# Files.


@contextlib.contextmanager
def _database() -> Iterator[pathlib.Path]:
    """udevd's, in the /run that is ours; loopback has not been processed yet."""
    data = pathlib.Path("/run/udev/data")
    data.mkdir(parents=True)
    try:
        yield data
    finally:
        for path in data.iterdir():
            path.unlink()
        data.rmdir()
        data.parent.rmdir()


async def noted(surface: Surface, row: Row, _: pathlib.Path) -> None:
    """What somebody writes into udevd's database is a property of the device."""
    with _database() as data:
        row.send(lambda: (data / "n1").write_text("E:ID_OF=somebody\n", "ascii"))
        async with surface.open_uevents(source="udev", subsystem="net", coldplug=True) as events:
            told = await items(events)
            assert [str(event.origin) for event in told] == row.told
            assert {event.properties["ID_OF"] for event in told} <= {"somebody"}


def _mount_over_sys(*names: str) -> None:
    kernel.unshare(kernel.CLONE_NEWNS)
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount("tmpfs", "/sys", "tmpfs")
    for number, name in enumerate(names, 1):
        device = pathlib.Path("/sys/class/net", name)
        device.mkdir(parents=True)
        (device / "ifindex").write_text(f"{number}\n", "ascii")
        (device / "uevent").write_text(f"INTERFACE={name}\nIFINDEX={number}\nMADE=up\n", "ascii")
    pathlib.Path("/sys/kernel").mkdir()
    pathlib.Path("/sys/kernel/uevent_seqnum").write_text("1\n", "ascii")


def mounted_over(rights: int, *names: str) -> Any:
    """Another /sys, before the eyes of a listener with some rights."""

    async def scene(_surface: Surface, row: Row, _: pathlib.Path) -> None:
        def listen() -> str:
            _mount_over_sys(*names)
            senders.keep(rights)
            with blocking.open_uevents(subsystem="net", coldplug=True) as events:
                told: Any = events.receive(timeout=1)
                return f"{told.origin} {told.properties.get('MADE')}"

        told = kernel.in_child(listen)
        if row.error is not None:
            assert told.startswith(f"{row.error.__name__}: coldplug takes sysfs")
        else:
            assert told == f"{row.told[0]} {'up' if 'believed' in row.library else None}"

    return scene


async def proc_net(surface: Surface, row: Row, _: pathlib.Path) -> None:
    """The counts of the thread's own network namespace."""
    with socket.create_server(("127.0.0.1", 0)):
        async with surface.open_sock_diag() as diag:
            texts = await diag.read_proc_net("sockstat")
            assert "TCP: inuse 1 " in str(texts)


def _printed_of_a_rude_name() -> str:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as sock:
        sock.bind((0, 0))
        holder = subprocess.Popen(
            ["/bin/sh", "-c", "echo; read line", "\x1b[2J"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[sock.fileno()],
        )
    with holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        network = "/proc/thread-self/ns/net"
        printed: str = run("doctor", "--interval", "0.05", "--netns", network, "--sockets").stdout
        holder.communicate(b"\n")
    return printed


async def named(_surface: Surface, row: Row, _: pathlib.Path) -> None:
    """A process that calls itself what would clear a terminal, in what the doctor prints."""
    printed = _printed_of_a_rude_name()
    assert r"\x1b[2J" in printed
    assert "\x1b" not in printed
    assert row.library.startswith("shows it with escapes")
