"""TcpStatCollector: TCP sockets for prometheus_client's registry.

::

    collect -> Shared -> one look for each namespace, side by side -> families of samples
                           `- blocking.open_sock_diag, a survey, details if asked for

What goes wrong is a sample, and no number is told twice.

May call ``blocking``, ``collectors``, ``transport``, ``protocol`` and ``errors``.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, get_args

from netlink_safe.collectors.prometheus import node_exporter, tcp_metrics
from netlink_safe.collectors.prometheus.definitions import Families, counter, gauge
from netlink_safe.collectors.prometheus.looks import Aim, Look, look
from netlink_safe.collectors.prometheus.sharing import Shared
from netlink_safe.collectors.tcp_detail import Dimension
from netlink_safe.collectors.tcp_survey import survey
from netlink_safe.errors import LocalProtocolError, NetlinkTimeout
from netlink_safe.protocol.deadline import Deadline, checked_timeout
from netlink_safe.transport.forks import tell_of_forks
from netlink_safe.transport.locks import check_blocking_wait, waits
from netlink_safe.transport.namespace import Namespace, label

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from weakref import ref

    from prometheus_client.metrics_core import Metric

    from netlink_safe.collectors.prometheus.definitions import Definition
    from netlink_safe.collectors.prometheus.looks import Teller
    from netlink_safe.collectors.tcp_stats import Method
    from netlink_safe.transport.namespace import NetworkNamespace

LOG: Final = logging.getLogger(__name__)

Names: TypeAlias = Literal["netlink_safe", "node_exporter"]

COLLECTOR: Final = "tcpstat"
HEALTH: Final = (
    gauge("netlink_safe_collector_success", "Whether it has numbers this time.", "collector"),
    gauge("netlink_safe_collector_duration_seconds", "How long it has taken.", "collector"),
    counter("netlink_safe_collector_timeouts", "Times that its deadline passed.", "collector"),
    counter("netlink_safe_collector_errors", "Times that it had no numbers.", "collector", "error"),
)
#: The label of the network namespace.
NETNS: Final = "netns"
#: Namespaces that are looked into at the same time.
AT_ONCE: Final = 16


class TcpStatCollector:
    """TCP sockets by state, queues, accept queues; register it, or call ``collect`` yourself.

    A scrape takes at most ``timeout`` seconds, above 0, which should be less than Prometheus gives
    it (its own ``scrape_timeout``, 10 seconds unless said).  What could not be had in time is not
    there:
    ``netlink_safe_collector_success`` is 0 then, the log of this module says why, once, and the
    next scrape starts afresh.
    Scrapes that overlap share one look, if they have the same timeout.  Any thread may call it.

    ``names`` are the library's own, or ``"node_exporter"``'s for dashboards that know them.
    ``method`` is ``"dump"`` or ``"counters"``, see ``collectors.tcpstat.collect``.
    ``netns`` is the network namespace to look into, a name in /run/netns, a path, a pid or an
    object with ``fileno()``, by default the calling thread's; or ``namespaces`` is a function that
    returns those to look into by their labels, asked each time.
    With either there is a label ``netns``.
    ``info`` adds histograms from tcp_info; ``by`` tells sockets apart by ``"port"``, ``"uid"``,
    ``"cgroup"``, or several: both look at every row once more, some microseconds for each.
    Neither goes with ``"counters"`` or ``"node_exporter"``.
    ``limit``, from 1, is how many values a label may have, in each namespace; the rest is
    ``other``.
    Raises LocalProtocolError for nonsense; a namespace that is not there is no error but a sample.
    """

    def __init__(
        self,
        *,
        names: Names = "netlink_safe",
        method: Method = "dump",
        timeout: float = 5.0,
        netns: NetworkNamespace = None,
        namespaces: Callable[[], Mapping[str, NetworkNamespace]] | None = None,
        info: bool = False,
        by: Iterable[Dimension] | Dimension = (),
        limit: int = 50,
    ) -> None:
        dimensions = _checked_dimensions(by)
        if names not in get_args(Names):
            raise LocalProtocolError(f"names={names!r} is none of {', '.join(get_args(Names))}")
        if netns is not None and namespaces is not None:
            raise LocalProtocolError("give netns for one namespace, or namespaces for several")
        if namespaces is not None and not callable(namespaces):
            raise LocalProtocolError(f"namespaces={namespaces!r} is no function; it returns them")
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
            raise LocalProtocolError(f"limit={limit!r} is no number of label values above 0")
        if (info or dimensions) and (method == "counters" or names == "node_exporter"):
            raise LocalProtocolError(
                "info and by look at every row, and have names of their own; leave them out, or "
                "say method='dump' and names='netlink_safe'"
            )
        Namespace(netns).close()  # whatever can be none is told now
        asked = survey(method)
        self._new_teller: Callable[[], Teller]
        self._definitions: tuple[Definition, ...]
        if names == "node_exporter":
            self._definitions = (*node_exporter.DEFINITIONS, *HEALTH)
            self._new_teller = node_exporter.Teller
        else:
            asked = asked.reading(tcp_metrics.FILES)
            self._definitions = (*tcp_metrics.definitions(method, info, dimensions), *HEALTH)
            self._new_teller = partial(tcp_metrics.Teller, limit, info)
        self._aim = Aim(asked, info, dimensions)
        self._timeout = checked_timeout(timeout)
        self._common = () if netns is None and namespaces is None else (NETNS,)
        self._namespaces = namespaces or partial(dict, {label(netns) or "": netns})
        self.forked()
        tell_of_forks(self)
        self._tellers: dict[str, Teller] = {}
        self._errors: Counter[tuple[str, str]] = Counter()
        self._failing: AbstractSet[str] = frozenset()
        self._held_up: dict[str, ref[Namespace] | None] = {}
        self._shared = Shared(self._scrape)

    def describe(self) -> list[Metric]:
        """Every family that there may be, without a sample and without a look."""
        return Families(self._definitions, self._common).described()

    @waits
    def collect(self, timeout: float | None = None) -> list[Metric]:
        """The families that have samples now, within ``timeout`` seconds if that is less.

        They are above 0.  Raises LockHeldError, LocalProtocolError for no number of seconds, and
        what ``namespaces`` raises but OSError; whatever the kernel does or does not do is told by
        samples.
        """
        check_blocking_wait()
        limit = self._timeout if timeout is None else min(checked_timeout(timeout), self._timeout)
        try:
            return self._shared.result(limit)
        except NetlinkTimeout as error:  # another's, that has begun before
            with self._lock:
                names = list(self._tellers) or [""]
            return self._told([Look(name, limit, None, error) for name in names], {})

    def forked(self) -> None:
        """In a child nobody holds the lock."""
        self._lock = threading.Lock()

    def _scrape(self, timeout: float) -> list[Metric]:
        deadline = Deadline(timeout)
        try:
            wanted = self._namespaces()
        except OSError as error:  # such as no descriptor to be had
            return self._told([Look("", deadline.spent(), None, error)], {})
        with self._lock:
            tellers = {name: self._tellers.get(name) or self._new_teller() for name in wanted}
            self._tellers = tellers
            self._failing = self._failing & wanted.keys()
            self._held_up = {name: self._held_up.get(name) for name in wanted}
            self._errors = Counter(
                {key: count for key, count in self._errors.items() if key[0] in wanted}
            )
            ports = {name: teller.ports for name, teller in tellers.items()}

        def looked(name: str) -> Look:
            if (earlier := self._held_up.get(name)) is not None and earlier() is not None:
                error = NetlinkTimeout("an earlier look, which the kernel still holds up", timeout)
                return Look(name, 0.0, None, error, earlier)  # or soon no thread would be left
            found = look(self._aim, name, wanted[name], ports[name], deadline)
            if found.sight is not None:
                tellers[name].prepare(found.sight, deadline)
            return found

        if len(wanted) < 2:
            return self._told(list(map(looked, wanted)), tellers)
        try:
            with ThreadPoolExecutor(AT_ONCE, "netlink_safe looks") as threads:
                looks = list(threads.map(looked, wanted))
        except RuntimeError as error:  # no thread to be had
            looks = [Look(name, deadline.spent(), None, error) for name in wanted]
        return self._told(looks, tellers)

    def _told(self, looks: Sequence[Look], tellers: Mapping[str, Teller]) -> list[Metric]:
        families = Families(self._definitions, self._common)
        with self._lock:
            for each in looks:
                common = [each.namespace] * len(self._common)
                if each.sight is not None:
                    tellers[each.namespace].tell(each.sight, families, common)
                else:
                    self._errors[each.namespace, type(each.error).__name__] += 1
                self._tell_health(each, families, [*common, COLLECTOR])
            self._held_up |= {each.namespace: each.held_up for each in looks if each.held_up}
            failing = {each.namespace: each for each in looks if each.error is not None}
            news = failing.keys() - self._failing
            self._failing = self._failing - {each.namespace for each in looks} | failing.keys()
        for namespace in sorted(news):  # not under the lock: whoever reads it may be slow
            where = f" of the network namespace {namespace}" if namespace else ""
            LOG.warning("no TCP sockets%s: %s", where, failing[namespace].error)
        return families.filled()

    def _tell_health(self, look: Look, families: Families, labels: list[str]) -> None:
        success, duration, timeouts, errors = (definition.name for definition in HEALTH)
        families.add(success, labels, int(look.sight is not None))
        families.add(duration, labels, look.seconds)
        families.add(timeouts, labels, self._errors[look.namespace, NetlinkTimeout.__name__])
        for (namespace, error), count in sorted(self._errors.items()):
            if namespace == look.namespace and count:
                families.add(errors, [*labels, error], count)


def _checked_dimensions(by: Iterable[Dimension] | Dimension) -> tuple[Dimension, ...]:
    """Each once, in the order given.  Raises LocalProtocolError for what is none."""
    asked = list(by) if isinstance(by, Iterable) and not isinstance(by, str) else [by]
    for each in asked:
        if each not in get_args(Dimension):
            raise LocalProtocolError(f"by={each!r} is none of {', '.join(get_args(Dimension))}")
    return tuple(dict.fromkeys(asked))
