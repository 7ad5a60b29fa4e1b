"""What whoever gives up on a deletion, or may not make it, is told."""

from __future__ import annotations

import os
import signal
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import attrs
import pytest

import kernel
import netlink_safe as nls
from links import Links, there
from netlink_safe import blocking
from netlink_safe.aio import waiting
from netlink_safe.blocking.waiting import Waiter, result
from netlink_safe.families import ctrl
from netlink_safe.families.link import (
    IFNAME,
    MTU,
)
from netlink_safe.families.link_guard import CANNOT_LOOK
from netlink_safe.protocol.plans import Done, Pause
from netlink_safe.transport.opening import own_terms
from netlink_safe.transport.plans import Hands, carried_out
from netlink_safe.transport.workers import offload
from netlink_safe.wire.attributes import build_attribute, build_nested, build_text
from surfaces import ASYNC_SURFACES, SURFACES, Surface, on_every_surface, on_surfaces

if TYPE_CHECKING:
    from collections.abc import Callable

    from netlink_safe.protocol.plans import Plan
    from netlink_safe.protocol.request import Request


def test_a_namespace_that_may_not_be_entered_is_one_that_cannot_be_looked_into() -> None:
    """Who has rights here alone is told so of a peer there; force goes on, and so does all else."""
    for surface in SURFACES:
        told = delete_as_a_lodger(surface)
        assert told == [f"left was not deleted: {CANNOT_LOOK}", "deleted", "deleted"], surface.name


def delete_as_a_lodger(surface: Surface) -> list[str]:
    """What is told to root of a user namespace whose veth has its other end outside.

    First without force, then with it; and then of a pair that is all inside.
    """
    ready, entered = os.pipe()
    go, given = os.pipe()

    def child() -> str:
        kernel.unshare(kernel.CLONE_NEWUSER | kernel.CLONE_NEWNET)
        os.write(entered, str(os.getpid()).encode())
        os.read(go, 1)
        told = [kernel.in_thread(partial(attempt, surface, force=force)) for force in (False, True)]
        with Links() as links:
            links.make("left", "right")
        return "\n".join([*told, kernel.in_thread(partial(attempt, surface))])

    def lodge() -> None:
        with Links() as links:
            links.make("left", "right")
            links.move("left", f"/proc/{os.read(ready, 32).decode()}/ns/net")
            links.move("right", "/run/netns/blue")
        os.write(given, b"!")

    with kernel.named_namespace("blue") as blue:
        landlord = threading.Thread(target=lodge)
        landlord.start()
        told = kernel.in_child(child)
        landlord.join()
        assert kernel.in_namespace(blue, there) == {"lo"}
    for descriptor in (ready, entered, go, given):
        os.close(descriptor)
    return told.split("\n")


def attempt(surface: Surface, **options: bool) -> str:
    """What comes of an attempt to delete a link."""
    try:
        anyio.run(partial(surface.delete_link, "left", **options), backend=surface.backend)
    except nls.LinkInUseError as error:
        return str(error)
    return "deleted"


@on_every_surface
async def test_nonsense_is_refused(surface: Surface) -> None:
    """A name that can be none, no time at all, a namespace that is not there."""
    for name in ("", "x" * 128, "\u00e9" * 64, "\ud800", None, "a\0b", 0, True):
        with pytest.raises(nls.LocalProtocolError, match="link="):
            await surface.delete_link(name)
    for is_up in ("no", 1):
        with pytest.raises(nls.LocalProtocolError, match="is_up="):
            nls.set_link("lo", is_up=is_up)  # type: ignore[arg-type]
    for number in ("x", 1 << 31, True):
        with pytest.raises(nls.LocalProtocolError, match="netnsid="):
            nls.link("lo", netnsid=number)  # type: ignore[arg-type]
    with pytest.raises(nls.LocalProtocolError, match="timeout="):
        await surface.delete_link("left", timeout=0)
    with pytest.raises(FileNotFoundError):
        await surface.delete_link("left", netns="nothing")


def interrupted(at: Callable[[], None]) -> Plan[None]:
    """A plan that is given up half way."""
    yield Done("left was set down")
    at()
    yield Pause(60)


def test_ctrl_c_is_told_what_was_done() -> None:
    """Nothing is undone, and the traceback says what there is to undo."""
    terms = own_terms(60, "a deletion")
    main = threading.get_ident()
    plan = interrupted(lambda: signal.pthread_kill(main, signal.SIGINT))
    with pytest.raises(KeyboardInterrupt) as ended:
        result(offload(carried_out(plan, Hands(None, ctrl), terms), terms), Waiter())
    assert ended.value.__notes__ == ["done before that: left was set down"]


@on_surfaces(ASYNC_SURFACES)
async def test_a_cancellation_is_told_what_was_done(surface: Surface) -> None:
    """Whoever catches it reads it in the notes."""
    del surface
    terms = own_terms(60, "a deletion")
    steps = offload(carried_out(interrupted(lambda: None), Hands(None, ctrl), terms), terms)
    notes: list[str] = []

    async def delete() -> None:
        try:
            await waiting.result(steps, waiting.Waiter())
        except anyio.get_cancelled_exc_class() as error:
            notes.extend(error.__notes__)
            raise

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(delete)
            while not terms.done:
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
    assert notes == ["done before that: left was set down"]


@pytest.mark.anywhere
def test_a_deadline_says_what_was_done_before_and_since() -> None:
    """The error tells what was done up to it, its note what was undone."""
    terms = own_terms(0.05, "a deletion")

    def plan() -> Plan[None]:
        yield Done("left was set down")
        try:
            yield Pause(60)
        except nls.NetlinkTimeout:
            yield Done("left was set up again")
            raise

    with pytest.raises(nls.NetlinkTimeout, match="done before that: left was set down") as late:
        result(carried_out(plan(), Hands(None, ctrl), terms), Waiter())
    assert late.value.__notes__ == ["done since: left was set up again"]


def test_without_rights_nothing_is_deleted() -> None:
    """EPERM is the kernel's, and the link is there."""
    with Links() as links:
        links.make("left", "right")

    def child() -> None:
        kernel.drop_all_rights()
        blocking.delete_link("left")

    told = kernel.in_child(child)
    assert told.startswith("KernelError: the kernel refused the deletion of the link left")
    assert "EPERM" in told
    assert {"left", "right"} <= there()


def raw(attributes: bytes) -> Request[None]:
    """An order to change a link, in bytes."""
    order = nls.set_link("left", is_up=False)
    return attrs.evolve(order, payload=order.payload + attributes)


#: What is asked, what the error must say, and the path that it must give.
async def asked(route: Any, request: Any) -> None:
    """Ask for a row, or for all."""
    if request.is_dump:
        assert [row async for row in route.dump(request)]
    else:
        await route.request(request)


WRONG: list[tuple[Any, str, tuple[int, ...], str | None]] = [
    (nls.set_link("left", mtu=20), "mtu less than device minimum", (), None),
    (nls.set_link("left", mtu=70000), "mtu greater than device maximum", (), None),
    (nls.links(4711), "Invalid target network namespace id", (), None),
    (raw(build_attribute(MTU, b"12")), "failed policy validation", (4,), "IFLA_MTU"),
    (raw(build_text(IFNAME, "x" * 16)), "failed policy validation", (3,), "IFLA_IFNAME"),
    (raw(build_attribute(13, b"12")), "failed policy validation", (13,), "13"),
    (
        raw(build_nested(18, build_text(1, "veth"), build_nested(2, build_attribute(1, b"12")))),
        "failed policy validation",
        (18, 2, 1),
        "18.2.1",
    ),
]


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize("number", range(len(WRONG)))
@on_every_surface
async def test_a_wrong_request_is_answered_with_what_is_wrong(
    surface: Surface, number: int
) -> None:
    """The kernel's message, and the path of the attribute that it means."""
    request, text, path, attribute = WRONG[number]
    async with surface.open_route() as route:
        with pytest.raises(nls.KernelError, match=text) as refused:
            await asked(route, request)
        assert (refused.value.path, refused.value.attribute) == (path, attribute)
        assert attribute is None or f"attribute {attribute}" in str(refused.value)
        assert (await route.request(nls.link("left"))).name == "left"
