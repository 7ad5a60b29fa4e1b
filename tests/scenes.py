"""What the rows of the page on trust come to, each made for real and looked at."""

from __future__ import annotations

import contextlib
import os
import re
import socket
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest

import netlink_safe as nls
import senders
from faults import spoof, spoof_multicast
from links import Links
from netlink_safe import blocking
from netlink_safe.wire.attributes import build_attribute
from netlink_safe.wire.header import build_message

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from senders import By
    from surfaces import Surface

NLCTRL_NOTIFY: Final = 16
UDP_DESTROYED: Final = 2
USERSOCK: Final = 2
GENERIC: Final = 16
GROUP: Final = 5


@attrs.frozen
class Row:
    """A row of the table: its cells, and how it is made to happen."""

    protocol: str
    sender: str
    by: By
    sent: str
    kernel: str
    library: str
    scene: Callable[[Surface, Row, pathlib.Path], Awaitable[None]]

    @property
    def cells(self) -> tuple[str, ...]:
        """As the page has them."""
        by = self.by.words
        return (self.protocol, self.sender, by, self.sent, self.kernel, self.library)

    def send(self, call: Callable[[], object]) -> None:
        """Have the sender send; it is refused or not, as the row says."""
        if senders.SOMEBODY_ELSE in self.by.words:
            senders.skip_without_other_users()
        assert self.by(call) == self._quoted(self.kernel, "", "sent")

    @property
    def rejected(self) -> dict[str, int]:
        """What is counted, after one datagram."""
        reason = self._quoted(self.library, "rejected: ", "")
        return {reason: 1} if reason else {}

    @property
    def told(self) -> list[str]:
        """By which origins events are told."""
        origin = self._quoted(self.library, "told as ", "")
        return [origin.lower()] if origin else []

    @property
    def error(self) -> type[Exception] | None:
        """What is raised."""
        name = self._quoted(self.library, "raised: ", "")
        return getattr(nls, name, None) or {"PermissionError": PermissionError}.get(name)

    @staticmethod
    def _quoted(cell: str, before: str, otherwise: str) -> str:
        found = re.match(rf"{before}`(\w+)`", cell)
        return found[1] if found else otherwise


# Sockets that ask.


async def _ask_sockets(diag: Any) -> bool:
    with socket.create_server(("127.0.0.1", 0)) as server:
        rows = [row async for row in diag.dump(nls.tcp_sockets(families="inet"))]
        return [row.source.port for row in rows] == [server.getsockname()[1]]


async def _ask_links(route: Any) -> bool:
    return bool((await route.request(nls.link("lo"))).index == 1)


async def _ask_families(genl: Any) -> bool:
    return "nlctrl" in {family.name for family in await genl.families()}


ASKING: Final = (
    (4, "open_sock_diag", _ask_sockets),
    (0, "open_route", _ask_links),
    (GENERIC, "open_generic", _ask_families),
)


async def reply(surface: Surface, row: Row, _: pathlib.Path) -> None:
    """A reply with every number right, before the kernel's own."""
    for protocol, opening, ask in ASKING:
        async with getattr(surface, opening)() as asked:
            [sock] = asked._pool._idle
            if row.by is not senders.NOBODY:
                lie = build_message(3, 2, sock._sequence + 1, sock.port_id, bytes(4))
                row.send(partial(spoof, sock.port_id, lie, protocol=protocol))
            assert await ask(asked)
            assert asked.statistics().rejected == row.rejected


async def flood(surface: Surface, row: Row, _: pathlib.Path) -> None:
    """So much that the kernel's reply has no room."""
    async with surface.open_sock_diag(timeout=4, receive_buffer=32 * 1024) as diag:
        [sock] = diag._pool._idle

        def fill() -> None:
            with contextlib.suppress(BlockingIOError):
                while True:
                    spoof(sock.port_id, bytes(4000))

        row.send(fill)
        assert await _ask_sockets(diag)
        assert diag.statistics().rejected.keys() == row.rejected.keys()
        assert diag.statistics().retries > 0


# Sockets that listen.


def listener(stream: Any) -> Any:
    """The listener itself, of whatever surface."""
    return getattr(stream, "_events", stream)._hearing


async def items(stream: Any) -> list[Any]:
    """What is told now; a sender's system call ends when all of it is queued."""
    told = []
    with contextlib.suppress(nls.NetlinkTimeout):
        while True:
            told.append(await stream.receive(timeout=0.05))
    return told


async def heard_by(
    row: Row, stream: AbstractAsyncContextManager[Any], send: Callable[[Any], object]
) -> list[Any]:
    """What is told of what is sent to a stream, which is looked at as the row says."""
    async with stream as opened:
        row.send(partial(send, opened))
        told = await items(opened)
        assert opened.statistics().rejected == row.rejected
    return told


# Notifications.


async def notification(surface: Surface, row: Row, _: pathlib.Path) -> None:
    """To a group of generic netlink, and to the listener itself."""
    lie = nls.message(16, b"\1\2\0\0")
    async with surface.open_generic() as genl:
        for send in (
            lambda _: spoof_multicast(GENERIC, NLCTRL_NOTIFY, lie),
            lambda port_id: spoof(port_id, lie, protocol=GENERIC),
        ):
            told = await heard_by(
                row,
                genl.subscribe("nlctrl"),
                lambda opened, send=send: send(listener(opened)._socket.port_id),  # type: ignore[misc]  # a default binds it
            )
            assert told == []


async def kernel_notification(surface: Surface, row: Row, _: pathlib.Path) -> None:
    """A device's feature is turned off, and ethtool tells."""
    with Links() as links:
        links.make("left", "right")
    off = {3: {1: {2: b"tx-checksum-ip-generic\0"}}}
    async with surface.open_generic() as genl, genl.subscribe("ethtool") as heard:
        await genl.request(nls.generic_request("ethtool", 12, {1: {2: "left"}, 3: off}))
        assert [type(item) for item in await items(heard)] == [nls.GenericReply]
        assert heard.statistics().rejected == row.rejected


async def destroyed(surface: Surface, row: Row, _: pathlib.Path) -> None:
    """A socket that never was is told to have closed, before one that has."""
    fake = bytes([2, 7]) + bytes(70) + build_attribute(15, bytes([17]))
    lie = build_message(20, 0, 0, 0, fake)
    async with surface.open_sock_diag() as diag, diag.subscribe_destroyed() as closing:
        if row.by is not senders.NOBODY:
            row.send(partial(spoof_multicast, 4, UDP_DESTROYED, lie))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 0))
            port = sock.getsockname()[1]
        assert (await closing.receive(timeout=10)).source.port == port  # told by a kernel's worker
        assert closing.statistics().rejected == row.rejected


# Messages between processes.


def message(send: Callable[[int], object]) -> Any:
    """A message that says who its sender is, which the credentials say too."""

    async def scene(surface: Surface, row: Row, _: pathlib.Path) -> None:
        async with surface.open_user(groups=[GROUP]) as user:
            row.send(partial(send, user.port_id))
            told = await items(user)
            assert len(told) == row.library.startswith("told")
            for one in told:
                assert one.payload == b"%d %d" % one.credentials[:2]

    return scene


def unicast(port_id: int) -> None:
    """To its port."""
    spoof(port_id, b"%d %d" % (os.getpid(), os.getuid()), protocol=USERSOCK)


def to_its_group(_: int) -> None:
    """To the group that it has joined."""
    spoof_multicast(USERSOCK, GROUP, b"%d %d" % (os.getpid(), os.getuid()))


def as_its_parent(port_id: int) -> None:
    """With the parent's pid."""
    pid = os.getppid()
    stated = (pid, os.getuid(), os.getgid())
    senders.send_stating(USERSOCK, b"%d %d" % (pid, os.getuid()), stated, port_id)


async def too_long(surface: Surface, row: Row, _: pathlib.Path) -> None:
    """More than is read at once."""

    def send(port_id: int) -> None:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, USERSOCK) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 200_000)
            sock.sendto(bytes(300_000), socket.MSG_DONTWAIT, (port_id, 0))

    async with surface.open_user() as user:
        row.send(partial(send, user.port_id))
        assert row.error is not None
        with pytest.raises(row.error):
            await user.receive(timeout=1)


async def filled(surface: Surface, row: Row, _: pathlib.Path) -> None:
    """Until nobody else's message has room."""
    async with (
        surface.open_user(groups=[GROUP], receive_buffer=32 * 1024) as user,
        surface.open_user() as other,
    ):
        port_id = user.port_id

        def fill() -> None:
            with contextlib.suppress(BlockingIOError):
                while True:
                    spoof(port_id, bytes(100), protocol=USERSOCK)

        row.send(fill)
        with pytest.raises(nls.PeerQueueFull):
            other.send_nowait(bytes(4000), port_id=port_id)
        other.multicast_nowait(bytes(4000), group=GROUP)
        assert row.error is not None

        async def hear() -> None:
            while True:
                await user.receive(timeout=1)

        with pytest.raises(row.error) as lost:
            await hear()
        assert lost.value.drops == 1  # type: ignore[attr-defined]  # an OverrunError


async def joining(surface: Surface, row: Row, _: pathlib.Path) -> None:
    """Somebody wants to hear a group."""

    def join() -> None:
        with blocking.open_user(groups=[GROUP]):
            pass

    assert row.error is PermissionError
    row.send(join)
