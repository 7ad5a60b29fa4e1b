"""What the verbs promise on every kernel, the running one and the scripted, on every surface."""

from __future__ import annotations

import errno
import gc
from typing import TYPE_CHECKING, Any

import anyio
import pytest

import kernel
import netlink_safe as nls
from netlink_safe import testing
from netlink_safe.collectors.tcp_fold import StateFold
from netlink_safe.wire.constants import NLMSG_DONE, NLMSG_ERROR
from patience import patiently
from surfaces import ASYNC_SURFACES, Surface, on_every_surface, on_surfaces

if TYPE_CHECKING:
    from worlds import World

#: More rows than two chunks of a dump hold.
MANY = 500
LISTENERS = nls.tcp_sockets(states="listen", families="inet")

#: What came with a release of the kernel, and what asks for it.
SINCE = {
    "TCP sockets": ((2, 6), nls.tcp_sockets()),
    "UDP sockets": ((3, 3), nls.udp_sockets()),
    "unix sockets": ((3, 3), nls.unix_sockets()),
    "packet sockets": ((3, 7), nls.packet_sockets()),
    "netlink sockets": ((3, 10), nls.netlink_sockets()),
}


async def ports(diag: Any, requests: Any = LISTENERS, **options: Any) -> list[int]:
    return sorted([row.source.port async for row in diag.dump(requests, **options)])


@on_every_surface
async def test_a_dump_gives_each_socket_once(surface: Surface, world: World) -> None:
    """All of a table of several chunks, in a second dump on the same object too."""
    with world.listeners(MANY) as made:
        async with surface.open_sock_diag() as diag:
            for _ in range(2):
                assert await ports(diag) == sorted(made)
            statistics = diag.statistics()
    assert (statistics.attempts, statistics.retries, statistics.rejected) == (2, 0, {})


@on_every_surface
async def test_a_question_is_answered_by_state_family_and_port(
    surface: Surface, world: World
) -> None:
    """What does not match is not there."""
    with world.listeners(3) as made:
        async with surface.open_sock_diag() as diag:
            assert await ports(diag, nls.tcp_sockets()) == sorted(made)
            assert await ports(diag, nls.tcp_sockets(states="established")) == []
            assert await ports(diag, nls.tcp_sockets(families="inet6")) == []
            one = nls.tcp_sockets(states="listen", families="inet", source_port=made[0])
            assert await ports(diag, one) == [made[0]]


@on_every_surface
async def test_one_socket_is_found_by_its_address_and_its_cookie(
    surface: Surface, world: World
) -> None:
    """Another cookie is another socket; where there is none it is ENOENT."""
    with world.listeners(2) as made:
        async with surface.open_sock_diag() as diag:
            at = ("127.0.0.1", made[1])
            found = await diag.request(nls.tcp_socket(at))
            assert (found.source.port, found.state) == (made[1], nls.TcpState.LISTEN)
            assert (await diag.request(nls.tcp_socket(at, cookie=found.cookie))) is not None
            for nobody in (
                nls.tcp_socket(at, cookie=found.cookie + 1_000_000),
                nls.tcp_socket(("127.0.0.2", made[1])),
            ):
                with pytest.raises(nls.KernelError) as caught:
                    await diag.request(nobody)
                assert caught.value.errno in {errno.ENOENT, errno.ESTALE}


@on_every_surface
async def test_a_collector_counts_them(surface: Surface, world: World) -> None:
    """By state and family, and the accept queues by port."""
    with world.listeners(5) as made:
        stats = await surface.collect()
    assert stats.states[nls.TcpState.LISTEN] == 5
    assert sum(stats.states.values()) == 5
    assert set(stats.accept_queues) == set(made)


@on_every_surface
async def test_a_dump_that_was_left_leaves_nothing_for_the_next_one(
    surface: Surface, world: World
) -> None:
    """Its socket is closed, and the next dump is whole."""
    with world.listeners(MANY) as made:
        async with surface.open_sock_diag() as diag:
            for _ in range(5):
                async for _row in diag.dump(LISTENERS):
                    break
            gc.collect()
            assert diag.statistics().open_sockets == 0
            assert await ports(diag) == sorted(made)
            assert diag.statistics().rejected == {}


@on_every_surface
async def test_a_refusal_that_is_lost_is_a_timeout(surface: Surface, world: World) -> None:
    """And the same question is refused as soon as refusals come through."""
    async with surface.open_sock_diag() as diag:
        nobody = nls.tcp_socket(("127.0.0.1", 1))
        with testing.lose(NLMSG_ERROR), pytest.raises(nls.NetlinkTimeout):
            await diag.request(nobody, timeout=0.1)
        with pytest.raises(nls.KernelError):
            await diag.request(nobody)


@on_every_surface
async def test_a_fold_of_a_dump_that_dies_starts_again_from_zero(
    surface: Surface, world: World
) -> None:
    """What the dead attempt had counted is not counted twice."""
    with world.listeners(MANY):
        async with surface.open_sock_diag() as diag:

            async def folded(seconds: float) -> None:
                before = diag.statistics().retries
                with testing.lose_after(1, sockets=1):
                    [fold] = await diag.fold(LISTENERS, StateFold, timeout=seconds)
                assert fold.rows == MANY
                assert diag.statistics().retries == before + 1

            await patiently(folded, 0.4, AssertionError)
            with testing.lose(NLMSG_DONE), pytest.raises(nls.NetlinkTimeout) as caught:
                await diag.fold(LISTENERS, StateFold, timeout=0.5)
            assert 2 <= caught.value.attempts <= 3
            assert 0 < caught.value.rows <= 3 * MANY
            kernel.until(lambda: not diag._pool._busy)


@on_surfaces(ASYNC_SURFACES)
async def test_dumps_at_once_each_have_all_rows(surface: Surface, world: World) -> None:
    """Each has a socket of its own."""
    counted: list[int] = []

    async def dump(diag: Any) -> None:
        counted.append(len(await ports(diag)))

    with world.listeners(MANY):
        async with surface.open_sock_diag() as diag, anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(dump, diag)
    assert counted == [MANY] * 10


@pytest.mark.parametrize("feature", SINCE)
@on_every_surface
async def test_a_feature_is_missing_only_before_its_release(surface: Surface, feature: str) -> None:
    """On an older kernel it is NotSupported, and on no other."""
    release, requests = SINCE[feature]
    async with surface.open_sock_diag() as diag:
        try:
            _ = [row async for row in diag.dump(requests)]
        except nls.NotSupported:
            assert kernel.release() < release, f"{feature} came with {release}"
