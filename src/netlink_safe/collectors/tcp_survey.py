"""How TCP sockets are counted: what to ask, what becomes of the rows, what it all comes to.

::

    method "dump"      every row passes through a StateFold, none is kept: exact, and in the memory
                       of one datagram whatever the number of sockets
    method "counters"  only rows of rare states; ESTABLISHED and TIME_WAIT from the kernel's own
                       counters: nearly free, but counts only, and of three different instants

Listeners are a question of their own by either.
May call ``families``, ``protocol``, ``collectors.tcp_fold``, ``collectors.tcp_stats``,
``collectors.proc_net`` and ``errors``.
"""

from __future__ import annotations

from collections import Counter
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Final

import attrs

from netlink_safe.collectors.proc_net import counter
from netlink_safe.collectors.tcp_fold import ListenFold, RareFold, StateFold
from netlink_safe.errors import LocalProtocolError
from netlink_safe.families.inet_diag import AddressFamily, TcpState
from netlink_safe.families.inet_request import EVERYDAY, checked_families
from netlink_safe.families.tcp import tcp_sockets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from netlink_safe.collectors.tcp_fold import AcceptQueues
    from netlink_safe.collectors.tcp_stats import Method
    from netlink_safe.families.inet_request import FamilyLike
    from netlink_safe.families.inet_rows import TcpSocket
    from netlink_safe.protocol.request import Request

#: Every state that a result has a number for, zero or not.
STATES: Final = tuple(TcpState(number) for number in range(1, 13))
#: What the kernel counts without being asked for rows, and where it says so.
COUNTED: Final = frozenset({TcpState.ESTABLISHED, TcpState.TIME_WAIT})
FILES: Final = ("snmp", "sockstat", "sockstat6")
CONNECTIONS: Final = EVERYDAY - {TcpState.LISTEN}


@attrs.frozen(slots=True)
class Question:
    """Requests, and the fold that takes the rows of each."""

    requests: tuple[Request[TcpSocket], ...]
    new_fold: Callable[[], Any]


@attrs.frozen(slots=True)
class Survey:
    """Questions, files of /proc/net to read, and what the answers come to.

    ``summarize`` is given the folds of each question and the texts of the files by name; it returns
    the numbers of TcpStats, by field.
    """

    method: Method
    questions: tuple[Question, ...]
    files: tuple[str, ...]
    summarize: Callable[[Sequence[Sequence[Any]], Mapping[str, str]], dict[str, Any]]

    def reading(self, files: Iterable[str]) -> Survey:
        """The same, with more files to read, for who looks into them, too."""
        return attrs.evolve(self, files=tuple(dict.fromkeys([*self.files, *files])))


def survey(method: Method, families: Iterable[FamilyLike] | FamilyLike | None = None) -> Survey:
    """The survey of a method.  Raises LocalProtocolError for nonsense."""
    if method == "dump":
        return _by_dump(checked_families(families))
    if method != "counters":
        raise LocalProtocolError(f"method={method!r} is neither 'dump' nor 'counters'")
    if families is not None:
        raise LocalProtocolError(
            "method='counters' counts both address families together; leave families out, or "
            "say method='dump'"
        )
    return _by_counters()


# A survey never changes, and to make one takes as long as to ask a kernel with few sockets.


@cache
def _by_dump(asked: frozenset[AddressFamily]) -> Survey:
    connections = Question(tcp_sockets(states=CONNECTIONS, families=asked), StateFold)
    summarize = partial(summarize_rows, sorted(asked))
    return Survey("dump", (connections, _listeners(asked)), (), summarize)


@cache
def _by_counters() -> Survey:
    rare = Question(tcp_sockets(states=CONNECTIONS - COUNTED), RareFold)
    listeners = _listeners(frozenset(AddressFamily))
    return Survey("counters", (rare, listeners), FILES, summarize_counters)


def _listeners(families: frozenset[AddressFamily]) -> Question:
    return Question(tcp_sockets(states=TcpState.LISTEN, families=families), ListenFold)


def summarize_rows(
    asked: Sequence[AddressFamily],
    folds: Sequence[Sequence[Any]],
    _files: Mapping[str, str],
) -> dict[str, Any]:
    """The numbers of a full dump."""
    connections, listening = folds
    families = {
        family: _added(fold.counts(family) for fold in (*connections, *listening))
        for family in asked
    }
    queues = _accept_queues(listening)
    fullest = [fold.fullest for fold in listening if fold.fullest is not None]
    return {
        "states": _by_state(_added(families.values())),
        "accept_queues": queues,
        "families": {family: _by_state(counts) for family, counts in families.items()},
        "receive_queue_bytes": sum(fold.receive_queue_bytes for fold in connections),
        "transmit_queue_bytes": sum(fold.transmit_queue_bytes for fold in connections),
        "accept_queue_length": sum(queue.length for queue in queues.values()),
        "accept_queue_limit": sum(queue.limit for queue in queues.values()),
        "fullest": max(fullest, key=lambda listener: listener.fill, default=None),
    }


def summarize_counters(folds: Sequence[Sequence[Any]], files: Mapping[str, str]) -> dict[str, Any]:
    """ESTABLISHED and TIME_WAIT, from counters less what rows say was counted with them.

    CurrEstab counts ESTABLISHED and CLOSE_WAIT, as RFC 4022 wants it, since Linux 6.10 and where
    that was backported; before, ESTABLISHED alone (``net/ipv4/tcp.c``: tcp_set_state).  The number
    of all full sockets, less those whose rows came, tells which of both it is.
    Rows and files are not of one instant, so that a difference could fall below 0.
    """
    rare, listening = folds
    counts = _added(fold.counts for fold in rare)
    counts[TcpState.LISTEN] = sum(fold.rows for fold in listening)
    remainders = sum(fold.remainders for fold in rare)
    in_use = counter(files["sockstat"], "TCP:", "inuse")
    in_use += counter(files["sockstat6"], "TCP6:", "inuse") if files["sockstat6"] else 0
    half_open = counts[TcpState.SYN_RECV]
    elsewhere = counts.total() - remainders - half_open
    counted = counter(files["snmp"], "Tcp:", "CurrEstab")
    established = min(
        (counted, counted - counts[TcpState.CLOSE_WAIT]),
        key=lambda number: abs(number - (in_use - elsewhere)),
    )
    counts[TcpState.ESTABLISHED] = max(established, 0)
    counts[TcpState.TIME_WAIT] = max(counter(files["sockstat"], "TCP:", "tw") - remainders, 0)
    return {"states": _by_state(counts), "accept_queues": _accept_queues(listening)}


def _accept_queues(folds: Iterable[ListenFold]) -> dict[int, AcceptQueues]:
    """Of each family's listeners together, by port in ascending order."""
    queues: dict[int, AcceptQueues] = {}
    for fold in folds:
        for port, queue in fold.accept_queues.items():
            queues[port] = queues[port] + queue if port in queues else queue
    return dict(sorted(queues.items()))


def _added(counts: Iterable[Counter[int]]) -> Counter[int]:
    return sum(counts, Counter())


def _by_state(counts: Counter[int]) -> dict[TcpState, int]:
    return {TcpState(number): counts[number] for number in sorted({*STATES, *counts})}
