"""The one command that measures everything, what it writes, and what the documentation shows of it.

A figure is not a test: that all of it works is, and that the page says what was measured.
"""

from __future__ import annotations

import math
import re
import subprocess
import sys
from pathlib import Path

import pytest

from debian_peers import compiler, node_exporter
from figures import Figure, Machine, load, ratio_of, save
from tables import STUDIES, page, shortfall
from targets import TARGETS, target_of

PROJECT = Path(__file__).parent.parent
COST = PROJECT / "docs" / "reference" / "cost.md"
MEASURED = PROJECT / "docs" / "reference" / "measured.md"
RESULTS = PROJECT / "benchmarks" / "results"
#: What a study cannot do without; it skips the test, or fails it, where that is missing.
TAKES = {"dumps": compiler, "scrapes": node_exporter, "uevents": compiler}
#: What each of the studies that can be asked for measures.
ASKED = {
    "agents": {"agents"},
    "doctor": {"doctor"},
    "dumps": {"dumps", "holds", "memory"},
    "scrapes": {"scrapes"},
    "sending": {"sending"},
    "starts": {"starts"},
    "uevents": {"uevents", "weight"},
}
MACHINE = Machine("6.1", "a processor", 2, "3.11")


def figure(value: float = 2.0, ratio: float | None = None, name: str = "dump") -> Figure:
    """One of the study whose targets are best known."""
    return Figure(
        study="dumps", name=name, sockets=100_000, caches="hot", value=value, unit="ms", ratio=ratio
    )


@pytest.mark.parametrize("study", sorted(ASKED))
def test_everything_can_be_measured_by_one_command(study: str, tmp_path: Path) -> None:
    """It writes figures, a page and plots, and prints the page."""
    TAKES.get(study, str)()
    command = [sys.executable, str(PROJECT / "benchmarks"), study, "--quick", "--out"]
    done = subprocess.run(
        [*command, str(tmp_path)], capture_output=True, text=True, check=True, timeout=100
    )
    _, figures = load(tmp_path / "results")
    assert {each.study for each in figures} == ASKED[study]
    assert all(math.isfinite(each.value) for each in figures)
    assert all(each.ratio is None or each.ratio > 0 for each in figures)
    written = (tmp_path / "measured.md").read_text("utf-8")
    assert done.stdout.rstrip() == written.rstrip()
    for each in figures:
        assert f"| {each.name} |" in written
    for path in re.findall(r"!\[.*\]\((.*)\)", written):
        assert (tmp_path / path).read_text("utf-8").rstrip().endswith("</svg>")


def test_a_study_that_there_is_not_is_refused() -> None:
    """With the names of those that there are."""
    command = [sys.executable, str(PROJECT / "benchmarks"), "dump"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "there is no study dump" in done.stderr
    assert "dumps" in done.stderr


def test_what_is_kept_is_read_back(tmp_path: Path) -> None:
    """Figures, and the machine that they are of; a study that was not measured again stays."""
    first = figure(1.0, 1.5, "pyroute2's DiagSocket")
    pairs = [(2.0, 1.0), (3.0, 1.0), (4.0, 1.0)]
    other = Figure(study="scrapes", name="x", value=1.0, unit="ms", **ratio_of(pairs))
    save(tmp_path, MACHINE, [first, other])
    save(tmp_path, MACHINE, [other])
    assert load(tmp_path) == ([MACHINE], [first, other])
    assert other.ratio == 3.0


def test_a_target_that_is_missed_is_said_by_how_much() -> None:
    """In the table, and once more at the end."""
    text = page([MACHINE], [figure(ratio=1.56), figure(ratio=1.0)], {})
    assert "| dump | 100,000 | hot | 2.0 ms | 1.56 | at most 1.3 | missed by 20 % |" in text
    assert "| dump | 100,000 | hot | 2.0 ms | 1 | at most 1.3 | held |" in text
    assert text.endswith("- dump, 100,000 sockets: missed by 20 % (at most 1.3)\n")


def test_a_target_may_be_a_least() -> None:
    """What is drained by others is to be slower, so many times."""
    slower = Figure(study="uevents", name="pyudev's Monitor", value=1.0, unit="", ratio=3.0)
    assert "missed by 25 % (at least 4)" in shortfall(slower)


def test_where_all_targets_are_held_the_page_says_so() -> None:
    """Of what was measured."""
    assert page([MACHINE], [figure(ratio=1.0)], {}).endswith(
        "Every target that was measured is held.\n"
    )


def test_every_target_is_for_something_that_is_measured() -> None:
    """Or it would be held for ever."""
    _, figures = load(RESULTS)
    for target in TARGETS:
        assert any(target_of(each) is target for each in figures), target


def test_the_page_shows_the_figures_that_are_kept() -> None:
    """All of them, each under its study, and every picture is there."""
    shown = MEASURED.read_text("utf-8")
    machines, figures = load(RESULTS)
    pictures = re.findall(r"!\[(.*)\]\((.*)\)", shown)
    assert pictures
    assert all((MEASURED.parent / path).is_file() for _, path in pictures)
    without = re.sub(r"!\[.*\]\(.*\)\n\n", "", shown)
    assert without == page(machines, figures, {})
    assert {each.study for each in figures} == STUDIES.keys()


def test_every_study_that_a_page_names_can_be_asked_for() -> None:
    """A command that is pasted from the documentation works."""
    pages = [*(PROJECT / "docs").rglob("*.md"), PROJECT / "README.md"]
    named = [
        name
        for path in pages
        for name in re.findall(r"python benchmarks (\w+)", path.read_text("utf-8"))
    ]
    assert named
    assert set(named) <= ASKED.keys()
