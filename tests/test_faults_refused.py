"""Requests that the kernel refuses, interrupts or holds up: what is told and asked again."""

from __future__ import annotations

import errno
import struct
import threading
from typing import TYPE_CHECKING, Any

import attrs
import pytest

import faults
import kernel
import netlink_safe as nls
from many_sockets import TABLES, count, exhaust
from netlink_safe.transport import namespace as transport_namespace
from netlink_safe.transport.socket import NetlinkSocket
from netlink_safe.wire.constants import NLM_F_DUMP_INTR, NLMSG_DONE
from netlink_safe.wire.header import parse_message
from surfaces import Surface, on_every_surface, taking_at_most

if TYPE_CHECKING:
    from netlink_safe.protocol.request import Request
    from netlink_safe.wire.datagram import Datagram


pytestmark = pytest.mark.usefixtures("one_datagram_at_a_time")


NETLINK_ROUTE = 0


RTM_GETLINK = 18


@on_every_surface
async def test_a_refused_request_says_which_and_leaves_the_object_usable(
    surface: Surface, many: int
) -> None:
    """The kernel's EINVAL comes with the name of the request."""
    good, _ = nls.tcp_sockets(families="inet")
    bad = attrs.evolve(good, payload=good.payload[:20], name="half a request")
    async with surface.open_sock_diag() as diag:
        with pytest.raises(nls.KernelError, match=r"refused half a request: .*EINVAL") as caught:
            _ = [row async for row in diag.dump(bad)]
        assert caught.value.errno == errno.EINVAL
        assert isinstance(caught.value, OSError)
        assert await count(diag) == many


@on_every_surface
async def test_a_dump_of_what_the_kernel_lacks_is_not_supported(surface: Surface) -> None:
    """Protocol 254 has no inet_diag handler: ENOENT, told as what is missing."""
    good, _ = nls.tcp_sockets(families="inet")
    payload = bytearray(good.payload)
    payload[1] = 254
    async with surface.open_sock_diag() as diag:
        with pytest.raises(nls.NotSupported, match="does not support TCP sockets over sock_diag"):
            _ = [row async for row in diag.dump(attrs.evolve(good, payload=bytes(payload)))]


@on_every_surface
async def test_the_kernels_own_words_are_in_the_error(surface: Surface) -> None:
    """A dump of links with a nonsense header, strictly checked: the extended ack explains."""
    nonsense: Request[Any] = attrs.evolve(
        nls.tcp_sockets(families="inet")[0],
        name="a dump of links",
        protocol=NETLINK_ROUTE,
        type=RTM_GETLINK,
        row_type=RTM_GETLINK - 2,
        payload=struct.pack("=BxHiII", 0, 0, 0, 0, 7),
    )
    async with surface.open_sock_diag() as diag:
        diag._pool.protocol = NETLINK_ROUTE
        diag._pool._idle.pop().close()
        with pytest.raises(nls.KernelError, match="the kernel says: Invalid") as caught:
            await exhaust(diag.dump(nonsense))
    assert caught.value.extack is not None
    assert caught.value.extack.message is not None


def interrupting(patch: pytest.MonkeyPatch, dumps: int) -> None:
    """Have the kernel say of the first so many dumps that their table changed."""
    receive = NetlinkSocket.receive
    interrupted: list[int] = []

    def interrupt(sock: NetlinkSocket) -> Datagram | None:
        datagram = receive(sock)
        if datagram is None or len(interrupted) >= dumps:
            return datagram
        message = parse_message(datagram.data, 0)
        if message.type == NLMSG_DONE:
            interrupted.append(1)
        flags = struct.pack("=H", message.flags | NLM_F_DUMP_INTR)
        return attrs.evolve(datagram, data=datagram.data[:6] + flags + datagram.data[8:])

    patch.setattr(NetlinkSocket, "receive", interrupt)


@on_every_surface
async def test_an_interrupted_dump_is_asked_for_again_where_no_row_was_handed_out(
    surface: Surface, many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fold starts again, at most twice; then it is reported."""
    interrupting(monkeypatch, 2)
    stats = await surface.collect()
    assert sum(stats.states.values()) == many
    assert stats.socket.attempts == TABLES + 2
    interrupting(monkeypatch, 3)
    with pytest.raises(nls.DumpInterrupted, match="rows may be missing or double"):
        await surface.collect()


@on_every_surface
async def test_an_interrupted_dump_is_reported_or_accepted_as_the_caller_says(
    surface: Surface, many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rows were handed out, so that retry is none; accept takes them as they are."""
    interrupting(monkeypatch, 100)
    async with surface.open_sock_diag() as diag:
        assert await count(diag, when_interrupted="accept") == many
        for choice in ("retry", "raise"):
            with pytest.raises(nls.DumpInterrupted):
                await count(diag, when_interrupted=choice)
        assert diag.statistics().retries == 0
        assert diag.statistics().interrupted == TABLES + 2
        with pytest.raises(nls.LocalProtocolError, match="none of retry, raise, accept"):
            await count(diag, when_interrupted="ignore")


@on_every_surface
async def test_a_refusal_behind_rows_is_an_error_and_no_second_question(
    surface: Surface, many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An errno that means "ask in other words" at the start means a dead dump at the end."""
    receive = NetlinkSocket.receive

    def refuse_at_the_end(sock: NetlinkSocket) -> Datagram | None:
        datagram = receive(sock)
        if datagram is None or parse_message(datagram.data, 0).type != NLMSG_DONE:
            return datagram
        refused = struct.pack("=i", -errno.EINVAL)
        return attrs.evolve(datagram, data=datagram.data[:16] + refused + datagram.data[20:])

    monkeypatch.setattr(NetlinkSocket, "receive", refuse_at_the_end)
    async with surface.open_sock_diag() as diag:
        with pytest.raises(nls.KernelError, match="EINVAL"):
            await exhaust(diag.dump(nls.tcp_sockets()))
        assert diag.statistics().attempts == 1


@on_every_surface
async def test_an_opening_that_the_kernel_holds_up_ends_at_the_deadline(
    surface: Surface, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opening a protocol may load a module, and a path may lie on a mount that is dead."""
    before = kernel.descriptors()
    release = threading.Event()
    opened = transport_namespace._open_path

    def stuck(path: str, missing: str) -> int:
        assert release.wait(30)
        return opened(path, missing)

    monkeypatch.setattr(transport_namespace, "_open_path", stuck)
    try:
        with taking_at_most(5), pytest.raises(nls.NetlinkTimeout, match="the opening of a netlink"):
            await surface.collect(timeout=0.2, netns="/proc/self/ns/net")
    finally:
        release.set()
    kernel.until(lambda: kernel.descriptors() <= before)  # the thread lets go of what it opened


@on_every_surface
async def test_a_kernel_that_holds_a_call_up_does_not_hold_its_caller(surface: Surface) -> None:
    """At the deadline the caller is free; the thread closes up when the kernel lets it go."""
    async with surface.open_sock_diag(timeout=0.2) as diag:
        rare = nls.tcp_sockets(states=["close_wait"])
        with (
            faults.stalled_sends() as stall,
            taking_at_most(5),
            pytest.raises(nls.NetlinkTimeout, match="has not come back from a system call"),
        ):
            _ = [row async for row in diag.dump(rare)]
        assert stall.entered.is_set()
        kernel.until(lambda: diag.statistics().open_sockets == 0)
        assert await count(diag) == 0
