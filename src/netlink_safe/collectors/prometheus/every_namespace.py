"""All network namespaces as what a collector looks into, and what could not be seen as metrics.

May call ``transport.namespaces``, ``transport.namespace`` and prometheus_client.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from netlink_safe.collectors.prometheus.definitions import Families, gauge
from netlink_safe.transport.namespace import Namespace
from netlink_safe.transport.namespaces import namespaces

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

    from netlink_safe.transport.namespaces import HeldNamespace

UNSEEN: Final = "netlink_safe_exporter_unseen_processes"
LEFT_OUT: Final = "netlink_safe_exporter_left_out_namespaces"
DEFINITIONS: Final = (
    gauge(UNSEEN, "Processes whose network namespace may not be seen."),
    gauge(LEFT_OUT, "Network namespaces beyond the limit, which are not looked into."),
)


class EveryNamespace:
    """Call it for all that there are now; it is a collector of what it has not seen, too."""

    def __init__(self) -> None:
        self._unseen = self._left_out = 0

    def __call__(self) -> dict[str, HeldNamespace]:
        """By their labels, for ``TcpStatCollector(namespaces=)``.

        Only who is given them holds them open: behind a scrape nothing keeps a dead one there.
        """
        now = namespaces()
        self._unseen, self._left_out = now.unseen, now.left_out
        return now.found

    def describe(self) -> list[Metric]:
        """Both families, without a sample."""
        return Families(DEFINITIONS).described()

    def collect(self, timeout: float | None = None) -> list[Metric]:  # noqa: ARG002  # it takes none
        """What the last call has not seen."""
        families = Families(DEFINITIONS)
        families.add(UNSEEN, (), self._unseen)
        families.add(LEFT_OUT, (), self._left_out)
        return families.filled()

    def missing_rights(self) -> list[str]:
        """What is not to be seen now, and the capability that it takes, a line each."""
        found = self()
        missing = []
        if self._unseen:
            missing.append(
                f"processes whose namespaces cannot be seen: {self._unseen}; of other users' that "
                "takes CAP_SYS_PTRACE"
            )
        for label, held in found.items():
            namespace = Namespace(held)
            try:
                namespace.run(int)
            except PermissionError:
                missing.append(
                    f"{label} and others cannot be entered: that takes CAP_SYS_ADMIN, in the user "
                    "namespace that owns each as well"
                )
                break
            finally:
                namespace.close()
        return missing
