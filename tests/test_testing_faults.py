"""The faults that users make: each does what it says, to the sockets it says, and no longer."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import kernel
import netlink_safe as nls
import uevents
from netlink_safe import blocking, testing
from netlink_safe.testing import faults
from netlink_safe.wire.constants import NETLINK_SOCK_DIAG, NETLINK_USERSOCK, NLMSG_DONE
from patience import patiently
from surfaces import Surface, on_every_surface, taking_at_most
from worlds import UEVENT

if TYPE_CHECKING:
    from worlds import World

LISTENERS = nls.tcp_sockets(states="listen", families="inet")
#: More rows than three chunks of a dump hold.
MANY = 900


async def count(diag: Any, **options: Any) -> int:
    return len([row async for row in diag.dump(LISTENERS, **options)])


@on_every_surface
async def test_a_fault_reaches_sockets_that_are_open_already_and_leaves_them(
    surface: Surface, world: World
) -> None:
    """Opened before, used meanwhile, and right again behind it: on both kernels."""
    with world.listeners(3):
        async with surface.open_sock_diag(timeout=0.2) as diag:
            assert await count(diag) == 3
            with testing.lose(NLMSG_DONE), pytest.raises(nls.NetlinkTimeout) as caught:
                await count(diag)
            assert caught.value.rows == 3
            assert await count(diag, timeout=5) == 3


@on_every_surface
async def test_a_fault_of_so_many_sockets_leaves_the_others_alone(
    surface: Surface, world: World
) -> None:
    """The first attempt is lost, the second answered."""
    with world.listeners(3):
        async with surface.open_sock_diag() as diag:

            async def counted(seconds: float) -> None:
                before = diag.statistics().retries
                with testing.deaf(sockets=1):
                    assert await count(diag, timeout=seconds) == 3
                assert diag.statistics().retries == before + 1

            await patiently(counted, 0.2, AssertionError)


@pytest.mark.parametrize("datagrams", [0, 1, 3])
@on_every_surface
async def test_so_many_datagrams_reach_a_socket_and_no_more(
    surface: Surface, world: World, datagrams: int
) -> None:
    """What comes behind them is lost without a word."""
    with world.listeners(MANY):
        async with surface.open_sock_diag() as diag:
            for seconds in (0.1, 1, 10):  # a slow machine takes longer for as many
                with testing.lose_after(datagrams), pytest.raises(nls.NetlinkTimeout) as caught:
                    await count(diag, timeout=seconds)
                if caught.value.datagrams >= datagrams:
                    break
            assert caught.value.datagrams == datagrams
            assert (caught.value.rows > 0) is (datagrams > 0)
            assert await count(diag, timeout=5) == MANY
            kernel.until(lambda: not diag._pool._busy)


@pytest.mark.parametrize("nonsense", [-1, 1.5, True, None])
def test_a_nonsense_number_of_datagrams_is_refused(nonsense: Any) -> None:
    """Before anything is done to anybody."""
    with pytest.raises(nls.LocalProtocolError, match="no whole number"):
        testing.lose_after(nonsense)


def test_faults_may_stand_one_inside_the_other_and_end_in_any_order() -> None:
    """Each ends with its own body, whichever began first."""
    first, second = testing.deaf(), testing.lose(NLMSG_DONE)
    with blocking.open_sock_diag(timeout=0.1) as diag:
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        with pytest.raises(nls.NetlinkTimeout):
            list(diag.dump(LISTENERS))
        second.__exit__(None, None, None)
        assert list(diag.dump(LISTENERS, timeout=5)) == []


@on_every_surface
async def test_what_has_answered_before_can_be_held_up_too(surface: Surface) -> None:
    """Whoever opens anew is free at the deadline, as in a process that has asked for nothing."""
    await surface.collect()
    for method in ("dump", "counters"):
        with testing.held_up(), pytest.raises(nls.NetlinkTimeout), taking_at_most(20):
            await surface.collect(timeout=0.2, method=method)
    await surface.collect()


@on_every_surface
async def test_a_call_that_is_held_up_is_let_go(surface: Surface) -> None:
    """Who waits gives up at the deadline; who is patient gets the answer."""
    rare = nls.tcp_sockets(states="close_wait", families="inet")
    async with surface.open_sock_diag(timeout=0.1) as diag:
        with testing.held_up() as stall:
            with pytest.raises(nls.NetlinkTimeout, match="has not come back"):
                _ = [row async for row in diag.dump(rare)]
            assert stall.entered.is_set()
            threading.Timer(0.05, stall.release.set).start()
            assert [row async for row in diag.dump(rare, timeout=10)] == []
        kernel.until(lambda: not diag._pool._busy)


@on_every_surface
async def test_an_overrun_is_told_and_resynced(surface: Surface, tmp_path: Path) -> None:
    """A storm of 50 into the smallest buffer that there is."""
    with uevents.mounted_sysfs(tmp_path) as sysfs, testing.overrun(str(sysfs)) as storm:
        async with surface.open_uevents(subsystem="net") as events:
            assert events.statistics().overruns == 0
            storm(50)
            heard = 0
            while not isinstance(item := await events.receive(timeout=5), nls.Overrun):
                heard += 1
            assert heard + item.drops == 50
            assert item.drops >= 40
            assert isinstance(await events.receive(timeout=5), nls.Resynced)


def test_a_slow_reader_reads_when_it_is_told_to() -> None:
    """One datagram, all of them, or None where none is queued."""
    with testing.slow_reader() as peer, blocking.open_user() as user:
        for number in range(3):
            user.send_nowait(b"%d" % number, port_id=peer.port_id)
        assert peer.read() == b"0"
        assert peer.read_all() == [b"1", b"2"]
        assert peer.read() is None


def test_a_full_peer_has_no_room_until_it_reads() -> None:
    """A send now raises; one datagram less, and it passes."""
    with testing.full_peer() as peer, blocking.open_user() as user:
        with pytest.raises(nls.PeerQueueFull):
            user.send_nowait(b"x", port_id=peer.port_id)
        assert peer.read_all()
        user.send_nowait(b"x", port_id=peer.port_id)
        assert peer.read() == b"x"


def test_a_spoofed_datagram_comes_from_a_port_of_its_own() -> None:
    """To one socket, or to the members of a group; both are counted and not believed."""
    with blocking.open_uevents(subsystem="net") as events:
        port_id = events._hearing._socket.port_id  # type: ignore[union-attr]
        testing.spoof(port_id, b"add@/x\0", protocol=UEVENT)
        testing.spoof_multicast(UEVENT, 1, b"add@/x\0")
        with pytest.raises(nls.NetlinkTimeout):
            events.receive(timeout=0.05)
        assert events.statistics().rejected == {"unicast": 1, "foreign_sender": 1}


def test_a_spoof_says_what_is_wrong_with_it() -> None:
    """Nobody there, no such group, no room, no right."""
    with pytest.raises(ConnectionRefusedError):
        testing.spoof(1, b"x", protocol=NETLINK_USERSOCK)
    for group in (0, 33, True, "1"):
        with pytest.raises(nls.LocalProtocolError, match="1 to 32"):
            testing.spoof_multicast(NETLINK_USERSOCK, group, b"x")  # type: ignore[arg-type]
    with testing.full_peer() as peer, pytest.raises(BlockingIOError):
        testing.spoof(peer.port_id, bytes(300), protocol=NETLINK_USERSOCK)

    def unprivileged() -> None:
        kernel.drop_all_rights()
        testing.spoof(os.getpid(), b"x", protocol=NETLINK_SOCK_DIAG)

    assert "PermissionError" in kernel.in_child(unprivileged)


def test_an_allocation_fails_where_the_kernel_can_have_it_fail() -> None:
    """And elsewhere that is said, with what it takes; the next call works either way."""
    can = Path(faults.FAIL_NTH).exists()
    with blocking.open_sock_diag() as diag:
        if can:
            with testing.blocked_allocation(1), pytest.raises(OSError):  # noqa: PT011  # any of them
                list(diag.dump(LISTENERS))
        else:
            with pytest.raises(nls.NotSupported, match="CONFIG_FAULT_INJECTION") as caught:
                testing.blocked_allocation().__enter__()
            assert caught.value.errno == errno.ENOENT
        assert list(diag.dump(LISTENERS)) == []


def test_nothing_of_a_fault_is_left_behind() -> None:
    """No descriptor, and sockets behind it are as they were."""
    with blocking.open_sock_diag() as diag, taking_at_most(20):
        list(diag.dump(LISTENERS))
        before = kernel.descriptors()
        for _ in range(20):
            with testing.deaf(), pytest.raises(nls.NetlinkTimeout):
                list(diag.dump(LISTENERS, timeout=0.02))
        list(diag.dump(LISTENERS))
        kernel.until(lambda: len(kernel.descriptors()) <= len(before))
