"""Under an rtnl_lock that is really held by somebody else."""

from __future__ import annotations

import anyio
import pytest

import netlink_safe as nls
from rtnl import under_the_lock
from surfaces import ASYNC_SURFACES, Surface, on_every_surface, on_surfaces, taking_at_most


@on_every_surface
async def test_an_order_ends_at_its_deadline_and_may_still_be_carried_out(surface: Surface) -> None:
    """The error says so; and later it is."""
    async with surface.open_route() as route:
        await route.request(nls.link("lo"))

        async def give_up() -> None:
            with taking_at_most(20), pytest.raises(nls.NetlinkTimeout) as late:
                await route.request(nls.set_link("lo", mtu=1400), timeout=0.05)
            assert late.value.outcome == "unknown"
            assert "may still be applied" in str(late.value)
            assert late.value.attempts == 1

        await under_the_lock(give_up)
        with anyio.fail_after(30):
            while (await route.request(nls.link("lo"))).mtu != 1400:
                await anyio.lowlevel.checkpoint()


@on_every_surface
async def test_the_next_question_is_answered(surface: Surface) -> None:
    """Whoever gave up leaves nothing behind: one link, all links, and a deletion that was late."""
    async with surface.open_route() as route:
        await route.request(nls.link("lo"))

        async def give_up() -> None:
            before = route.statistics().timeouts
            for _ in range(3):
                with pytest.raises(nls.NetlinkTimeout):
                    await route.request(nls.set_link("lo", mtu=1400), timeout=0.01)
            with pytest.raises(nls.NetlinkTimeout):
                await surface.delete_link("lo", timeout=0.01)
            assert route.statistics().timeouts == before + 3

        await under_the_lock(give_up)
        assert (await route.request(nls.link("lo"))).name == "lo"
        assert "lo" in [one.name async for one in route.dump(nls.links())]


@on_surfaces(ASYNC_SURFACES)
async def test_other_tasks_go_on_meanwhile(surface: Surface) -> None:
    """The wait for the lock is a worker's."""
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await anyio.sleep(0.001)
            ticks += 1

    async with surface.open_route() as route, anyio.create_task_group() as tasks:
        await route.request(nls.link("lo"))
        tasks.start_soon(tick)

        async def give_up() -> None:
            before = ticks
            with pytest.raises(nls.NetlinkTimeout):
                await route.request(nls.set_link("lo", mtu=1400), timeout=0.1)
            assert ticks - before > 3

        await under_the_lock(give_up)
        tasks.cancel_scope.cancel()


@on_surfaces(ASYNC_SURFACES)
async def test_cancelling_does_not_wait_for_the_lock(surface: Surface) -> None:
    """The thread is left behind, and closes up when the kernel lets it go."""
    async with surface.open_route() as route:
        await route.request(nls.link("lo"))

        async def cancel() -> None:
            with taking_at_most(20), anyio.move_on_after(0.02) as scope:
                await route.request(nls.set_link("lo", mtu=1400))
            assert scope.cancelled_caught

        await under_the_lock(cancel)
        assert (await route.request(nls.link("lo"))).name == "lo"
