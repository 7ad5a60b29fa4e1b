"""Who listens to uevents here: this library, a reference that loses nothing, and a common copy."""

from __future__ import annotations

import contextlib
import select
import socket
import time
from typing import TYPE_CHECKING, Any, Final, Generic, Self, TypeVar

import anyio.from_thread
import attrs
import pytest

import netlink_safe
from netlink_safe import blocking

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from netlink_safe.families.uevents import UeventItem
    from netlink_safe.protocol.figures import UeventStatistics

NETLINK_KOBJECT_UEVENT: Final = 15
SO_RCVBUFFORCE: Final = 33
KERNEL_GROUP: Final = 1
HEARD_WITHIN: Final = 60.0

Item = TypeVar("Item")


class Heard(Generic[Item]):
    """What a listener hears, waited for with a bound."""

    def __init__(self, receive: Callable[[float], Item]) -> None:
        self._receive = receive

    def until(self, is_last: Callable[[Item], bool]) -> list[Item]:
        """All that is heard up to an item, which comes last."""
        deadline = time.monotonic() + HEARD_WITHIN
        items = []
        while True:
            try:
                items.append(self._receive(max(0.0, deadline - time.monotonic())))
            except TimeoutError as error:
                error.add_note(f"heard until then: {items}")
                raise
            if is_last(items[-1]):
                return items


class Reference:
    """A plain socket of the kernel's group, with room for more than any test sends."""

    def __init__(self) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT
        )
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 * 1024 * 1024)
        self._socket.bind((0, KERNEL_GROUP))
        self.until = Heard(self._receive).until

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def _receive(self, timeout: float) -> Mapping[str, str]:
        if not select.select([self._socket], [], [], timeout)[0]:
            raise TimeoutError("the kernel did not say what was waited for")
        return properties(self._socket.recv(65536))


class CopiedListener:
    """What monitoring agents have copied from each other, with its buffer of 1024 bytes."""

    def __init__(self) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT
        )
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        self._socket.bind((0, KERNEL_GROUP))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def receive(self) -> Mapping[str, str]:
        """One event; raises whatever recv does."""
        return properties(self._socket.recv(65536))

    def rest(self) -> list[Mapping[str, str]]:
        """All that is still queued."""
        events = []
        with contextlib.suppress(BlockingIOError):
            while True:
                events.append(self.receive())
        return events


def properties(datagram: bytes) -> Mapping[str, str]:
    """The kernel's text, by the names in it."""
    return dict(line.split("=", 1) for line in datagram.decode().split("\0")[1:-1])


class Listener(Heard["UeventItem"]):
    """This library's, on any surface, as it looks from a test that is no coroutine.

    It takes nothing off its socket but while ``until`` runs: a consumer as slow as can be.
    """

    def __init__(
        self,
        receive: Callable[[float], UeventItem],
        statistics: Callable[[], UeventStatistics],
    ) -> None:
        super().__init__(receive)
        self.statistics = statistics


@attrs.frozen
class Surface:
    """Where the library listens."""

    name: str

    @contextlib.contextmanager
    def listen(self, **options: Any) -> Iterator[Listener]:
        """A listener, on the surface of that name."""
        if self.name == "blocking":
            with blocking.open_uevents(**options) as stream:
                yield Listener(stream.receive, stream.statistics)
            return
        with (
            anyio.from_thread.start_blocking_portal(self.name) as portal,
            portal.wrap_async_context_manager(netlink_safe.open_uevents(**options)) as stream,
        ):
            yield Listener(lambda timeout: portal.call(stream.receive, timeout), stream.statistics)


on_every_surface: Final = pytest.mark.parametrize(
    "surface", [Surface("blocking"), Surface("trio"), Surface("asyncio")], ids=lambda one: one.name
)
