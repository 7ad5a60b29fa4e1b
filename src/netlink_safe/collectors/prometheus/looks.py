"""One look at the TCP sockets of one network namespace, and what came of it, an error or numbers.

May call ``blocking``, ``collectors``, ``transport``, ``protocol`` and ``errors``.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol

import attrs

from netlink_safe.blocking.sock_diag import open_sock_diag
from netlink_safe.collectors.tcp_detail import DetailFold
from netlink_safe.collectors.tcp_survey import CONNECTIONS
from netlink_safe.collectors.tcpstat import counted_blocking
from netlink_safe.errors import NetlinkError, NetlinkTimeout
from netlink_safe.families.tcp import tcp_sockets
from netlink_safe.transport.namespace import label

if TYPE_CHECKING:
    from collections.abc import Mapping

    from netlink_safe.collectors.prometheus.definitions import Families
    from netlink_safe.collectors.tcp_detail import Dimension
    from netlink_safe.collectors.tcp_stats import TcpStats
    from netlink_safe.collectors.tcp_survey import Survey
    from netlink_safe.protocol.deadline import Deadline
    from netlink_safe.transport.namespace import NetworkNamespace


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
    """

    namespace: str
    seconds: float
    sight: Sight | None
    error: Exception | None


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
    began = deadline.spent()
    try:
        sight = _sight(aim, netns, ports, deadline)
    except (NetlinkError, OSError, RuntimeError) as error:  # no thread to be had, the last
        return Look(namespace, deadline.spent() - began, None, error)
    return Look(namespace, deadline.spent() - began, sight, None)


def _sight(aim: Aim, netns: NetworkNamespace, ports: frozenset[int], deadline: Deadline) -> Sight:
    left = deadline.remaining()
    if not left:
        raise NetlinkTimeout("the looks into other namespaces before this one", deadline.timeout)
    with open_sock_diag(timeout=left, netns=netns) as diag:
        stats, texts = counted_blocking(diag, aim.survey, deadline, label(netns))
        if not aim.takes_detail:
            return Sight(stats, texts, None)
        requests = tcp_sockets(states=CONNECTIONS, extensions=("info",) if aim.info else ())
        new_fold = partial(DetailFold, aim.info, aim.dimensions, ports | stats.accept_queues.keys())
        first, *others = diag.fold(requests, new_fold, timeout=deadline)
        for other in others:
            first.add(other)
        return Sight(stats, texts, first)
