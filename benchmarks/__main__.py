"""What the library costs, beside the kernel itself and whatever else is installed.

::

    python benchmarks [STUDY ...] [--quick] [--out DIRECTORY] [--publish] [--kept]

Run it as root (all but uevents does in ``unshare -Urn``, too): sockets and devices are made in
network namespaces of their own, which go with it.  It takes under 15 minutes, prints a page of
Markdown, and writes figures (JSON), the same page and plots (SVG).  It ends with status 0 if
everything could be measured: a figure is not a test.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import doctoring
import dumps
import pages
import processes
import scrapes
import sending
import uevents_drained
from figures import FULL, QUICK, load, save, this_machine
from plots import draw
from tables import page

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from figures import Effort, Figure

STUDIES: Final[dict[str, Callable[[Effort], Iterator[Figure]]]] = {
    "dumps": dumps.measure,
    "scrapes": scrapes.measure,
    "uevents": uevents_drained.measure,
    "starts": processes.measure,
    "sending": sending.measure,
    "doctor": doctoring.measure,
    "agents": pages.measure,
}
PROJECT: Final = Path(__file__).resolve().parent.parent
RESULTS: Final = PROJECT / "benchmarks" / "results"
PAGE: Final = PROJECT / "docs" / "reference" / "measured.md"
PLOTS: Final = PROJECT / "docs" / "pictures" / "measured"


def publish(results: Path, told: Path, plots: Path) -> str:
    """Make page and plots of all figures that are kept; the page."""
    machines, figures = load(results)
    pictures = {
        study: {title: os.path.relpath(path, told.parent) for title, path in drawn.items()}
        for study, drawn in draw(figures, plots).items()
    }
    text = page(machines, figures, pictures)
    told.write_text(text, encoding="utf-8")
    return text


def main() -> None:
    """Measure what is asked for, keep it, and print everything that is kept."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__.partition("\n")[0])
    parser.add_argument("studies", nargs="*", metavar="STUDY", help=f"of {', '.join(STUDIES)}")
    parser.add_argument("--quick", action="store_true", help="whether it works; tells nothing")
    parser.add_argument("--out", type=Path, default=PROJECT / "build" / "benchmarks")
    parser.add_argument("--publish", action="store_true", help="put it where the docs show it")
    parser.add_argument("--kept", action="store_true", help="measure nothing; tell what is kept")
    options = parser.parse_args()
    if unknown := set(options.studies) - STUDIES.keys():
        none = ", ".join(sorted(unknown))
        parser.error(f"there is no study {none}; there are {', '.join(STUDIES)}")
    if options.quick and options.publish:
        parser.error("what --quick measures tells nothing, and is not to be published")
    effort, out = QUICK if options.quick else FULL, options.out
    results, told, plots = (
        (RESULTS, PAGE, PLOTS)
        if options.publish
        else (out / "results", out / "measured.md", out / "plots")
    )
    for name in () if options.kept else options.studies or STUDIES:
        start = time.monotonic()
        try:
            save(results, this_machine(), STUDIES[name](effort))
        except PermissionError as error:
            sys.exit(f"{name}: {error}; run it as root; all but uevents do in unshare -Urn, too")
        print(f"{name}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    print(publish(results, told, plots))


if __name__ == "__main__":
    main()
