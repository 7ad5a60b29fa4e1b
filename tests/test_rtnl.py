"""Under an rtnl_lock that is really held: a bulk delete of links keeps it for long."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

import anyio
import pytest

import kernel
import netlink_safe as nls
from links import Links, names
from surfaces import ASYNC_SURFACES, Surface, on_every_surface, on_surfaces, taking_at_most

if TYPE_CHECKING:
    from collections.abc import Iterator

PAIRS = 3000
#: The number of sendto(2) on x86-64, as /proc has it.
SENDTO = "44 "
#: Of processor time, in nanoseconds: more than it takes to come to the lock, and a small part of
#: what the deletion takes under it.
WELL_INSIDE = 20_000_000


@contextlib.contextmanager
def lock_held() -> Iterator[None]:
    """Somebody is in the kernel, deleting thousands of links in one go, as the body begins."""
    entered = threading.Event()
    with Links() as links:
        for pair in names(range(PAIRS)):
            links.make(*pair)

    def delete() -> None:
        with Links() as links:
            entered.set()
            links.delete_all()

    def task(name: str) -> str:
        with open(f"/proc/self/task/{deleting.native_id}/{name}", encoding="ascii") as file:
            return file.read()

    def is_inside() -> bool:
        # We run Python, and so it does not: if it runs, then in the system call.
        has_run = int(task("schedstat").split()[0]) - before
        return task("syscall").startswith((SENDTO, "running")) and has_run > WELL_INSIDE

    deleting = threading.Thread(target=delete)
    deleting.start()
    assert entered.wait(30)
    before = int(task("schedstat").split()[0])
    kernel.until(is_inside)
    try:
        yield
    finally:
        deleting.join()


@on_every_surface
async def test_an_order_ends_at_its_deadline_and_may_still_be_carried_out(surface: Surface) -> None:
    """The error says so; and later it is."""
    async with surface.open_route() as route:
        await route.request(nls.link("lo"))
        with lock_held():
            with taking_at_most(20), pytest.raises(nls.NetlinkTimeout) as late:
                await route.request(nls.set_link("lo", mtu=1400), timeout=0.05)
            assert late.value.outcome == "unknown"
            assert "may still be applied" in str(late.value)
            assert late.value.attempts == 1
        with anyio.fail_after(30):
            while (await route.request(nls.link("lo"))).mtu != 1400:
                await anyio.lowlevel.checkpoint()


@on_every_surface
async def test_the_next_question_is_answered(surface: Surface) -> None:
    """Whoever gave up leaves nothing behind: one link, all links, and a deletion that was late."""
    async with surface.open_route() as route:
        await route.request(nls.link("lo"))
        with Links() as links:
            links.make("left", "right")
        with lock_held():
            for _ in range(3):
                with pytest.raises(nls.NetlinkTimeout):
                    await route.request(nls.set_link("lo", mtu=1400), timeout=0.01)
            with pytest.raises(nls.NetlinkTimeout):
                await surface.delete_link("left", timeout=0.01)
        assert (await route.request(nls.link("lo"))).name == "lo"
        assert "lo" in [one.name async for one in route.dump(nls.links())]
        assert route.statistics().timeouts == 3


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
        with lock_held():
            before = ticks
            with pytest.raises(nls.NetlinkTimeout):
                await route.request(nls.set_link("lo", mtu=1400), timeout=0.1)
            assert ticks - before > 10
        tasks.cancel_scope.cancel()


@on_surfaces(ASYNC_SURFACES)
async def test_cancelling_does_not_wait_for_the_lock(surface: Surface) -> None:
    """The thread is left behind, and closes up when the kernel lets it go."""
    async with surface.open_route() as route:
        await route.request(nls.link("lo"))
        with lock_held(), taking_at_most(20), anyio.move_on_after(0.02) as scope:
            await route.request(nls.set_link("lo", mtu=1400))
        assert scope.cancelled_caught
        assert (await route.request(nls.link("lo"))).name == "lo"
