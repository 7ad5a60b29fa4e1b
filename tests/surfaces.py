"""The same test on trio, asyncio and blocking: one body, written async, run on each surface."""

from __future__ import annotations

import contextlib
import functools
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Concatenate, Final, Generic, ParamSpec, Self, TypeVar

import anyio
import attrs
import pytest

import netlink_safe
from netlink_safe import blocking, doctor
from netlink_safe.collectors import tcpstat

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from netlink_safe.protocol.request import Request

P = ParamSpec("P")
T = TypeVar("T")


class Awaited(Generic[T]):
    """A blocking dump, seen as an async one."""

    def __init__(self, dump: blocking.Dump[T]) -> None:
        self._dump = dump

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        try:
            return next(self._dump)
        except StopIteration:
            raise StopAsyncIteration from None

    async def aclose(self) -> None:
        self._dump.close()


class AwaitedSockDiag:
    """A blocking SockDiag, seen as an async one."""

    def __init__(self, diag: blocking.SockDiag | blocking.RequestSocket) -> None:
        self._diag: Any = diag
        self._pool = diag._pool

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._diag.close()

    async def aclose(self) -> None:
        self._diag.close()

    def dump(self, *arguments: Any, **options: Any) -> Awaited[Any]:
        return Awaited(self._diag.dump(*arguments, **options))

    async def request(self, request: Request[Any], **options: Any) -> Any:
        return self._diag.request(request, **options)

    async def fold(self, *arguments: Any, **options: Any) -> Any:
        return self._diag.fold(*arguments, **options)

    def subscribe_destroyed(self, *arguments: Any, **options: Any) -> AwaitedUevents:
        return AwaitedUevents(partial(self._diag.subscribe_destroyed, *arguments, **options))

    async def destroy(self, *arguments: Any, **options: Any) -> Any:
        return self._diag.destroy(*arguments, **options)

    async def read_proc_net(self, *names: str, **options: Any) -> Any:
        return self._diag.read_proc_net(*names, **options)

    def statistics(self) -> Any:
        return self._diag.statistics()


class AwaitedFamily:
    """A blocking Family, seen as an async one."""

    def __init__(self, family: blocking.Family) -> None:
        self._family = family

    def __getattr__(self, name: str) -> Any:
        return getattr(self._family, name)

    async def policy(self, *arguments: Any, **options: Any) -> Any:
        return self._family.policy(*arguments, **options)


class AwaitedGeneric(AwaitedSockDiag):
    """A blocking GenericNetlink, seen as an async one."""

    def __init__(self, generic: blocking.GenericNetlink) -> None:
        self._diag = generic
        self._pool = generic._pool
        self._families = generic._families

    async def family(self, *arguments: Any, **options: Any) -> AwaitedFamily:
        return AwaitedFamily(self._diag.family(*arguments, **options))

    async def families(self, **options: Any) -> list[AwaitedFamily]:
        return list(map(AwaitedFamily, self._diag.families(**options)))

    async def policy(self, *arguments: Any, **options: Any) -> Any:
        return self._diag.policy(*arguments, **options)

    async def policies(self, *arguments: Any, **options: Any) -> Any:
        return self._diag.policies(*arguments, **options)

    def subscribe(self, *arguments: Any, **options: Any) -> AwaitedUevents:
        return AwaitedUevents(partial(self._diag.subscribe, *arguments, **options))


class AwaitedUevents:
    """A blocking Uevents, seen as an async one."""

    def __init__(self, opened: Callable[[], Any]) -> None:
        self._open = opened

    async def __aenter__(self) -> Self:
        self._events = self._open()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._events.close()

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        return next(self._events)

    async def receive(self, *arguments: Any, **options: Any) -> Any:
        return self._events.receive(*arguments, **options)

    def statistics(self) -> Any:
        return self._events.statistics()

    async def aclose(self) -> None:
        self._events.close()


class AwaitedUser(AwaitedUevents):
    """A blocking User, seen as an async one."""

    @property
    def port_id(self) -> Any:
        return self._events.port_id

    def send_nowait(self, *arguments: Any, **options: Any) -> None:
        self._events.send_nowait(*arguments, **options)

    def multicast_nowait(self, *arguments: Any, **options: Any) -> None:
        self._events.multicast_nowait(*arguments, **options)

    async def send(self, *arguments: Any, **options: Any) -> None:
        self._events.send(*arguments, **options)


class AwaitedOutbox:
    """A blocking Outbox, seen as an async one that is entered when it is made."""

    def __init__(self, *arguments: Any, user: Any = None, **options: Any) -> None:
        self._outbox = blocking.Outbox(*arguments, user=getattr(user, "_events", user), **options)
        self._backlog = self._outbox._backlog
        self._pump = self._outbox._pump
        self.post = self._outbox.post
        self.statistics = self._outbox.statistics

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._outbox.__exit__()

    async def flush(self, *arguments: Any, **options: Any) -> None:
        self._outbox.flush(*arguments, **options)

    async def aclose(self, *arguments: Any, **options: Any) -> None:
        self._outbox.close(*arguments, **options)


async def _delete_link_blocking(*arguments: Any, **options: Any) -> None:
    blocking.delete_link(*arguments, **options)


async def _collect_blocking(**options: Any) -> tcpstat.TcpStats:
    return tcpstat.collect_blocking(**options)


async def _examine_blocking(**options: Any) -> doctor.Report:
    return doctor.examine_blocking(**options)


@attrs.frozen
class Surface:
    """Where a test runs."""

    name: str
    backend: str
    open_sock_diag: Callable[..., Any]
    open_uevents: Callable[..., Any]
    open_user: Callable[..., Any]
    outbox: Callable[..., Any]
    open_generic: Callable[..., Any]
    open_route: Callable[..., Any]
    delete_link: Callable[..., Awaitable[None]]
    collect: Callable[..., Awaitable[tcpstat.TcpStats]]
    examine: Callable[..., Awaitable[doctor.Report]]


SURFACES: Final = (
    Surface(
        "trio",
        "trio",
        netlink_safe.open_sock_diag,
        netlink_safe.open_uevents,
        netlink_safe.open_user,
        netlink_safe.Outbox,
        netlink_safe.open_generic,
        netlink_safe.open_route,
        netlink_safe.delete_link,
        tcpstat.collect,
        doctor.examine,
    ),
    Surface(
        "asyncio",
        "asyncio",
        netlink_safe.open_sock_diag,
        netlink_safe.open_uevents,
        netlink_safe.open_user,
        netlink_safe.Outbox,
        netlink_safe.open_generic,
        netlink_safe.open_route,
        netlink_safe.delete_link,
        tcpstat.collect,
        doctor.examine,
    ),
    Surface(
        "blocking",
        "asyncio",
        lambda **options: AwaitedSockDiag(blocking.open_sock_diag(**options)),
        lambda **options: AwaitedUevents(partial(blocking.open_uevents, **options)),
        lambda **options: AwaitedUser(partial(blocking.open_user, **options)),
        AwaitedOutbox,
        lambda **options: AwaitedGeneric(blocking.open_generic(**options)),
        lambda **options: AwaitedSockDiag(blocking.open_route(**options)),
        _delete_link_blocking,
        _collect_blocking,
        _examine_blocking,
    ),
)
ASYNC_SURFACES: Final = SURFACES[:2]


def on_surfaces(
    surfaces: tuple[Surface, ...] = SURFACES,
) -> Callable[[Callable[Concatenate[Surface, P], Awaitable[None]]], Callable[..., None]]:
    """Run an async test once on each surface; its first parameter is ``surface``."""

    def decorate(test: Callable[Concatenate[Surface, P], Awaitable[None]]) -> Callable[..., None]:
        @pytest.mark.parametrize("surface", surfaces, ids=lambda surface: surface.name)
        @functools.wraps(test)
        def run(surface: Surface, *arguments: P.args, **options: P.kwargs) -> None:
            anyio.run(
                functools.partial(test, surface, *arguments, **options), backend=surface.backend
            )

        return run

    return decorate


on_every_surface = on_surfaces()


@contextlib.contextmanager
def taking_at_most(seconds: float) -> Iterator[None]:
    """The body ends within so many seconds: a bound far above what it needs, not a timing."""
    start = time.monotonic()
    yield
    assert time.monotonic() - start < seconds
