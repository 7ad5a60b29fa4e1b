"""The figures as pictures that the documentation shows.

May call ``figures``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import attrs
import matplotlib as mpl

from figures import by_study

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from figures import Figure


@attrs.frozen(slots=True, kw_only=True)
class Plot:
    """One picture of one study: lines over the number of sockets, or bars beside one another.

    ``names`` are the figures shown, all of the study if there are none; ``of`` says what of them.
    """

    study: str
    title: str
    axis: str
    of: Literal["value", "ratio"]
    names: tuple[str, ...] = ()
    caches: str = ""
    is_logarithmic: bool = False


def _on_every_surface(name: str) -> tuple[str, ...]:
    return name, f"{name}, trio", f"{name}, asyncio"


LINES: Final = {
    "dumps": Plot(
        study="dumps",
        title="Time of a dump of TCP sockets",
        axis="ms",
        of="value",
        names=(
            "counters",
            "C: one walk, every row counted",
            "dump",
            "rows with tcp_info",
            "`ss -Htan`",
            "lines of /proc/net/tcp and tcp6",
            "psutil.net_connections",
            "pyroute2's DiagSocket",
        ),
        caches="hot",
        is_logarithmic=True,
    ),
    "dumps-by-floor": Plot(
        study="dumps",
        title="Counts by a dump, by the kernel's own cost",
        axis="ratio to the floor",
        of="ratio",
        names=(*_on_every_surface("dump"), *_on_every_surface("counters")),
        caches="hot",
    ),
    "rows-by-floor": Plot(
        study="dumps",
        title="Rows with tcp_info, by the kernel's own cost",
        axis="ratio to the floor",
        of="ratio",
        names=(
            *_on_every_surface("rows with tcp_info"),
            "C: the same with tcp_info",
            "`ss -Htani`",
        ),
        caches="hot",
    ),
    "scrapes": Plot(
        study="scrapes",
        title="A scrape, by node_exporter's",
        axis="ratio to node_exporter",
        of="ratio",
    ),
    "memory": Plot(
        study="memory",
        title="Peak memory of one collection",
        axis="MiB",
        of="value",
        names=("dump", "rows with tcp_info"),
    ),
}
BARS: Final = {
    "uevents": Plot(study="uevents", title="Uevents drained", axis="events a second", of="value"),
    "holds": Plot(study="holds", title="Longest hold of the event loop", axis="ms", of="value"),
    "starts": Plot(
        study="starts", title="Imports, and the start of the command", axis="ms", of="value"
    ),
    "weight": Plot(study="weight", title="Memory of a small listener", axis="MiB", of="value"),
}


def draw(figures: Sequence[Figure], directory: Path) -> dict[str, dict[str, Path]]:
    """Write an SVG file for each plot that there are figures for; their titles, by study."""
    directory.mkdir(parents=True, exist_ok=True)
    studies = by_study(figures)
    drawn: dict[str, dict[str, Path]] = {}
    for name, plot in {**LINES, **BARS}.items():
        if shown := list(_shown(plot, studies.get(plot.study, ()))):
            path = directory / f"{name}.svg"
            _draw(plot, shown, name in BARS, path)
            drawn.setdefault(plot.study, {})[plot.title] = path
    return drawn


def _shown(plot: Plot, figures: Iterable[Figure]) -> Iterable[Figure]:
    for figure in figures:
        if (not plot.names or figure.name in plot.names) and plot.caches in {"", figure.caches}:
            yield figure


def _draw(plot: Plot, figures: Sequence[Figure], is_bars: bool, path: Path) -> None:
    from matplotlib.figure import Figure as Canvas

    # So that the same figures come to the same file.
    with mpl.rc_context({"svg.hashsalt": "netlink_safe", "svg.fonttype": "none"}):
        canvas = Canvas(figsize=(8, 4.5), layout="constrained")
        axes = canvas.add_subplot()
        (_bars if is_bars else _lines)(axes, plot, figures)
        axes.set_title(plot.title)
        axes.grid(visible=True, alpha=0.3)
        canvas.savefig(path, metadata={"Date": None})


def _lines(axes: Axes, plot: Plot, figures: Sequence[Figure]) -> None:
    for name in dict.fromkeys(figure.name for figure in figures):
        own = [figure for figure in figures if figure.name == name]
        axes.plot(
            [it.sockets for it in own], [_of(plot, it) for it in own], "o-", label=_plain(name)
        )
    axes.set_xscale("log")
    axes.set_xlabel("sockets")
    axes.set_ylabel(plot.axis)
    if plot.is_logarithmic:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))


def _bars(axes: Axes, plot: Plot, figures: Sequence[Figure]) -> None:
    names = [_plain(figure.name) for figure in figures]
    bars = axes.barh(names, [_of(plot, figure) for figure in figures])
    axes.bar_label(bars, fmt="{:,.3g}".format if plot.axis == "ms" else "{:,.0f}".format, padding=3)
    axes.invert_yaxis()
    axes.margins(x=0.2)
    axes.set_xlabel(plot.axis)


def _of(plot: Plot, figure: Figure) -> float:
    return figure.value if plot.of == "value" else figure.ratio or 0.0


def _plain(name: str) -> str:
    return name.replace("`", "")
