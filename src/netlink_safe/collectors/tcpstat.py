"""TCP sockets counted by state: the collector, and the example of correct use.

How they are counted, and by which method at which price, says ``collectors.tcp_survey``.
May call ``aio``, ``blocking``, ``transport``, ``protocol``, ``collectors.tcp_survey`` and
``collectors.tcp_stats``.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from netlink_safe.collectors.tcp_fold import AcceptQueues, Listener
from netlink_safe.collectors.tcp_stats import Method, TcpStats
from netlink_safe.collectors.tcp_survey import survey
from netlink_safe.protocol.deadline import Deadline
from netlink_safe.transport.locks import waits
from netlink_safe.transport.namespace import label

if TYPE_CHECKING:
    from collections.abc import Iterable

    from netlink_safe.blocking.sock_diag import SockDiag
    from netlink_safe.collectors.tcp_survey import Survey
    from netlink_safe.families.inet_request import FamilyLike
    from netlink_safe.transport.namespace import NetworkNamespace

__all__ = ["AcceptQueues", "Listener", "Method", "TcpStats", "collect", "collect_blocking"]


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
    ``timeout`` is above 0; ``math.inf`` waits for ever.  ``families`` are as in ``tcp_sockets``,
    and for ``"dump"`` alone.  ``netns`` is a name in /run/netns, a path, a pid or an object with
    ``fileno()``, by default the calling thread's own.
    Raises NetlinkTimeout at the deadline, LocalProtocolError for nonsense, KernelError
    (NotSupported without inet_diag), OverrunError and DumpInterrupted where three attempts have met
    with it, TruncatedError, DecodeError, RemoteProtocolError where /proc/net lacks a counter,
    FileNotFoundError for a namespace that is not there, PermissionError for one that may not be
    entered.
    """
    from netlink_safe.aio.sock_diag import open_sock_diag

    asked, where = survey(method, families), label(netns)
    taken_at, deadline = time.time(), Deadline(timeout)
    async with open_sock_diag(timeout=timeout, netns=netns) as diag:
        folds = [
            await diag.fold(question.requests, question.new_fold, timeout=deadline)
            for question in asked.questions
        ]
        texts = await diag.read_proc_net(*asked.files, timeout=deadline) if asked.files else []
        counted = asked.summarize(folds, dict(zip(asked.files, texts, strict=True)))
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

    asked, deadline = survey(method, families), Deadline(timeout)
    with open_sock_diag(timeout=timeout, netns=netns) as diag:
        stats, _ = counted_blocking(diag, asked, deadline, label(netns))
    return stats


def counted_blocking(
    diag: SockDiag, asked: Survey, deadline: Deadline, where: str | None
) -> tuple[TcpStats, dict[str, str]]:
    """A survey of an opened object in the namespace ``where``, and the files that it read.

    For who has more to ask the same object, or more files to read.
    """
    taken_at = time.time() - deadline.spent()
    folds = [
        diag.fold(question.requests, question.new_fold, timeout=deadline)
        for question in asked.questions
    ]
    texts = diag.read_proc_net(*asked.files, timeout=deadline) if asked.files else []
    files = dict(zip(asked.files, texts, strict=True))
    counted = asked.summarize(folds, files)
    socket = diag.statistics()
    return TcpStats(where, taken_at, deadline.spent(), asked.method, socket, **counted), files
