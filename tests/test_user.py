"""Messages between processes: sent or not, but never waited for in the kernel."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import anyio
import pytest

import netlink_safe as nls
from netlink_safe import blocking
from netlink_safe.transport import sending
from netlink_safe.wire.header import parse_message
from surfaces import ASYNC_SURFACES, Surface, on_every_surface, on_surfaces, taking_at_most

if TYPE_CHECKING:
    from types import FrameType


NOBODY = 4242


def fill(user: Any, port_id: int) -> int:
    """Send until the queue has no room for the smallest message; how many fitted."""
    for number in range(10_000):
        try:
            user.send_nowait(b"x", port_id=port_id)
        except nls.PeerQueueFull:
            return number
    raise AssertionError("it is never full")


@on_every_surface
async def test_a_message_arrives_as_it_was_given(surface: Surface) -> None:
    """With the sender's port ID, and its credentials by the kernel's word."""
    async with surface.open_user() as one, surface.open_user() as other:
        one.send_nowait(b"alarm", port_id=other.port_id)
        await one.send(b"again\0\xff", port_id=other.port_id)
        first, second = await other.receive(), await other.receive()
        assert (first.payload, second.payload) == (b"alarm", b"again\0\xff")
        assert first.port_id == one.port_id
        assert first.group == 0
        assert first.credentials == (os.getpid(), os.geteuid(), os.getegid())
        assert (one.statistics().sent, other.statistics().datagrams) == (2, 2)


@on_every_surface
async def test_a_port_may_be_chosen_and_is_then_taken(surface: Surface) -> None:
    """EADDRINUSE is the kernel's own word, and stays an OSError."""
    async with surface.open_user(port_id=NOBODY) as user:
        assert user.port_id == NOBODY
        with pytest.raises(OSError, match=f"in use: port ID {NOBODY} of netlink protocol 2 is tak"):
            async with surface.open_user(port_id=NOBODY):
                pass
    async with surface.open_user(port_id=NOBODY):
        pass


@on_every_surface
async def test_a_full_queue_is_an_error_at_once_and_nothing_is_sent(
    surface: Surface, sleeper: socket.socket
) -> None:
    """What fitted is there, in order; the one that did not fit is not."""
    async with surface.open_user() as user:
        port_id = sleeper.getsockname()[0]
        fitted = fill(user, port_id)
        with taking_at_most(1), pytest.raises(nls.PeerQueueFull, match=f"port {port_id}") as full:
            user.send_nowait(b"one more", port_id=port_id)
        assert full.value.port_id == port_id
        assert user.statistics().refused == 2
        sleeper.recv(2000)
        user.send_nowait(b"fits", port_id=port_id)
        received = [sleeper.recv(2000) for _ in range(fitted)]
        assert received[-1] == b"fits"
        assert user.statistics().sent == fitted + 1


@on_every_surface
async def test_nobody_there_is_an_error_of_its_own(surface: Surface) -> None:
    """To no port, to the kernel's, and to a peer that has gone."""
    async with surface.open_user() as user:
        async with surface.open_user() as gone:
            port_id = gone.port_id
        for nobody in (NOBODY, port_id, 0):
            with pytest.raises(nls.NoSuchPeer, match=f"for port {nobody} on"):
                user.send_nowait(b"x", port_id=nobody)
            with pytest.raises(nls.NoSuchPeer):
                await user.send(b"x", port_id=nobody)


@on_every_surface
async def test_a_peer_of_another_port_is_none(surface: Surface, sleeper: socket.socket) -> None:
    """Who has called connect() takes messages of that port alone, and the kernel says so."""
    async with surface.open_user() as user:
        port_id = sleeper.getsockname()[0]
        sleeper.connect((NOBODY, 0))
        with pytest.raises(nls.NoSuchPeer, match=f"nobody takes messages for port {port_id} on"):
            user.send_nowait(b"x", port_id=port_id)
        sleeper.connect((user.port_id, 0))
        user.send_nowait(b"x", port_id=port_id)


@on_every_surface
async def test_send_waits_for_room_and_not_in_the_kernel(
    surface: Surface, sleeper: socket.socket
) -> None:
    """The peer reads after a while, and the message is there; its attempts were few."""
    async with surface.open_user() as user:
        port_id = sleeper.getsockname()[0]
        fitted = fill(user, port_id)
        reading = threading.Timer(0.3, lambda: [sleeper.recv(2000) for _ in range(fitted)])
        reading.start()
        before = time.process_time()
        await user.send(b"at last", port_id=port_id, timeout=10)
        spent = time.process_time() - before
        reading.join()
        assert sleeper.recv(2000) == b"at last"
        assert user.statistics().refused < 60
        assert spent < 0.2


@on_every_surface
async def test_send_ends_at_its_deadline(surface: Surface, sleeper: socket.socket) -> None:
    """The error says how often it was tried; nothing was sent, and the next send goes on."""
    async with surface.open_user(timeout=0.1) as user:
        port_id = sleeper.getsockname()[0]
        fill(user, port_id)
        with taking_at_most(3), pytest.raises(nls.NetlinkTimeout, match="fullness") as caught:
            await user.send(b"never", port_id=port_id)
        assert 2 < caught.value.attempts < 30
        assert caught.value.timeout == 0.1
        sleeper.recv(2000)
        await user.send(b"now", port_id=port_id)


@on_every_surface
async def test_a_multicast_reaches_who_has_joined(surface: Surface) -> None:
    """And nobody else; that nobody has joined is no error."""
    async with (
        surface.open_user(groups=[3, 32]) as joined,
        surface.open_user(groups=[4]) as other,
        surface.open_user() as sender,
    ):
        sender.multicast_nowait(b"to three", group=3)
        sender.multicast_nowait(b"to the last", group=32)
        sender.multicast_nowait(b"to nobody", group=9)
        told = [await joined.receive(), await joined.receive()]
        assert [(one.payload, one.group) for one in told] == [
            (b"to three", 3),
            (b"to the last", 32),
        ]
        assert told[0].port_id == sender.port_id
        with pytest.raises(nls.NetlinkTimeout):
            await other.receive(timeout=0.05)


@on_every_surface
async def test_lost_multicasts_are_told_behind_what_was_queued(surface: Surface) -> None:
    """OverrunError counts them; the next receive goes on."""
    async with (
        surface.open_user(groups=[1], receive_buffer=32 * 1024) as slow,
        surface.open_user() as sender,
    ):
        for _ in range(200):
            sender.multicast_nowait(b"x" * 1000, group=1)
        heard: list[nls.UserMessage] = []

        async def hear() -> None:
            while True:
                heard.append(await slow.receive())

        with pytest.raises(nls.OverrunError) as lost:
            await hear()
        assert len(heard) + lost.value.drops == 200
        assert slow.statistics().drops == lost.value.drops
        sender.multicast_nowait(b"after", group=1)
        assert (await slow.receive()).payload == b"after"


@pytest.mark.anywhere
def test_a_message_with_a_header_is_what_peers_in_c_expect() -> None:
    """Its length, type, flags and sequence stand where netlink has them."""
    data = nls.message(17, b"abc", flags=5, sequence=99)
    parsed = parse_message(data, 0)
    assert (parsed.type, parsed.flags, parsed.sequence) == (17, 5, 99)
    assert struct.unpack_from("=IHHII", data) == (19, 17, 5, 99, 0)
    assert data[16:19] == b"abc"
    for kind, flags, sequence in ((1 << 16, 0, 0), (1, -1, 0), (1, 0, 1 << 32), (True, 0, 0)):
        with pytest.raises(nls.LocalProtocolError):
            nls.message(kind, flags=flags, sequence=sequence)
    with pytest.raises(nls.LocalProtocolError):
        nls.message(16, "text")  # type: ignore[arg-type]


def test_what_interrupts_a_send_does_not_change_what_it_says(sleeper: socket.socket) -> None:
    """A signal's handler may send to nobody at every line of a send to a peer that is full."""
    interrupted: list[int] = []

    def trace(frame: FrameType, event: str, _argument: object) -> Any:
        if frame.f_code.co_filename == sending.__file__ and event == "line":
            interrupted.append(frame.f_lineno)
            with pytest.raises(nls.NoSuchPeer):
                user.send_nowait(b"x", port_id=NOBODY)
        return trace

    with blocking.open_user() as user:
        port_id = sleeper.getsockname()[0]
        fill(user, port_id)
        tracing = sys.gettrace()
        sys.settrace(trace)
        try:
            with pytest.raises(nls.PeerQueueFull):
                user.send_nowait(b"x" * 100, port_id=port_id)
        finally:
            sys.settrace(tracing)
    assert interrupted


def test_a_signal_handler_may_send_while_its_thread_sends() -> None:
    """There is no lock that the interrupted send could hold."""
    handled = []
    with blocking.open_user() as user, blocking.open_user() as peer:

        def handler(*_: object) -> None:
            with contextlib.suppress(nls.PeerQueueFull):
                user.send_nowait(b"from the handler", port_id=peer.port_id)
                handled.append(1)

        before = signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        heard = sent = 0
        try:
            while len(handled) < 50:
                user.send_nowait(b"x", port_id=peer.port_id)
                sent += 1
                peer.receive()
                heard += 1
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        while heard < sent + len(handled):
            peer.receive()
            heard += 1
        with pytest.raises(nls.NetlinkTimeout):
            peer.receive(timeout=0.01)


@on_surfaces(ASYNC_SURFACES)
async def test_a_cancelled_send_has_sent_nothing(surface: Surface, sleeper: socket.socket) -> None:
    """It was waiting between two attempts; the queue is as it was."""
    async with surface.open_user() as user:
        port_id = sleeper.getsockname()[0]
        fitted = fill(user, port_id)
        with anyio.move_on_after(0.05) as scope:
            await user.send(b"cancelled", port_id=port_id)
        assert scope.cancelled_caught
        received = [sleeper.recv(2000) for _ in range(fitted)]
        assert b"cancelled" not in received
        with pytest.raises(BlockingIOError):
            sleeper.recv(2000, socket.MSG_DONTWAIT)


@on_surfaces(ASYNC_SURFACES)
async def test_closing_ends_a_send_that_waits(surface: Surface, sleeper: socket.socket) -> None:
    """With ClosedError, in the task that waits."""
    async with surface.open_user() as user, anyio.create_task_group() as tasks:
        fill(user, sleeper.getsockname()[0])

        async def send() -> None:
            with pytest.raises(nls.ClosedError):
                await user.send(b"x", port_id=sleeper.getsockname()[0])

        tasks.start_soon(send)
        while not user._waiter._scopes:
            await anyio.lowlevel.checkpoint()
        await user.aclose()


@on_surfaces(ASYNC_SURFACES)
async def test_a_sender_who_finds_room_lets_others_run(surface: Surface) -> None:
    """And may be cancelled, between two messages."""
    ticks = 0
    async with surface.open_user() as user, anyio.create_task_group() as tasks:

        async def tick() -> None:
            nonlocal ticks
            while True:
                await anyio.lowlevel.checkpoint()
                ticks += 1

        tasks.start_soon(tick)
        with taking_at_most(5), anyio.move_on_after(0.1):
            while True:
                await user.send(b"x", port_id=user.port_id)
                await user.receive()
        assert ticks > 3
        tasks.cancel_scope.cancel()
