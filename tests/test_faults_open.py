"""What is opened, dropped, closed, forked and dumped at once leaks nothing and says what it is."""

from __future__ import annotations

import contextlib
import gc
import math
import resource
import warnings
from typing import Any

import pytest

import kernel
import netlink_safe as nls
from many_sockets import count, exhaust
from netlink_safe import blocking
from netlink_safe.protocol.deadline import Deadline
from surfaces import SURFACES, Surface, on_every_surface
from test_deadline import Clock

pytestmark = pytest.mark.usefixtures("one_datagram_at_a_time")


@on_every_surface
async def test_what_is_dropped_without_being_closed_leaks_nothing(surface: Surface) -> None:
    """Kernel sockets, namespace and wakeup go with the last reference."""
    before = len(kernel.descriptors())
    for _ in range(20):
        diag = surface.open_sock_diag()
        with warnings.catch_warnings(action="ignore"):  # a socket that nobody closed is told of
            await count(diag)
            del diag
            gc.collect()
    assert len(kernel.descriptors()) == before


@on_every_surface
async def test_without_a_descriptor_to_be_had_nothing_is_left_and_the_next_call_works(
    surface: Surface,
) -> None:
    """EMFILE is the system's own error, at whichever descriptor it comes."""
    await surface.collect()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limit in list(kernel.limits_with_room(6)):
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
        try:
            with contextlib.suppress(OSError):
                await surface.collect()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert sum((await surface.collect()).states.values()) == 0


@on_every_surface
async def test_dumps_at_once_have_kernel_sockets_of_their_own(surface: Surface, many: int) -> None:
    """One inside the other, several times over: no EBUSY, and no row of the other's."""
    async with surface.open_sock_diag() as diag:
        outer = 0
        async for _ in diag.dump(nls.tcp_sockets(families="inet")):
            if outer % 100 == 0:
                assert await count(diag) == many
            outer += 1
        assert outer == many
        assert diag.statistics().open_sockets == 2


@on_every_surface
async def test_an_abandoned_dump_leaves_nothing_for_the_next_one(
    surface: Surface, many: int
) -> None:
    """break closes the kernel socket at once, by the last reference."""
    async with surface.open_sock_diag() as diag:
        for _ in range(20):
            async for _row in diag.dump(nls.tcp_sockets()):
                break
        assert diag.statistics().open_sockets == 0
        assert await count(diag) == many
        assert diag.statistics().rejected == {}


@on_every_surface
async def test_an_error_of_the_consumer_closes_its_dump(surface: Surface, many: int) -> None:
    """The exception passes through, and the next dump is whole."""
    async with surface.open_sock_diag() as diag:
        with pytest.raises(ZeroDivisionError):
            _ = [1 // (row.state - row.state) async for row in diag.dump(nls.tcp_sockets())]
        assert diag.statistics().open_sockets == 0
        assert await count(diag) == many


@on_every_surface
async def test_what_is_closed_says_so(surface: Surface, many: int) -> None:
    """Every verb raises ClosedError, a dump under way too; closing twice is harmless."""
    diag = surface.open_sock_diag()
    dump = diag.dump(nls.tcp_sockets())
    await anext(aiter(dump))
    await diag.aclose()
    await diag.aclose()
    with pytest.raises(nls.ClosedError, match="open a new one"):
        await exhaust(dump)
    with pytest.raises(nls.ClosedError):
        diag.dump(nls.tcp_sockets())
    with pytest.raises(nls.ClosedError):
        await diag.read_proc_net("snmp")
    assert diag.statistics().open_sockets == 0


@on_every_surface
async def test_ten_thousand_dumps_leak_nothing(surface: Surface) -> None:
    """Descriptors and threads are as many after 10,000 dumps as after one."""
    listening = nls.tcp_sockets(states=["listen"], families="inet")
    async with surface.open_sock_diag() as diag:
        _ = [row async for row in diag.dump(listening)]
        before = len(kernel.descriptors()), kernel.threads()
        for _ in range(10_000):
            async for _row in diag.dump(listening):
                raise AssertionError("nobody listens here")
        assert len(kernel.descriptors()) == before[0]
        assert kernel.threads() <= before[1] + 1
        assert diag.statistics().attempts == 10_001


@on_every_surface
async def test_the_consumers_time_does_not_count(surface: Surface, many: int) -> None:
    """A dump's deadline stands still while the consumer has a row."""
    async with surface.open_sock_diag() as diag:
        clock = Clock()
        rows = 0
        async for _ in diag.dump(nls.tcp_sockets(), timeout=Deadline(0.5, clock)):
            clock.now += 100
            rows += 1
        assert rows == many


@pytest.mark.parametrize("surface", SURFACES, ids=lambda surface: surface.name)
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"receive_buffer": 1024}, "1024 is below the floor of 32768 bytes.*ENOBUFS"),
        ({"receive_buffer": 2**31}, "above the"),
        ({"receive_buffer": "1M"}, "no whole number of bytes"),
        ({"timeout": 0}, r"must be above 0 seconds.*math\.inf"),
        ({"timeout": math.nan}, "must be above 0 seconds"),
        ({"timeout": None}, r"no number of seconds.*math\.inf"),
    ],
)
def test_nonsense_is_refused_before_anything_is_opened(
    surface: Surface, options: dict[str, Any], said: str
) -> None:
    """A buffer of 1024 is refused with the story, a timeout of None with the way to mean it."""
    with pytest.raises(nls.LocalProtocolError, match=said):
        surface.open_sock_diag(**options)


@on_every_surface
async def test_the_receive_buffer_is_forced_and_read_back(surface: Surface) -> None:
    """The kernel doubles it; past rmem_max it takes the machine's own CAP_NET_ADMIN."""
    rmem_max = kernel.rmem_max()
    async with surface.open_sock_diag(receive_buffer=2 * rmem_max) as diag:
        statistics = diag.statistics()
    assert statistics.requested_receive_buffer == 2 * rmem_max
    assert statistics.receive_buffer == 2 * rmem_max * (2 if kernel.may_force_buffers() else 1)


def test_without_the_right_to_force_it_the_effective_size_is_told() -> None:
    """An unprivileged process gets what rmem_max allows, and the statistics say so."""

    def unprivileged() -> tuple[int, int]:
        kernel.drop_all_rights()
        with blocking.open_sock_diag(receive_buffer=2**29) as diag:
            statistics = diag.statistics()
            return statistics.requested_receive_buffer, statistics.receive_buffer

    allowed = 2 * kernel.rmem_max()
    assert kernel.in_child(unprivileged) == str((2**29, allowed))


def test_an_unprivileged_user_sees_sockets_without_their_marks(many: int) -> None:
    """sock_diag asks no right for a look; the mark takes CAP_NET_ADMIN."""

    def unprivileged() -> tuple[int, set[int | None]]:
        kernel.drop_all_rights()
        with blocking.open_sock_diag() as diag:
            rows = list(diag.dump(nls.tcp_sockets()))
            return len(rows), {row.mark for row in rows}

    assert kernel.in_child(unprivileged) == str((many, {None}))


def test_a_forked_child_cannot_use_its_parents_socket(many: int) -> None:
    """The child would steal the parent's replies; it is told to open one of its own, and can."""
    with blocking.open_sock_diag() as diag:
        dump = iter(diag.dump(nls.tcp_sockets()))
        next(dump)

        def old() -> int:
            return len(list(diag.dump(nls.tcp_sockets())))

        def under_way() -> int:
            return len(list(dump))

        def fresh() -> int:
            diag.close()
            with blocking.open_sock_diag() as own:
                return len(list(own.dump(nls.tcp_sockets())))

        assert "opened before a fork" in kernel.in_child(old)
        assert "opened before a fork" in kernel.in_child(under_way)
        assert kernel.in_child(fresh) == str(many)
        assert 1 + len(list(dump)) == many


def test_a_forked_child_can_offload_although_the_threads_are_gone() -> None:
    """A worker thread does not survive a fork; the child makes its own."""
    rare = nls.tcp_sockets(states=["close_wait"])

    def ask() -> int:
        with blocking.open_sock_diag() as diag:
            return len(list(diag.dump(rare)))

    assert ask() == 0
    assert kernel.in_child(ask) == "0"


def test_the_interpreters_exit_does_not_wait_for_a_thread_in_the_kernel() -> None:
    """Worker threads are daemons: a process that gave up can end."""
    program = """
import sys, threading, time
from netlink_safe import blocking, errors
from netlink_safe.transport.socket import NetlinkSocket
NetlinkSocket.send = lambda *_: threading.Event().wait()
with blocking.open_sock_diag(timeout=0.1) as diag:
    try:
        list(diag.dump(blocking.tcp_sockets(states=["close_wait"])))
    except errors.NetlinkTimeout:
        sys.exit(7)
"""
    assert kernel.run_python(program, seconds=20) == 7
