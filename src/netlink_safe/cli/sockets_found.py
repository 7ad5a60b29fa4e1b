"""Which kinds of sockets there are, how each is asked for, and what a look at them comes to.

May call ``blocking``, ``families``, ``protocol``, ``transport`` and ``errors``.
"""

from __future__ import annotations

import contextlib
import socket
import time
from typing import TYPE_CHECKING, Any, Final

import attrs

from netlink_safe.blocking.sock_diag import SockDiag, open_sock_diag
from netlink_safe.errors import NotSupported
from netlink_safe.families.mptcp import mptcp_sockets
from netlink_safe.families.netlink import netlink_sockets
from netlink_safe.families.packet import packet_sockets
from netlink_safe.families.raw import raw_sockets
from netlink_safe.families.sctp import sctp_sockets
from netlink_safe.families.tcp import tcp_sockets
from netlink_safe.families.udp import udp_sockets, udplite_sockets
from netlink_safe.families.unix import unix_sockets
from netlink_safe.families.vsock import vsock_sockets
from netlink_safe.protocol.deadline import Deadline
from netlink_safe.transport import processes
from netlink_safe.transport.namespace import Namespace

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence

    from netlink_safe.families.filters import Filter
    from netlink_safe.transport.namespace import NetworkNamespace
    from netlink_safe.transport.opening import Requests


@attrs.frozen(slots=True)
class Asked:
    """What is asked of every kind, as far as it has it."""

    kinds: tuple[str, ...]
    states: tuple[str, ...]
    families: tuple[str, ...]
    where: Filter | None
    with_info: bool
    with_processes: bool
    netns: NetworkNamespace
    timeout: float


@attrs.frozen(slots=True)
class Kind:
    """A kind of socket; ``short`` is its letter in ``ss``, if it has one.

    ``takes_filter`` says that the kernel runs one for it; ``has_states`` and ``has_families`` that
    it has any.
    """

    request: Callable[[Asked], Requests[Any]]
    short: str | None = None
    takes_filter: bool = False
    has_states: bool = True
    has_families: bool = False


def _inet(builder: Callable[..., Requests[Any]], *extensions: str) -> Callable[..., Requests[Any]]:
    def request(asked: Asked) -> Requests[Any]:
        return builder(
            states=asked.states or None,
            families=asked.families or None,
            extensions=extensions if asked.with_info else (),
            where=asked.where,
        )

    return request


def _sctp(asked: Asked) -> Requests[Any]:
    extensions = ("info", "socket_memory", "congestion") if asked.with_info else ()
    return sctp_sockets(families=asked.families or None, extensions=extensions)


KINDS: Final = {
    "tcp": Kind(
        _inet(tcp_sockets, "info", "socket_memory", "congestion"),
        "t",
        takes_filter=True,
        has_families=True,
    ),
    "udp": Kind(_inet(udp_sockets, "socket_memory"), "u", takes_filter=True, has_families=True),
    "udplite": Kind(_inet(udplite_sockets, "socket_memory"), takes_filter=True, has_families=True),
    "raw": Kind(_inet(raw_sockets, "socket_memory"), "w", takes_filter=True, has_families=True),
    "mptcp": Kind(
        _inet(mptcp_sockets, "info", "socket_memory"), "M", takes_filter=True, has_families=True
    ),
    "sctp": Kind(_sctp, "S", has_families=True),
    "unix": Kind(lambda asked: unix_sockets(asked.states or None), "x"),
    "netlink": Kind(lambda _: netlink_sockets()),
    "packet": Kind(lambda _: packet_sockets(), "0", has_states=False),
    "vsock": Kind(lambda asked: vsock_sockets(asked.states or None)),
}


@attrs.frozen(slots=True)
class Shown:
    """One socket: its kind, its row, and who holds it, None where that was not asked."""

    kind: str
    row: Any
    processes: tuple[tuple[int, str], ...] | None = None

    def as_dict(self) -> dict[str, Any]:
        """The same as plain data."""
        plain = {"kind": self.kind, **self.row.as_dict()}
        if self.processes is not None:
            plain["processes"] = [
                {"pid": pid, "command": command} for pid, command in self.processes
            ]
        return plain


@attrs.frozen(slots=True)
class Found:
    """What a look comes to; ``unseen`` are processes whose sockets may not be looked at."""

    taken_at: float
    sockets: tuple[Shown, ...]
    unseen: int = 0


def identity(one: Shown) -> Hashable:
    """What makes a socket of two looks the same; an SCTP association has its endpoint's cookie."""
    return one.kind, one.row.id if one.kind == "sctp" else one.row.cookie


def look(asked: Asked) -> Found:
    """All sockets that are asked for, under one deadline.

    Without ``kinds`` it is all kinds, less those that this kernel lacks.
    Raises what ``dump`` raises.
    """
    taken_at, deadline = time.time(), Deadline(asked.timeout)
    found: list[Shown] = []
    with open_sock_diag(timeout=asked.timeout, netns=asked.netns) as diag:
        for name in asked.kinds or _kinds_for(asked):
            try:
                rows = list(_rows(diag, KINDS[name], asked, deadline))
                own = processes.own() if name == "netlink" else frozenset()  # we ask by one
                found += (Shown(name, row) for row in rows if row.inode not in own)
            except NotSupported:
                if asked.kinds:
                    raise
    if not asked.with_processes:
        return Found(taken_at, tuple(found))
    return _with_processes(taken_at, found, deadline)


def _kinds_for(asked: Asked) -> Iterator[str]:
    """The kinds that a filter, a family or a state can be asked of."""
    for name, kind in KINDS.items():
        if asked.where is not None and not kind.takes_filter:
            continue
        if (asked.families and not kind.has_families) or (asked.states and not kind.has_states):
            continue
        yield name


def _rows(diag: SockDiag, kind: Kind, asked: Asked, deadline: Deadline) -> Iterator[Any]:
    """The rows, in the states that are asked for: some kinds are asked for all."""
    for row in diag.dump(
        kind.request(asked), timeout=deadline, when_interrupted="accept", distinct=True
    ):
        if not asked.states or str(row.state).lower() in asked.states:
            yield row


def _with_processes(taken_at: float, found: Sequence[Shown], deadline: Deadline) -> Found:
    held = processes.holders({one.row.inode for one in found} - {0}, deadline)
    commands: dict[int, str] = {}
    for pids in held.pids.values():
        for pid in pids:
            if pid not in commands:
                commands[pid] = processes.command(pid)
    shown = tuple(
        attrs.evolve(one, processes=_holders(one.row.inode, held.pids, commands)) for one in found
    )
    without = any(_is_held(one.row) and not one.processes for one in shown)
    return Found(taken_at, shown, held.unseen if without else 0)


def _is_held(row: Any) -> bool:
    """Whether some process must have it: neither the kernel's own, nor the remains of one."""
    return row.inode != 0 and not getattr(row, "is_kernel", False)


def _holders(
    inode: int, pids: Mapping[int, tuple[int, ...]], commands: Mapping[int, str]
) -> tuple[tuple[int, str], ...]:
    return tuple((pid, commands[pid]) for pid in pids.get(inode, ()))


def interface_names(found: Collection[Shown], netns: NetworkNamespace) -> dict[int, str]:
    """What the interfaces are called that sockets are bound to; none where that is not to be had.

    Looked up one by one, in the namespace: for a dump of links the kernel takes rtnl_lock, which
    others may hold for longer than the deadline.
    """
    indices = {getattr(one.row, "interface", 0) for one in found} - {0}
    if not indices:
        return {}
    namespace = Namespace(netns)
    try:
        return namespace.run(lambda: _names_of(indices))
    except OSError:  # the indices will do
        return {}
    finally:
        namespace.close()


def _names_of(indices: Collection[int]) -> dict[int, str]:
    names = {}
    for index in indices:
        with contextlib.suppress(OSError):  # it has gone
            names[index] = socket.if_indextoname(index)
    return names
