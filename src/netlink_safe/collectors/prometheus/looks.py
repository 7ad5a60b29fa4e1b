"""One look at the TCP sockets of one network namespace, and what came of it, an error or numbers.

May call ``blocking``, ``collectors``, ``transport``, ``protocol``, ``wire`` and ``errors``.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol
from weakref import ref

import attrs

from netlink_safe.blocking.sock_diag import SockDiag
from netlink_safe.collectors.tcp_detail import DetailFold
from netlink_safe.collectors.tcp_survey import CONNECTIONS
from netlink_safe.collectors.tcpstat import counted_blocking
from netlink_safe.errors import NetlinkError, NetlinkTimeout
from netlink_safe.families.tcp import tcp_sockets
from netlink_safe.transport.namespace import label
from netlink_safe.transport.opening import new_pool
from netlink_safe.wire.constants import NETLINK_SOCK_DIAG

if TYPE_CHECKING:
    from collections.abc import Mapping

    from netlink_safe.collectors.prometheus.definitions import Families
    from netlink_safe.collectors.tcp_detail import Dimension
    from netlink_safe.collectors.tcp_stats import TcpStats
    from netlink_safe.collectors.tcp_survey import Survey
    from netlink_safe.protocol.deadline import Deadline
    from netlink_safe.transport.namespace import Namespace, NetworkNamespace


@attrs.frozen(slots=True)
class Aim:
    """What to look for: the survey, whether with tcp_info, and what to tell rows apart by."""

    survey: Survey
    info: bool
    dimensions: tuple[Dimension, ...]

    @property
    def takes_detail(self) -> bool:
        """Whether every row is looked at once more."""
        return self.info or bool(self.dimensions)


@attrs.frozen(slots=True)
class Sight:
    """What was to be seen: the counts, the files of /proc/net by name, the details if asked for."""

    stats: TcpStats
    texts: Mapping[str, str]
    detail: DetailFold | None


@attrs.frozen(slots=True)
class Look:
    """One look: how long it took, and a sight or why there is none.

    ``namespace`` is its label.
    ``held_up`` is there for as long as a thread that was left behind is still at it.
    """

    namespace: str
    seconds: float
    sight: Sight | None
    error: Exception | None
    held_up: ref[Namespace] | None = None


class Teller(Protocol):
    """Makes samples of the looks into one namespace, by the names that it knows."""

    @property
    def ports(self) -> frozenset[int]:
        """The local ports that are to be told apart, beside those that somebody listens on."""

    def prepare(self, sight: Sight, deadline: Deadline, /) -> None:
        """Do what takes time, beside others who tell meanwhile."""

    def tell(self, sight: Sight, families: Families, common: list[str], /) -> None:
        """Add all samples of a sight; ``common`` are the values of the labels that all have."""


def look(
    aim: Aim,
    namespace: str,
    netns: NetworkNamespace,
    ports: frozenset[int],
    deadline: Deadline,
) -> Look:
    """Look, and tell what the kernel did or did not do; ``ports`` are told apart in any case.

    Raises nothing but what is a fault of the program.
    """
    began, socket = deadline.spent(), None
    try:
        left = deadline.remaining()
        if not left:
            raise NetlinkTimeout(
                "the looks into other namespaces before this one", deadline.timeout
            )
        socket = new_pool(NETLINK_SOCK_DIAG, left, None, netns)
        with SockDiag(socket, left) as diag:
            sight = _sight(aim, diag, label(netns), ports, deadline)
    except (NetlinkError, OSError, RuntimeError) as error:  # no thread to be had, the last
        _forget_frames(error)
        held_up = ref(socket.namespace) if socket and isinstance(error, NetlinkTimeout) else None
        return Look(namespace, deadline.spent() - began, None, error, held_up)
    return Look(namespace, deadline.spent() - began, sight, None)


def _forget_frames(error: BaseException | None) -> None:
    """Tracebacks would hold our frames, and so what keeps the namespace there, in a circle."""
    while error is not None:
        error.__traceback__ = None
        error = error.__context__


def _sight(
    aim: Aim, diag: SockDiag, where: str | None, ports: frozenset[int], deadline: Deadline
) -> Sight:
    stats, texts = counted_blocking(diag, aim.survey, deadline, where)
    if not aim.takes_detail:
        return Sight(stats, texts, None)
    requests = tcp_sockets(states=CONNECTIONS, extensions=("info",) if aim.info else ())
    new_fold = partial(DetailFold, aim.info, aim.dimensions, ports | stats.accept_queues.keys())
    first, *others = diag.fold(requests, new_fold, timeout=deadline)
    for other in others:
        first.add(other)
    return Sight(stats, texts, first)
