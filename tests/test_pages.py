"""Tutorial, how-to and explanation: programs run and print what the page says, tests are there."""

from __future__ import annotations

import functools
import html
import itertools
import os
import re
import runpy
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest

import faulty
import kernel
from examined import here, sleeps_in
from test_command import run

if TYPE_CHECKING:
    from collections.abc import Iterator

TESTS: Final = Path(__file__).parent
ROOT: Final = TESTS.parent
ROOMS: Final = ("tutorial", "how-to", "explanation")
PAGES: Final = sorted(page for room in ROOMS for page in (ROOT / "docs" / room).glob("*.md"))
PICTURES: Final = ROOT / "docs" / "pictures"
BLOCK: Final = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ENDS_WITHIN: Final = 60.0


class Program(NamedTuple):
    """A Python block, and the block of text behind it, if there is one: what it prints."""

    page: str
    code: str
    prints: str | None


def programs() -> Iterator[Program]:
    for page in PAGES:
        blocks = [*BLOCK.findall(page.read_text("utf-8")), ("", "")]
        for (kind, code), (after, text) in itertools.pairwise(blocks):
            if kind == "python":
                yield Program(page.stem, code, text if after == "text" else None)


def without_numbers(text: str) -> str:
    """The same on every machine: no number, and lines broken nowhere."""
    return " ".join(re.sub(r"0x[0-9a-f]+|\d[\d,.]*", "N", text).split())


@pytest.mark.parametrize("program", list(programs()), ids=lambda program: program.page)
def test_a_program_runs_as_pasted(program: Program) -> None:
    """Without a warning; what stands behind it as text is what it prints, but for numbers."""
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", program.code],
        capture_output=True,
        text=True,
        timeout=ENDS_WITHIN,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    if program.prints is not None:
        assert without_numbers(ended.stdout) == without_numbers(program.prints)


@functools.cache
def names_of_tests() -> Counter[str]:
    """The functions that are tests, and in how many modules there is one of that name."""
    function = re.compile(r"^(?:async )?def (test_\w+)", re.MULTILINE)
    rooms = (TESTS, TESTS / "vm" / "guest")
    modules = [path for room in rooms for path in room.glob("test_*.py")]
    return Counter(name for path in modules for name in function.findall(path.read_text("utf-8")))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_tests_that_a_page_names_are_there(page: Path) -> None:
    """Each once, in whatever room, so that its name says which it is."""
    for name in re.findall(r"`(test_\w+)`", page.read_text("utf-8")):
        assert names_of_tests()[name] == 1, name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_headings_that_a_page_links_to_are_there(page: Path) -> None:
    """In this page or in another one, spelled as a repository view and MyST spell them."""
    for target, heading in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", page.read_text("utf-8")):
        other = page.parent / target if target else page
        titles = re.findall(r"^#+ (.*)$", other.read_text("utf-8"), re.MULTILINE)
        slugs = {re.sub(r"[^\w\- ]", "", title).lower().replace(" ", "-") for title in titles}
        assert heading in slugs, f"{target}#{heading}"


def named(directory: Path, name: str) -> tuple[str, ...]:
    """A command that runs a program of Python under another name."""
    link = directory / name
    link.symlink_to(os.path.realpath(sys.executable))
    runs = f"import os, sys; os.execv({str(link)!r}, [{str(link)!r}, *sys.argv[2:]])"
    return (sys.executable, "-c", runs)


def test_the_doctors_report_is_the_one_of_the_page(tmp_path: Path) -> None:
    """Of a daemon that is stuck, one that waits for it, and a copied buffer; but for numbers."""
    with (
        faulty.started(faulty.DEADLOCKED, "mutex", within=named(tmp_path, "alarmd")) as (told, _),
        faulty.started(faulty.SENDER, told[1], "sendto", within=named(tmp_path, "login")) as (
            victim,
            _,
        ),
        faulty.started(faulty.COPIED_BUFFER, within=named(tmp_path, "hotplug")),
    ):
        _, _, reader, holder = told
        for tid, place in ((victim[0], "netlink"), (holder, "netlink"), (reader, "futex")):
            kernel.until(partial(sleeps_in, tid, place))
        ended = run("doctor", "--netns", here())
    page = (ROOT / "docs" / "how-to" / "read_a_doctors_report.md").read_text("utf-8")
    (_, report) = BLOCK.findall(page.partition("<!-- report -->")[2])[0]
    assert ended.returncode == 1
    assert without_numbers(ended.stdout) == without_numbers(report)


def texts(svg: str) -> list[str]:
    """What stands in a picture, as text."""
    return [html.unescape(text) for text in re.findall(r"<text[^>]*>([^<]*)</text>", svg)]


def test_the_picture_of_the_readme_is_what_the_command_draws() -> None:
    """Drawn anew it has the same text; it is small, and nothing in it lies elsewhere."""
    script = runpy.run_path(str(PICTURES / "tcpstat.py"))
    kept = (PICTURES / "tcpstat.svg").read_text("utf-8")
    assert texts(script["picture"]()) == texts(kept)
    assert len(kept) < 60_000
    assert set(re.findall(r"https?://[^\s\"]+", kept)) <= {
        "http://www.w3.org/2000/svg",
        "https://www.textualize.io",  # in a comment of the export's
    }
