"""Of whom a listener of uevents believes what, on the real kernel, and what it rejects."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any

import pytest

import netlink_safe as nls
from netlink_safe.transport.listening import ListeningSocket
from surfaces import Surface, on_every_surface, taking_at_most
from uevents import inject, multicast, text, udev_text

if TYPE_CHECKING:
    from pathlib import Path

    from links import Links

from uevents import FAKE, path


@on_every_surface
async def test_a_spoofed_event_is_counted_and_not_delivered(surface: Surface) -> None:
    """root may multicast to the group, but not from port 0."""
    async with surface.open_uevents() as events:
        multicast(text("add", FAKE, "usb", SEQNUM=1))
        with pytest.raises(nls.NetlinkTimeout):
            await events.receive(timeout=0.1)
        assert events.statistics().rejected == {"foreign_sender": 1}


@on_every_surface
async def test_an_injected_event_is_marked_or_under_strict_rejected(surface: Surface) -> None:
    """It comes from the kernel's port with a SEQNUM, and with the pid of who sent it."""
    async with (
        surface.open_uevents() as events,
        surface.open_uevents(strict=True) as strict,
    ):
        for action in ("add", "add", "remove"):
            inject(text(action, FAKE, "usb", DEVTYPE="usb_device", BUSNUM="001", DEVNUM="002"))
        told = [await events.receive() for _ in range(3)]
        assert [event.action for event in told] == ["add", "add", "remove"]
        assert {event.origin for event in told} == {nls.Origin.INJECTED}
        assert all(event.seqnum for event in told)
        with pytest.raises(nls.NetlinkTimeout):
            await strict.receive(timeout=0.1)
        assert strict.statistics().rejected == {"injected": 3}


@on_every_surface
async def test_an_injected_lie_does_not_change_what_the_kernel_is_believed(
    surface: Surface, links: Links
) -> None:
    """The kernel's own removal is told, though an injected one came before it."""
    links.make("a", "b")
    async with surface.open_uevents(subsystem="net", coldplug=True) as events:
        for _ in range(3):
            await events.receive()
        inject(text("remove", path("a")))
        links.delete("a")
        told = [await events.receive() for _ in range(3)]
        assert told[0].origin is nls.Origin.INJECTED
        assert {event.devpath for event in told[1:]} == {path("a"), path("b")}
        assert {event.origin for event in told[1:]} == {nls.Origin.KERNEL}


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"add",
        b"add@/x",
        b"add@/x\0ACTION=remove\0DEVPATH=/x\0SUBSYSTEM=usb\0",
        b"add@/x\0ACTION=add\0DEVPATH=/y\0SUBSYSTEM=usb\0",
        b"add@/x\0ACTION=add\0DEVPATH=/x\0",
        b"add@/x\0ACTION=add\0DEVPATH=/x\0SUBSYSTEM=usb\0nothing\0",
        b"libudev\0",
        b"\xff" * 1000,
        bytes(64),
    ],
)
@on_every_surface
async def test_what_follows_no_grammar_is_rejected(surface: Surface, payload: bytes) -> None:
    """An injected text may be anything; the stream goes on."""
    async with surface.open_uevents() as events:
        inject(payload)
        inject(text("add", FAKE, "usb"))
        assert (await events.receive()).devpath == FAKE
        assert sum(events.statistics().rejected.values()) == 1


@on_every_surface
async def test_bytes_that_are_no_text_are_kept(surface: Surface) -> None:
    """A name in Latin-1 comes through as the same bytes."""
    async with surface.open_uevents() as events:
        inject(text("add", FAKE, "usb", NAME="caf\udce9", EMPTY=""))
        event = await events.receive()
        assert os.fsencode(event.properties["NAME"]) == b"caf\xe9"
        assert event.properties["EMPTY"] == ""


@on_every_surface
async def test_a_truncated_event_is_rejected(surface: Surface) -> None:
    """A datagram larger than the receive passes into an empty queue, and its rest is lost."""
    block = text("add", FAKE, "usb", LONG="x" * 100_000).partition(b"\0")[2]
    async with surface.open_uevents(source="udev") as events:
        multicast(udev_text(block), group=2)
        multicast(udev_text(block[:60_000] + b"\0"), group=2)
        assert len((await events.receive()).properties["LONG"]) > 50_000
        assert events.statistics().rejected == {"truncated": 1}


@on_every_surface
async def test_udevd_is_heard_with_the_same_trust(surface: Surface) -> None:
    """Its group carries a header of its own, whose every field is looked at."""
    block = text("add", FAKE, "usb", ID_MODEL="stick", SEQNUM=7).partition(b"\0")[2]
    async with surface.open_uevents(source="udev") as events:
        for changed in (
            {"prefix": b"libudex\0"},
            {"magic": b"\xca\xfe\xfe\xed"},
            {"offset": 39},
            {"offset": 41},
            {"length": len(block) + 1},
            {"length": 0xFFFFFFFF},
            {"size": 0},
        ):
            multicast(udev_text(block, **changed), group=2)
        multicast(udev_text(block)[:30], group=2)
        multicast(udev_text(b"ACTION=add\0"), group=2)
        multicast(udev_text(block), group=2)
        multicast(text("add", FAKE, "usb"), group=1)
        event = await events.receive()
        assert (event.action, event.devpath, event.origin) == ("add", FAKE, nls.Origin.UDEV)
        assert event.properties["ID_MODEL"] == "stick"
        assert event.seqnum == 7
        assert events.statistics().rejected == {
            "udev_prefix": 2,
            "udev_magic": 1,
            "udev_offsets": 5,
            "malformed": 1,
        }


@on_every_surface
async def test_a_stranger_who_is_not_root_is_rejected(
    surface: Surface, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The uid in the credentials is the kernel's word, and must be root's."""
    from netlink_safe.protocol.trust import Roots
    from netlink_safe.transport import following

    monkeypatch.setattr(following, "roots", lambda: Roots(frozenset({4242})))
    async with surface.open_uevents() as events:
        inject(text("add", FAKE, "usb"))
        with pytest.raises(nls.NetlinkTimeout):
            await events.receive(timeout=0.05)
        assert events.statistics().rejected == {"not_root": 1}


@on_every_surface
async def test_without_credentials_nobody_is_believed(
    surface: Surface, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without SO_PASSCRED nothing says who made the kernel speak."""
    monkeypatch.setattr(ListeningSocket, "OPTIONS", ())
    async with surface.open_uevents() as events:
        inject(text("add", FAKE, "usb"))
        with pytest.raises(nls.NetlinkTimeout):
            await events.receive(timeout=0.05)
        assert events.statistics().rejected == {"no_credentials": 1}


@on_every_surface
async def test_udevd_is_believed_of_what_it_has_processed(
    surface: Surface, links: Links, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Coldplug shows what its database has, with its properties; the rest comes when it is done."""
    from netlink_safe.transport import udev_database

    links.make("a", "b")
    index = socket.if_nametoindex("a")
    (tmp_path / f"n{index}").write_text("I:123\nE:ID_NET_NAME=a0\nE:ID_BUS=veth\nG:tag\nQ:tag\n")
    monkeypatch.setattr(udev_database, "DATA", str(tmp_path))
    async with surface.open_uevents(source="udev", subsystem="net", coldplug=True) as events:
        known = await events.receive()
        assert (known.devpath, known.origin) == (path("a"), nls.Origin.COLDPLUG)
        assert known.properties["ID_NET_NAME"] == "a0"
        other = socket.if_nametoindex("b")
        for name, number in (("a", index), ("b", other)):
            block = text("add", path(name), IFINDEX=number, SEQNUM=1).partition(b"\0")[2]
            multicast(udev_text(block), group=2)
        assert (await events.receive()).devpath == path("b")
        assert events.statistics().duplicates == 1


@on_every_surface
async def test_unwanted_events_do_not_prolong_a_receive(
    surface: Surface, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its time is over also while a stranger's flood is being read."""
    from netlink_safe.transport.listening import ListeningSocket

    receive_many = ListeningSocket.receive_many
    flood = text("change", FAKE, "usb")

    def endless(sock: ListeningSocket) -> Any:
        inject(flood)
        return receive_many(sock)

    monkeypatch.setattr(ListeningSocket, "receive_many", endless)
    async with surface.open_uevents(subsystem="net") as events:
        with taking_at_most(5), pytest.raises(nls.NetlinkTimeout):
            await events.receive(timeout=0.1)
