"""Links of the running kernel: asked for, and deleted in the right order."""

from __future__ import annotations

import gc
import os
import socket
import subprocess
from typing import Any

import attrs
import pytest

import kernel
import netlink_safe as nls
from debian_peers import iproute2
from links import Links, there
from netlink_safe import blocking
from netlink_safe.blocking.waiting import Waiter, result
from netlink_safe.families import ctrl
from netlink_safe.families.link_stack import Stack, stack_of
from netlink_safe.transport import steps
from netlink_safe.transport.opening import own_terms
from netlink_safe.transport.plans import Hands, carried_out
from surfaces import Surface, on_every_surface


def also_called(link: str, names: list[str]) -> None:
    """Give a link alternative names."""
    for name in names:
        words = ("link", "property", "add", "dev", link, "altname", name)
        subprocess.run([iproute2("ip"), *words], check=True)


@pytest.mark.usefixtures("two")
@on_every_surface
async def test_a_pair_is_deleted_by_either_end(surface: Surface) -> None:
    """By name; whoever is not there is an error of the kernel's."""
    await surface.delete_link("right")
    assert there() == {"lo"}
    with pytest.raises(nls.KernelError, match="ENODEV"):
        await surface.delete_link("right")


@pytest.mark.usefixtures("two")
@on_every_surface
async def test_a_link_has_other_names_and_an_index(surface: Surface) -> None:
    """Those that are too long to be its first one are asked for as alternative ones."""
    names = ["a" * 40, "\u00e9" * 8, "right2"]
    also_called("right", names)
    async with surface.open_route() as route:
        index = socket.if_nametoindex("right")
        wanted: list[str | int] = [*names, index]
        for one in wanted:
            assert (await route.request(nls.link(one))).index == index
        await route.request(nls.set_link(names[0], mtu=1300))
        assert (await route.request(nls.link(names[1]))).mtu == 1300
    await surface.delete_link(names[0])
    assert there() == {"lo"}
    with Links() as links:
        links.make("left", "right")
    await surface.delete_link(socket.if_nametoindex("right"))
    assert there() == {"lo"}
    with pytest.raises(nls.KernelError, match=f"the link {names[0]}: .*ENODEV"):
        await surface.delete_link(names[0])


def test_a_deletion_that_fails_leaves_no_descriptor_behind() -> None:
    """Not even to the collector, which may be off."""
    before = kernel.descriptors()
    gc.disable()
    try:
        errors = []
        for _ in range(10):
            with pytest.raises(nls.KernelError) as refused:
                blocking.delete_link("nothing")
            errors.append(refused)
        assert len(os.listdir("/proc/self/fd")) <= len(before) + 1  # listdir's own
    finally:
        gc.enable()


@on_every_surface
async def test_a_peer_in_another_namespace_is_looked_at(surface: Surface) -> None:
    """And the namespace that is meant is the one that is named."""
    with kernel.named_namespace("other") as path:

        def make() -> None:
            with Links() as links:
                links.make("in", "out")

        kernel.in_namespace(path, make)
        with pytest.raises(nls.KernelError, match="ENODEV"):
            await surface.delete_link("in")
        await surface.delete_link("in", netns="other")
        async with surface.open_route(netns=path) as route:
            assert [one.name async for one in route.dump(nls.links())] == ["lo"]


@on_every_surface
async def test_a_table_that_changes_under_the_look_is_looked_at_again(
    surface: Surface, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often: the namespaces of others are as busy as they like."""
    whole, interruptions = steps.whole, iter(range(8))

    def busy(pool: Any, request: Any, terms: Any) -> Any:
        if request.is_dump and next(interruptions, None) is not None:
            raise nls.DumpInterrupted("the table changed")
        return (yield from whole(pool, request, terms))

    with Links() as links:
        links.make("left", "right")
    monkeypatch.setattr(steps, "whole", busy)
    await surface.delete_link("left", timeout=60)
    assert next(interruptions, None) is None
    assert there() == {"lo"}


@on_every_surface
async def test_what_is_said_to_go_is_what_goes(surface: Surface) -> None:
    """The other end, and what stands on either, in namespaces that have a number here or none."""
    with kernel.named_namespace("blue") as blue, kernel.named_namespace("red") as red:
        with Links() as links:
            links.make("left", "right")
            links.make("other", "stranger")
            links.move("right", blue)
            links.make_macvlan("above", "left", red)  # which red keeps to itself
            links.make_macvlan("beside", "other", red)
            links.make_vxlan("over", "left")
            links.move("over", blue)

        def on_the_right() -> None:
            with Links() as links:
                links.make_macvlan("far", "right", red)

        kernel.in_namespace(blue, on_the_right)
        stack = seen_to_go("left")
        assert not stack.has_unseen
        places = {one.link.name: one.where.place for one in stack.going}
        assert set(places) == {"left", "right", "above", "over", "far"}
        labels = {name: place.label if place else "?" for name, place in places.items()}
        assert labels == {
            "left": None,
            "right": "blue",
            "above": "red",
            "over": "blue",
            "far": "red",
        }
        before = [there(), kernel.in_namespace(blue, there), kernel.in_namespace(red, there)]
        assert set.union(*before) == {*places, "beside", "other", "stranger", "lo"}
        await surface.delete_link("left")
        assert there() == {"lo", "other", "stranger"}
        assert kernel.in_namespace(blue, there) == {"lo"}
        assert kernel.in_namespace(red, there) == {"lo", "beside"}


def seen_to_go(name: str) -> Stack:
    """What is seen to go with a link of this name."""
    with blocking.open_route() as route:
        link = route.request(nls.link(name))
    terms = own_terms(30, "a look")
    return result(carried_out(stack_of(link), Hands(None, ctrl), terms), Waiter())


@on_every_surface
async def test_links_are_what_ip_says(surface: Surface) -> None:
    """Names, indexes, kinds and peers."""
    with Links() as links:
        links.make("left", "right")
    async with surface.open_route() as route:
        rows = {row.name: row async for row in route.dump(nls.links())}
        assert {row.index: row.name for row in rows.values()} == dict(socket.if_nameindex())
        assert rows["left"].kind == rows["right"].kind == "veth"
        assert rows["left"].peer == rows["right"].index
        assert rows["lo"].is_up
        assert not rows["left"].is_up
        await route.request(nls.set_link("left", is_up=True, mtu=1400))
        left = await route.request(nls.link("left"))
        assert (left.is_up, left.mtu) == (True, 1400)
        by_index = await route.request(nls.link(left.index))
        # the operational state follows a little later (net/core/link_watch.c)
        assert attrs.evolve(by_index, operational_state=left.operational_state) == left


@on_every_surface
async def test_an_order_is_requested_and_a_table_dumped(surface: Surface) -> None:
    """The other way round nothing is sent."""
    async with surface.open_route() as route:
        with pytest.raises(nls.LocalProtocolError, match="link lo is an order; give it to request"):
            route.dump(nls.set_link("lo", is_up=False))
        with pytest.raises(nls.LocalProtocolError, match="links is a table; give it to dump"):
            await route.request(nls.links())
        with pytest.raises(nls.LocalProtocolError, match=r"speaks 0; link\(\), links\(\) and set"):
            route.dump(nls.tcp_sockets())
        assert (await route.request(nls.link("lo"))).is_up
