"""Messages that are none, and ends that are closed, forked or taken."""

from __future__ import annotations

import array
import contextlib
import socket
from typing import Any

import anyio
import pytest

import kernel
import netlink_safe as nls
from netlink_safe import blocking
from surfaces import Surface, on_every_surface


def test_groups_take_rights_and_sending_does_not() -> None:
    """The error says which group, of which protocol."""

    def child() -> str:
        kernel.drop_all_rights()
        with blocking.open_user() as user:
            user.send_nowait(b"x", port_id=user.port_id)
            assert user.receive().payload == b"x"
        blocking.open_user(groups=[3])
        return "joined"

    told = kernel.in_child(child)
    assert told.startswith("PermissionError: [Errno 1] Operation not permitted: joining multicast ")
    assert told.endswith("group 3 of netlink protocol 2 takes rights, mostly CAP_NET_ADMIN")


@on_every_surface
async def test_what_is_too_long_to_be_read_is_an_error_in_its_place(
    surface: Surface, sleeper: socket.socket
) -> None:
    """It is never taken for a shorter message; those before and behind it are there."""
    with contextlib.suppress(PermissionError):
        sleeper.setsockopt(socket.SOL_SOCKET, 32, 1 << 20)  # SO_SNDBUFFORCE
    async with surface.open_user() as user:
        sleeper.sendto(b"before", (user.port_id, 0))
        try:
            sleeper.sendto(b"x" * 300_000, (user.port_id, 0))
        except OSError:
            assert not kernel.may_force_buffers()
            return  # only root of the machine may send as much at once
        sleeper.sendto(b"behind", (user.port_id, 0))
        assert (await user.receive()).payload == b"before"
        with pytest.raises(nls.TruncatedError, match="longer than the 262144 bytes"):
            await user.receive()
        assert (await user.receive()).payload == b"behind"


@on_every_surface
async def test_what_can_be_no_message_is_refused_before_the_kernel_does(surface: Surface) -> None:
    """Too large, empty, no bytes, no port, no group; the largest that fits is sent."""
    async with surface.open_user() as user, surface.open_user() as peer:
        largest = kernel.send_buffer() - 32
        user.send_nowait(b"x" * largest, port_id=peer.port_id)
        assert len((await peer.receive()).payload) == largest
        for payload, message in (
            (b"x" * (largest + 1), "send them in parts"),
            (b"", "empty"),
            ("text", "no bytes"),
            (None, "no bytes"),
        ):
            with pytest.raises(nls.LocalProtocolError, match=message):
                user.send_nowait(payload, port_id=peer.port_id)
            with pytest.raises(nls.LocalProtocolError, match=message):
                await user.send(payload, port_id=peer.port_id)
            with pytest.raises(nls.LocalProtocolError, match=message):
                user.multicast_nowait(payload, group=1)
        for port_id in (-1, 1 << 32, None, "1", True):
            with pytest.raises(nls.LocalProtocolError, match=r"port_id=.* from 0 to 4294967295"):
                user.send_nowait(b"x", port_id=port_id)
        for group in (0, 33, None):
            with pytest.raises(nls.LocalProtocolError, match="group="):
                user.multicast_nowait(b"x", group=group)


@pytest.mark.parametrize(
    "options",
    [
        {"protocol": -1},
        {"protocol": 32},
        {"port_id": 0},
        {"port_id": 1 << 32},
        {"groups": [33]},
        {"groups": 5},
        {"groups": None},
        {"groups": "1"},
    ],
)
def test_nonsense_is_refused_at_once(options: dict[str, Any]) -> None:
    """On both surfaces, before a socket is opened."""
    for opening in (nls.open_user, blocking.open_user):
        with pytest.raises(nls.LocalProtocolError):
            opening(**options)


@on_every_surface
async def test_a_closed_end_sends_and_hears_nothing(surface: Surface) -> None:
    """Every verb says so."""
    closed = nls.ClosedError if surface.name == "blocking" else anyio.ClosedResourceError
    async with surface.open_user() as user:
        port_id = user.port_id
    with pytest.raises(closed):
        user.send_nowait(b"x", port_id=port_id)
    with pytest.raises(closed):
        user.multicast_nowait(b"x", group=1)
    with pytest.raises(closed):
        assert user.port_id
    with pytest.raises(closed):
        await user.send(b"x", port_id=port_id)
    with pytest.raises(closed):
        await user.receive()


def test_a_fork_may_not_send_for_its_parent() -> None:
    """The child has a port ID of its own to open."""
    with blocking.open_user() as user:
        told = kernel.in_child(lambda: user.send_nowait(b"x", port_id=user._end._port_id or 1))
        assert told.startswith("LocalProtocolError: this netlink socket was opened before a fork")


def test_a_view_of_wider_items_is_as_long_as_its_bytes() -> None:
    """And one with gaps is refused before Python does it less clearly."""
    with blocking.open_user() as user, blocking.open_user() as peer:
        user.send_nowait(memoryview(array.array("I", [1, 2, 3])), port_id=peer.port_id)  # type: ignore[arg-type]
        assert len(peer.receive().payload) == 12
        with pytest.raises(nls.LocalProtocolError, match="send them in parts"):
            user.send_nowait(memoryview(array.array("I", [0] * 200_000)), port_id=peer.port_id)  # type: ignore[arg-type]
        with pytest.raises(nls.LocalProtocolError, match="gaps"):
            user.send_nowait(memoryview(b"abcdef")[::2], port_id=peer.port_id)  # type: ignore[arg-type]


class Odd(bytes):
    """Bytes that will not be bytes."""

    def __bytes__(self) -> bytes:
        raise OSError("no bytes today")


def test_what_cannot_be_read_as_bytes_is_refused() -> None:
    """A view that was released, and a class of bytes with a mind of its own."""
    released = memoryview(b"abc")
    released.release()
    with blocking.open_user() as user:
        for payload in (released, Odd(b"abc")):
            with pytest.raises(nls.LocalProtocolError, match="cannot be read as bytes"):
                user.send_nowait(payload, port_id=user.port_id)  # type: ignore[arg-type]
            with pytest.raises(nls.LocalProtocolError, match="cannot be read as bytes"):
                nls.message(16, payload)  # type: ignore[arg-type]


def test_the_kernel_is_no_peer() -> None:
    """It would handle a message inside the send, under its own locks."""
    with (
        blocking.open_user(protocol=0) as route,
        pytest.raises(nls.LocalProtocolError, match="port_id=0"),
    ):
        route.send_nowait(b"x" * 16, port_id=0)
