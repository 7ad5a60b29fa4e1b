"""What the figures are meant to be.

May call ``figures``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from figures import Figure


@attrs.frozen(slots=True)
class Target:
    """A bound of the ratio, or of the value of what has no ratio.

    It is for whatever begins with ``name``: on every surface; ``sockets`` and ``caches`` where the
    target has them, 0 and "" where it is for all.
    """

    study: str
    name: str
    bound: float
    sockets: int = 0
    caches: str = ""
    at_least: bool = False

    def is_for(self, figure: Figure) -> bool:
        """Whether the figure is meant."""
        return (
            figure.study == self.study
            and figure.name.startswith(self.name)
            and self.sockets in {0, figure.sockets}
            and self.caches in {"", figure.caches}
        )

    def __str__(self) -> str:
        return f"at {'least' if self.at_least else 'most'} {self.bound:.4g}"

    def missed_by(self, figure: Figure) -> float:
        """The part of the bound by which it is missed; nothing, or less, if it is held."""
        value = figure.value if figure.ratio is None else figure.ratio
        over = value / self.bound - 1
        return -over if self.at_least else over


TARGETS: Final = (
    Target("dumps", "dump", 1.3, 100_000, "hot"),
    Target("dumps", "dump", 1.5, 10_000, "hot"),
    Target("dumps", "counters", 0.2, 100_000, "hot"),
    Target("dumps", "rows with tcp_info", 1.7, 100_000, "hot"),
    Target("dumps", "rows with tcp_info", 1.7, 10_000, "hot"),
    Target("dumps", "rows with tcp_info", 1.7, 1_000, "hot"),
    Target("holds", "dump", 5.0),
    Target("holds", "counters", 5.0),
    Target("holds", "rows with tcp_info", 5.0),
    Target("memory", "growth, dump", 4.0),
    Target("memory", "growth, rows with tcp_info", 4.0),
    Target("starts", "`netlink-safe tcpstat --json`", 1.6),
    Target("scrapes", "netlink-safe exporter", 0.6, 100_000),
    Target("scrapes", "the same, `--names node_exporter`", 0.6, 100_000),
    Target("scrapes", "the same, `--method counters`", 0.15, 100_000),
    Target("uevents", "plain `recv`", 0.83, at_least=True),
    Target("uevents", "pyudev", 4.0, at_least=True),
    Target("uevents", "pyroute2", 10.0, at_least=True),
    Target("weight", "`examples/usb_hotplug.py`", 2.0),
    Target("sending", "`send_nowait` to a full peer", 1.0),
    Target("sending", "`await send`", 2.0),
    Target("sending", "`Outbox.post`", 15.0),
    Target("sending", "looks for watched locks", 2.0),
)


def target_of(figure: Figure) -> Target | None:
    """What the figure is meant to be; None where nothing was promised."""
    return next((target for target in TARGETS if target.is_for(figure)), None)
