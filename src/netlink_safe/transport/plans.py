"""Carrying a plan out: each wish is a question on a socket of its place, or a look at /proc.

May call ``transport``, ``protocol`` and ``errors``.
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING, Any, Final

from netlink_safe.errors import DumpInterrupted, NetlinkError, NetlinkTimeout
from netlink_safe.protocol.pauses import Pauses
from netlink_safe.protocol.plans import (
    HERE,
    Ask,
    AskFamily,
    Call,
    ClosedProcesses,
    Done,
    Leave,
    OwnersOf,
    OwnSockets,
    Pause,
    Place,
)
from netlink_safe.transport import families, steps
from netlink_safe.transport.buffers import default_request_buffer
from netlink_safe.transport.census import enter
from netlink_safe.transport.families import Families
from netlink_safe.transport.namespace import NAMED, THREAD, Namespace, NetworkNamespace
from netlink_safe.transport.owners import owners_of
from netlink_safe.transport.pool import SocketPool
from netlink_safe.transport.terms import Wait
from netlink_safe.wire.constants import NETLINK_GENERIC

if TYPE_CHECKING:
    from netlink_safe.protocol.generic import Controller
    from netlink_safe.protocol.plans import Plan, Result, Wish
    from netlink_safe.protocol.request import Request
    from netlink_safe.transport.census import Kind
    from netlink_safe.transport.socket import Memory
    from netlink_safe.transport.terms import Steps, Terms

_OPENING: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
#: There may be a namespace, and it was not found for want of something else.
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})

_CLOSED: Final = frozenset({errno.EACCES, errno.EPERM})


class _Descriptor:
    """A descriptor that is somebody else's to close."""

    def __init__(self, number: int) -> None:
        self._number = number

    def fileno(self) -> int:
        return self._number


class Hands:
    """What a plan is carried out with: sockets in each place, made when needed."""

    def __init__(self, netns: NetworkNamespace, controller: Controller) -> None:
        self._here = Namespace(netns)  # now: unless it is named, it is the calling thread's
        self._controller = controller
        self._pools: dict[tuple[Place, int], SocketPool] = {}
        self._families: dict[Place, Families] = {}
        self._descriptors: dict[tuple[int, int], Place] = {}
        self._closed_processes = 0

    def grant(self, wish: Wish, terms: Terms) -> Steps[Any, Any]:
        """What a wish comes to.  Raises NetlinkError, OSError."""
        if isinstance(wish, Ask):
            pool = self._pool(wish.place, wish.request.protocol)
            return (yield from _undisturbed(pool, wish.request, terms))
        if isinstance(wish, AskFamily):
            known = self._families.get(wish.place)
            if known is None:
                known = Families(self._pool(wish.place, NETLINK_GENERIC), self._controller)
                self._families[wish.place] = known
            asked = families.ask(known, wish.request, terms, wish.is_dump)
            return (yield from _gathered(asked))
        if isinstance(wish, OwnersOf):
            namespace = self._pool(wish.place, NETLINK_GENERIC).namespace
            return owners_of(namespace, wish.port_ids)
        if isinstance(wish, ClosedProcesses):
            return self._closed_processes
        if isinstance(wish, OwnSockets):
            return {inode for pool in self._pools.values() for inode in pool.inodes()}
        if isinstance(wish, Leave):
            self._leave(wish.place)
            return None
        if isinstance(wish, Call):
            if terms.deadline.remaining() <= 0:
                raise terms.timed_out(terms.doing)
            return wish.function()
        if isinstance(wish, Pause):
            yield Wait(None, min(wish.seconds, terms.deadline.remaining()))
            if terms.deadline.remaining() <= 0:
                raise terms.timed_out(terms.doing)
            return None
        if isinstance(wish, Done):
            terms.done.append(wish.what)
            return None
        return self._places()

    def look(self) -> list[tuple[int, Memory]]:
        """Its sockets are entered by themselves."""
        return []

    def close(self) -> None:
        """Give everything back."""
        for pool in self._pools.values():
            pool.close()
        self._here.close()
        for place in self._descriptors.values():
            if place.descriptor is not None:
                os.close(place.descriptor)
        self._descriptors.clear()

    def _leave(self, place: Place) -> None:
        """Close the sockets there; those where one is stay, for they share its namespace."""
        if place.descriptor is not None:
            for key in [key for key in self._pools if key[0] == place]:
                self._pools.pop(key).close()

    def _pool(self, place: Place, protocol: int) -> SocketPool:
        pool = self._pools.get((place, protocol))
        if pool is None:
            number = place.descriptor
            namespace = self._here if number is None else Namespace(_Descriptor(number))
            pool = SocketPool(protocol, default_request_buffer(), namespace)
            self._pools[place, protocol] = pool
        return pool

    def _places(self) -> list[Place]:
        if not self._descriptors:
            with contextlib.suppress(FileNotFoundError):  # without /proc
                self._keep(None, self._here.run(lambda: os.open(f"{THREAD}/ns/net", _OPENING)))
                for label, path in _paths():
                    self._find(label, path)
        return list(self._descriptors.values()) or [HERE]

    def _find(self, label: str, path: str) -> None:
        try:
            self._keep(label, os.open(path, _OPENING))
        except OSError as error:  # it has ended, or may not be looked at
            if error.errno in _EXHAUSTED:
                raise
            self._closed_processes += error.errno in _CLOSED

    def _keep(self, label: str | None, number: int) -> None:
        """Keep a descriptor, unless there is one of the same namespace."""
        status = os.fstat(number)
        if any(device != status.st_dev for device, _ in self._descriptors):
            os.close(number)  # a file in /run/netns that nothing is mounted on
            return
        place = Place(label, number)
        if self._descriptors.setdefault((status.st_dev, status.st_ino), place) is not place:
            os.close(number)


def carried_out(
    plan: Plan[Result], hands: Hands, terms: Terms, kind: Kind = "route"
) -> Steps[Any, Result]:
    """Carry a plan out, and return its result; it counts as one of that kind."""
    enter(kind, hands, terms.tally)  # its sockets count with it, whatever they speak
    answer: Any = None
    error: Exception | None = None
    late: tuple[Exception | None, int] = (None, 0)  # NetlinkTimeout, and how much it tells itself
    try:
        while True:
            try:
                wish = plan.send(answer) if error is None else plan.throw(error)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]  # StopIteration is not generic
            except (NetlinkError, OSError) as failed:
                terms.tell(failed, late[1] if failed is late[0] else 0)
                raise
            answer = error = None
            try:
                answer = yield from hands.grant(wish, terms)
            except (NetlinkError, OSError) as refused:
                error = refused
                if isinstance(refused, NetlinkTimeout):
                    late = (refused, len(terms.done))
    finally:
        plan.close()
        hands.close()


def _undisturbed(pool: SocketPool, request: Request[Any], terms: Terms) -> Steps[Any, list[Any]]:
    """All rows, asked for until nobody changes the table meanwhile: a plan may not miss one.

    The namespaces of others may be as busy as they like.
    """
    pauses = Pauses()
    while True:
        try:
            return (yield from steps.whole(pool, request, terms))
        except DumpInterrupted:
            if terms.deadline.remaining() <= 0:
                raise
        yield Wait(None, min(pauses.take(), terms.deadline.remaining()))


def _paths() -> list[tuple[str, str]]:
    """Namespaces by name, and then those of processes: what to call them, and where they are."""
    paths: list[tuple[str, str]] = []
    with contextlib.suppress(OSError):
        paths += [(name, f"{NAMED}/{name}") for name in sorted(os.listdir(NAMED))]
    for pid in sorted(filter(str.isdigit, os.listdir("/proc")), key=int):
        path = f"/proc/{pid}/ns/net"
        paths.append((path, path))
    return paths


def _gathered(asked: Steps[Any, None]) -> Steps[Any, list[Any]]:
    """All rows that are handed out, at once."""
    rows: list[Any] = []
    try:
        for step in asked:
            if isinstance(step, Wait):
                yield step
            else:
                rows += step
                yield []
    finally:
        asked.close()
    return rows
