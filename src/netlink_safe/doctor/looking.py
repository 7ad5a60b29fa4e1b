"""How is looked: at the sockets of every network namespace several times, and at who holds them.

::

    sockets    of each namespace, by sock_diag
    holders    one walk over /proc
    threads    of the holders
    pause, sockets      again and again
    threads    again: what has not moved meanwhile is stuck
    ports      of Open vSwitch whose other end is elsewhere
    settings   of the kernel

A socket that is nobody's by then, and gone when it is looked for once more, was closed meanwhile.
It is a plan: whoever carries it out waits, and keeps the deadline.

May call ``doctor.observation``, ``doctor.threads``, ``transport.processes``, ``families``,
``protocol`` and ``errors``.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

from netlink_safe.doctor import system_calls, threads
from netlink_safe.doctor.observation import LOOKS, Observation, SeenPort, SeenSocket
from netlink_safe.errors import KernelError
from netlink_safe.families import link as links
from netlink_safe.families.netlink import NetlinkProtocol, NetlinkSocket, netlink_sockets
from netlink_safe.protocol.plans import (
    HERE,
    Ask,
    Call,
    ClosedProcesses,
    Leave,
    OwnSockets,
    Pause,
    Place,
    Places,
)
from netlink_safe.transport import processes

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from netlink_safe.families.link import Link
    from netlink_safe.protocol.plans import Plan
    from netlink_safe.transport.processes import Thread

SETTINGS: Final = ("net/core/rmem_max", "net/core/rmem_default")
_OPENVSWITCH: Final = "openvswitch"

#: By inode: the row, and the name of its namespace.
_Table: TypeAlias = "dict[int, tuple[NetlinkSocket, str | None]]"


def here() -> Plan[Sequence[Place]]:
    """The network namespace of the plan only."""
    return [HERE]
    yield  # never reached: it makes this a generator


def everywhere() -> Plan[Sequence[Place]]:
    """Every network namespace that can be found."""
    places: Sequence[Place] = yield Places()
    return places


def observation(seconds: float, where: Plan[Sequence[Place]]) -> Plan[Observation]:
    """Look several times in so many seconds."""
    places, closed = yield from _open_to_us((yield from where))
    closed_processes: int = yield ClosedProcesses()
    tables = [(yield from _sockets(places))]
    held = yield Call(partial(processes.holders, tables[0]))
    pids = sorted({pid for them in held.pids.values() for pid in them})
    threads_before: dict[int, list[Thread]] = yield Call(partial(threads.look, pids))
    for _ in range(LOOKS - 1):
        yield Pause(seconds / (LOOKS - 1))
        tables.append((yield from _sockets(places)))
    now = tables[-1]
    threads_now = yield Call(partial(threads.look, pids))
    held_by = {**held.pids, **(yield Call(partial(processes.holders, now.keys() - tables[0]))).pids}
    if ownerless := now.keys() - held_by.keys():
        closed_meanwhile = ownerless - (yield from _sockets(places)).keys()
        now = {inode: now[inode] for inode in now.keys() - closed_meanwhile}
    every_pid = {pid for them in held_by.values() for pid in them}
    commands = yield Call(lambda: {pid: processes.command(pid) for pid in every_pid})
    seen_threads = yield Call(
        partial(threads.seen, threads_before, threads_now, commands, frozenset(now))
    )
    ports = yield from _ports(places)
    settings = yield Call(_settings)
    sockets = {
        inode: _seen(row, label, tables, held_by.get(inode, ()), commands)
        for inode, (row, label) in now.items()
    }
    return Observation(
        by_inode=sockets,
        threads=seen_threads,
        ports=ports,
        settings=settings,
        unseen=_unseen(sockets.values(), closed, closed_processes, held.unseen, threads_now),
        seconds=seconds,
    )


def _seen(
    row: NetlinkSocket,
    label: str | None,
    tables: Sequence[_Table],
    pids: tuple[int, ...],
    commands: Mapping[int, str],
) -> SeenSocket:
    at_each = (table[row.inode][0] for table in tables if row.inode in table)
    looks = tuple(each for each in at_each if each.cookie == row.cookie)
    return SeenSocket(looks, label, pids, tuple(commands.get(pid, "") for pid in pids))


def _open_to_us(places: Sequence[Place]) -> Plan[tuple[Sequence[Place], int]]:
    """The places that can be looked into, and how many may not be.

    Of one that is asked for, and is the only one, the error is raised.
    """
    found, closed = [], 0
    for place in places:
        try:
            yield Ask(place, netlink_sockets(NetlinkProtocol.SOCK_DIAG)[0])
            yield Leave(place)
        except PermissionError:  # entering it takes CAP_SYS_ADMIN there
            if place.label is None:
                raise
            closed += 1
        else:
            found.append(place)
    return found, closed


def _sockets(places: Sequence[Place]) -> Plan[_Table]:
    """The sockets of processes in each place, but for those that we ask by."""
    found: _Table = {}
    for place in places:
        rows: list[NetlinkSocket] = []
        for request in netlink_sockets():
            rows += yield Ask(place, request)
        own = yield OwnSockets()
        yield Leave(place)
        for row in rows:
            if row.inode and not row.is_kernel and row.inode not in own:
                found.setdefault(row.inode, (row, place.label))
    return found


def _ports(places: Sequence[Place]) -> Plan[tuple[SeenPort, ...]]:
    """The ports of Open vSwitch whose other end is in another namespace."""
    found = []
    for place in places:
        rows: list[Link] = yield Ask(place, links.links())
        names = {row.index: row.name for row in rows}
        for row in rows:
            number = row.peer_netnsid
            if row.slave_kind != _OPENVSWITCH or not row.is_paired or number is None:
                continue
            peer = yield from _name_of(number, place, places)
            datapath = "" if row.master is None else names.get(row.master, "")
            found.append(SeenPort(row, datapath, place.label, peer))
        yield Leave(place)
    return tuple(found)


def _name_of(number: int, at: Place, places: Sequence[Place]) -> Plan[str]:
    """What the namespace is called that has a number at a place."""
    for place in places:
        if place.descriptor is not None:
            try:
                (its,) = yield Ask(at, links.namespace_number(place.descriptor))
            except KernelError:  # such as a file in /run/netns that nothing is mounted on
                continue
            if its == number:
                return place.label or "that the doctor is in"
    return f"number {number} (ip netns list-id)"


def _settings() -> dict[str, int]:
    read = {name: processes.setting(name) for name in SETTINGS}
    return {name: value for name, value in read.items() if value is not None}


def _unseen(
    sockets: Collection[SeenSocket],
    closed: int,
    closed_processes: int,
    unseen_holders: int,
    looked: Mapping[int, Sequence[Thread]],
) -> tuple[str, ...]:
    """What could not be seen, and what it would take."""
    told: list[str] = []
    if closed:
        told.append(f"the sockets of {closed} other network namespaces: run as root")
    if closed_processes:
        told.append(
            f"the network namespaces of {closed_processes} processes, where they are not those of "
            "others: run as root, or with CAP_SYS_PTRACE"
        )
    without = sum(not one.pids for one in sockets)
    if without and unseen_holders:
        told.append(
            f"who holds {without} of {len(sockets)} sockets, and what their threads wait for: the "
            f"descriptors of {unseen_holders} processes may not be looked at; run as root, or with "
            "CAP_SYS_PTRACE"
        )
    hidden = sum(any(not one.is_seen for one in them) for them in looked.values())
    if hidden:
        told.append(
            f"what the threads of {hidden} processes wait for, for /proc/PID/syscall may not be "
            "read: run as root, or with CAP_SYS_PTRACE"
        )
    if any(looked.values()) and system_calls.names() is None:
        told.append("what threads wait for: the system calls of this machine are not known here")
    return tuple(told)
