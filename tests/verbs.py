"""Every verb that may wait, on each surface, by name: what the tables of tests are held against.

A verb that is new stands in the registry of the library, is missed here by ``test_locks``, and then
in the tables of faults and of cancellation.
"""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import attrs

import netlink_safe as nls
from netlink_safe.collectors.prometheus import TcpStatCollector
from netlink_safe.collectors.tcp_fold import StateFold

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from surfaces import Surface

NLCTRL: Final = nls.generic_request("nlctrl", 3, {2: "nlctrl"})
LISTENERS: Final = nls.tcp_sockets(states=["listen"], families="inet")
NOBODY: Final = nls.tcp_socket(("127.0.0.1", 9))


@attrs.frozen
class Opened:
    """One object of each kind; ``timeout`` is given to each verb, in seconds."""

    surface: Surface
    timeout: float
    diag: Any
    events: Any
    user: Any
    box: Any
    genl: Any
    heard: Any
    family: Any
    #: Each verb that this surface has, ready to be called.
    verbs: dict[str, Callable[[], Any]] = attrs.field(init=False)

    @verbs.default
    def _ready(self) -> dict[str, Callable[[], Any]]:
        return {name: partial(verb, self) for name, verb in verbs_of(self.surface).items()}


def verbs_of(surface: Surface) -> dict[str, Callable[[Opened], Awaitable[Any]]]:
    """The verbs of a surface."""
    return {**VERBS, **BLOCKING_ONLY} if surface.name == "blocking" else VERBS


@contextlib.asynccontextmanager
async def opened(surface: Surface, timeout: float = 10) -> AsyncIterator[Opened]:
    async with (
        surface.open_sock_diag() as diag,
        surface.open_uevents(subsystem="nothing", idle_timeout=timeout) as events,
        surface.open_user() as user,
        surface.outbox() as box,
        surface.open_generic() as genl,
        genl.subscribe("nlctrl", idle_timeout=timeout) as heard,
    ):
        family = await genl.family("nlctrl")
        yield Opened(surface, timeout, diag, events, user, box, genl, heard, family)


async def _taken(rows: Any) -> None:
    async for _ in rows:
        pass


async def _entered(opening: Any) -> None:
    async with opening:
        pass


async def _scrape(it: Opened) -> None:
    TcpStatCollector(timeout=it.timeout).collect()


async def _next_message(it: Opened) -> None:
    """An iteration over messages waits for ever, so that one is sent before."""
    it.user.send_nowait(b"x", port_id=it.user.port_id)
    await it.user.__aiter__().__anext__()


VERBS: Final[dict[str, Callable[[Opened], Awaitable[Any]]]] = {
    "dump": lambda it: _taken(it.diag.dump(LISTENERS, timeout=it.timeout)),
    "request": lambda it: it.diag.request(NOBODY, timeout=it.timeout),
    "fold": lambda it: it.diag.fold(LISTENERS, StateFold, timeout=it.timeout),
    "destroy": lambda it: it.diag.destroy(LISTENERS, timeout=it.timeout),
    "subscribe_destroyed": lambda it: _entered(it.diag.subscribe_destroyed(timeout=it.timeout)),
    "read_proc_net": lambda it: it.diag.read_proc_net("snmp", timeout=it.timeout),
    "open_sock_diag": lambda it: _entered(it.surface.open_sock_diag(timeout=it.timeout)),
    "open_uevents": lambda it: _entered(it.surface.open_uevents(timeout=it.timeout)),
    "open_user": lambda it: _entered(it.surface.open_user(timeout=it.timeout)),
    "collect": lambda it: it.surface.collect(timeout=it.timeout),
    "uevents.receive": lambda it: it.events.receive(timeout=it.timeout),
    "uevents.next": lambda it: it.events.__aiter__().__anext__(),
    "user.next": _next_message,
    "user.receive": lambda it: it.user.receive(timeout=it.timeout),
    "user.send": lambda it: it.user.send(b"x", port_id=it.user.port_id, timeout=it.timeout),
    "Outbox": lambda it: _entered(it.surface.outbox()),
    "outbox.flush": lambda it: it.box.flush(it.timeout),
    "outbox.close": lambda it: it.box.aclose(it.timeout),
    "open_generic": lambda it: _entered(it.surface.open_generic(timeout=it.timeout)),
    "family": lambda it: it.genl.family("nlctrl", timeout=it.timeout),
    "families": lambda it: it.genl.families(timeout=it.timeout),
    "policy": lambda it: it.genl.policy("nlctrl", 3, timeout=it.timeout),
    "policies": lambda it: it.genl.policies("nlctrl", timeout=it.timeout),
    "Family.policy": lambda it: it.family.policy(3, timeout=it.timeout),
    "genl.request": lambda it: it.genl.request(NLCTRL, timeout=it.timeout),
    "genl.dump": lambda it: _taken(it.genl.dump(NLCTRL, timeout=it.timeout)),
    "subscribe": lambda it: _entered(it.genl.subscribe("nlctrl", timeout=it.timeout)),
    "heard.receive": lambda it: it.heard.receive(timeout=it.timeout),
    "heard.next": lambda it: it.heard.__aiter__().__anext__(),
    "open_route": lambda it: _entered(it.surface.open_route(timeout=it.timeout)),
    "examine": lambda it: it.surface.examine(interval=0.001, timeout=max(it.timeout, 0.01)),
    "delete_link": lambda it: it.surface.delete_link("nothing", timeout=it.timeout),
}
BLOCKING_ONLY: Final[dict[str, Callable[[Opened], Awaitable[Any]]]] = {
    "TcpStatCollector.collect": _scrape,
}
