"""TCP sockets counted by state: the collector, and the example of correct use.

::

    method "dump"      every row passes through a StateFold, none is kept: exact, and in the memory
                       of one datagram whatever the number of sockets
    method "counters"  only rows of rare states; ESTABLISHED and TIME_WAIT from the kernel's own
                       counters: nearly free, but counts only, and of three different instants

May call ``aio``, ``blocking``, ``transport.namespace``, ``families``, ``protocol``,
``collectors.tcp_fold`` and ``errors``.
"""

from __future__ import annotations

import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import attrs

from netlink_safe.collectors.tcp_fold import Listener, RareFold, StateFold
from netlink_safe.errors import LocalProtocolError, RemoteProtocolError
from netlink_safe.families.inet_diag import AddressFamily, TcpState
from netlink_safe.families.tcp import EVERYDAY, checked_families, tcp_sockets
from netlink_safe.protocol.deadline import Deadline
from netlink_safe.transport.locks import waits
from netlink_safe.transport.namespace import label

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from netlink_safe.families.inet_socket import TcpSocket
    from netlink_safe.families.tcp import FamilyLike
    from netlink_safe.protocol.request import Request
    from netlink_safe.protocol.statistics import SocketStatistics
    from netlink_safe.transport.namespace import NetworkNamespace

__all__ = ["Listener", "Method", "TcpStats", "collect", "collect_blocking"]

Method: TypeAlias = Literal["dump", "counters"]

#: The version of what ``TcpStats.as_dict`` gives; it grows when a key changes its meaning.
VERSION: Final = 1
#: Every state that a result has a number for, zero or not.
STATES: Final = tuple(TcpState(number) for number in range(1, 13))
#: What the kernel counts without being asked for rows, and where it says so.
COUNTED: Final = frozenset({TcpState.ESTABLISHED, TcpState.TIME_WAIT})
FILES: Final = ("snmp", "sockstat", "sockstat6")


@waits
async def collect(
    timeout: float = 5.0,
    method: Method = "dump",
    families: Iterable[FamilyLike] | FamilyLike | None = None,
    netns: NetworkNamespace = None,
) -> TcpStats:
    """Count TCP sockets by state, within ``timeout`` seconds or with an error.

    ``method="dump"`` looks at every socket: states by family, queues, accept queues.
    ``method="counters"`` asks for rare states only and takes ESTABLISHED and TIME_WAIT from
    /proc/net: counts of both families together, and None for what it cannot know.
    Raises NetlinkTimeout at the deadline, LocalProtocolError for nonsense, KernelError
    (NotSupported without inet_diag), FileNotFoundError for a namespace that is not there,
    PermissionError for one that may not be entered.
    """
    from netlink_safe.aio.sock_diag import open_sock_diag

    survey, where = _survey(method, families), label(netns)
    taken_at, deadline = time.time(), Deadline(timeout)
    async with open_sock_diag(timeout=timeout, netns=netns) as diag:
        folds = await diag.fold(survey.requests, survey.new_fold, timeout=deadline)
        files = await diag.read_proc_net(*survey.files, timeout=deadline) if survey.files else []
        counted = survey.summarize(folds, files)
        socket = diag.statistics()
    return TcpStats(where, taken_at, deadline.spent(), method, socket, **counted)


@waits
def collect_blocking(
    timeout: float = 5.0,
    method: Method = "dump",
    families: Iterable[FamilyLike] | FamilyLike | None = None,
    netns: NetworkNamespace = None,
) -> TcpStats:
    """Do what ``collect`` does, without an event loop."""
    from netlink_safe.blocking.sock_diag import open_sock_diag

    survey, where = _survey(method, families), label(netns)
    taken_at, deadline = time.time(), Deadline(timeout)
    with open_sock_diag(timeout=timeout, netns=netns) as diag:
        folds = diag.fold(survey.requests, survey.new_fold, timeout=deadline)
        files = diag.read_proc_net(*survey.files, timeout=deadline) if survey.files else []
        counted = survey.summarize(folds, files)
        socket = diag.statistics()
    return TcpStats(where, taken_at, deadline.spent(), method, socket, **counted)


@attrs.frozen(slots=True)
class TcpStats:
    """TCP sockets at one time, or as near to that as a walk of the kernel's table comes.

    ``states`` has a number for every state; a state that this library does not know stands there
    too, as ``STATE_n``, once there is such a socket.  ``families`` has the same by address family,
    for those that were asked for.
    ``receive_queue_bytes`` and ``transmit_queue_bytes`` leave listeners out, whose queues are
    connections: those are ``accept_queue_length`` and ``accept_queue_limit``, and ``fullest`` is
    the listener whose queue is the fullest, None where nobody listens.
    ``taken_at`` is Unix time in seconds, at the start; ``elapsed_seconds`` how long it took.
    With ``method`` ``"counters"`` all but ``states`` is None among the numbers.
    ``socket`` is what the netlink sockets have seen.
    """

    netns: str | None
    taken_at: float
    elapsed_seconds: float
    method: Method
    socket: SocketStatistics
    states: Mapping[TcpState, int]
    families: Mapping[AddressFamily, Mapping[TcpState, int]] | None = None
    receive_queue_bytes: int | None = None
    transmit_queue_bytes: int | None = None
    accept_queue_length: int | None = None
    accept_queue_limit: int | None = None
    fullest: Listener | None = None

    def as_dict(self) -> dict[str, Any]:
        """The same as plain data, for JSON; names of states and families in small letters."""
        fullest = self.fullest
        accept_queue = None
        if self.accept_queue_length is not None:
            accept_queue = {
                "length": self.accept_queue_length,
                "limit": self.accept_queue_limit,
                "fullest": None if fullest is None else attrs.asdict(fullest),
            }
        families = None
        if self.families is not None:
            families = {str(family): _named(counts) for family, counts in self.families.items()}
        return {
            "version": VERSION,
            "netns": self.netns,
            "taken_at": self.taken_at,
            "elapsed_seconds": self.elapsed_seconds,
            "method": self.method,
            "states": _named(self.states),
            "families": families,
            "receive_queue_bytes": self.receive_queue_bytes,
            "transmit_queue_bytes": self.transmit_queue_bytes,
            "accept_queue": accept_queue,
            "socket": {
                "receive_buffer": self.socket.receive_buffer,
                "drops": self.socket.drops,
                "datagrams": self.socket.datagrams,
                "rejected": dict(self.socket.rejected),
                "attempts": self.socket.attempts,
            },
        }


@attrs.frozen(slots=True)
class _Survey:
    """What to ask, what becomes of the rows, which files to read, and what it all comes to."""

    requests: tuple[Request[TcpSocket], ...]
    new_fold: Callable[[], Any]
    files: tuple[str, ...]
    summarize: Callable[[Sequence[Any], Sequence[str]], dict[str, Any]]


def _survey(method: Method, families: Iterable[FamilyLike] | FamilyLike | None) -> _Survey:
    if method == "dump":
        asked = checked_families(families)
        summarize = partial(_summarize_rows, sorted(asked))
        return _Survey(tcp_sockets(families=asked), StateFold, (), summarize)
    if method != "counters":
        raise LocalProtocolError(f"method={method!r} is neither 'dump' nor 'counters'")
    if families is not None:
        raise LocalProtocolError(
            "method='counters' counts both address families together; leave families out, or "
            "say method='dump'"
        )
    rare = tcp_sockets(states=EVERYDAY - COUNTED)
    return _Survey(rare, RareFold, FILES, _summarize_counters)


def _summarize_rows(
    asked: Sequence[AddressFamily], folds: Sequence[StateFold], _files: Sequence[str]
) -> dict[str, Any]:
    families = {family: _added(fold.counts(family) for fold in folds) for family in asked}
    listeners = [fold.fullest for fold in folds if fold.fullest is not None]
    return {
        "states": _by_state(_added(families.values())),
        "families": {family: _by_state(counts) for family, counts in families.items()},
        "receive_queue_bytes": sum(fold.receive_queue_bytes for fold in folds),
        "transmit_queue_bytes": sum(fold.transmit_queue_bytes for fold in folds),
        "accept_queue_length": sum(fold.accept_length for fold in folds),
        "accept_queue_limit": sum(fold.accept_limit for fold in folds),
        "fullest": max(listeners, key=lambda listener: listener.fill, default=None),
    }


def _summarize_counters(folds: Sequence[RareFold], files: Sequence[str]) -> dict[str, Any]:
    """ESTABLISHED and TIME_WAIT, from counters less what rows say was counted with them.

    CurrEstab counts ESTABLISHED and CLOSE_WAIT, as RFC 4022 wants it, since Linux 6.10 and where
    that was backported; before, ESTABLISHED alone (``net/ipv4/tcp.c``: tcp_set_state).  The number
    of all full sockets, less those whose rows came, tells which of both it is.
    Rows and files are not of one instant, so that a difference could fall below 0.
    """
    counts = _added(fold.counts for fold in folds)
    remainders = sum(fold.remainders for fold in folds)
    snmp, sockstat, sockstat6 = files
    in_use = _counter(sockstat, "TCP:", "inuse")
    in_use += _counter(sockstat6, "TCP6:", "inuse") if sockstat6 else 0
    half_open = counts[TcpState.SYN_RECV]
    elsewhere = counts.total() - remainders - half_open
    counted = _counter(snmp, "Tcp:", "CurrEstab")
    established = min(
        (counted, counted - counts[TcpState.CLOSE_WAIT]),
        key=lambda number: abs(number - (in_use - elsewhere)),
    )
    counts[TcpState.ESTABLISHED] = max(established, 0)
    counts[TcpState.TIME_WAIT] = max(_counter(sockstat, "TCP:", "tw") - remainders, 0)
    return {"states": _by_state(counts)}


def _added(counts: Iterable[Counter[int]]) -> Counter[int]:
    return sum(counts, Counter())


def _counter(text: str, prefix: str, name: str) -> int:
    """A number of /proc/net/snmp (names in one line, values in the next) or sockstat (in pairs)."""
    words = [line.split() for line in text.splitlines() if line.startswith(prefix)]
    pairs = dict(zip(*words, strict=False)) if len(words) > 1 else {}
    if len(words) == 1:
        pairs = dict(zip(words[0][1::2], words[0][2::2], strict=False))
    if not pairs.get(name, "").lstrip("-").isdigit():
        raise RemoteProtocolError(
            f"/proc/net says nothing of {name}; use method='dump', which needs no file"
        )
    return int(pairs[name])


def _by_state(counts: Counter[int]) -> dict[TcpState, int]:
    return {TcpState(number): counts[number] for number in sorted({*STATES, *counts})}


def _named(counts: Mapping[TcpState, int]) -> dict[str, int]:
    return {state.name.lower(): count for state, count in counts.items()}
