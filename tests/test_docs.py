"""The site builds without a warning; what is public is in it, and pages say what the code says."""

from __future__ import annotations

import html
import re
import subprocess
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

import netlink_safe
from netlink_safe.cli import main
from netlink_safe.protocol.exchange import TRANSITIONS, State
from public_names import MODULES, names_of

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).parent.parent
DOCS: Final = ROOT / "docs"
SOURCES: Final = Path(netlink_safe.__file__).parent
MANUAL: Final = ROOT / "man" / "netlink-safe.1"
KERNEL_FEATURES: Final = DOCS / "reference" / "kernel_features.md"
#: Half a minute of one processor, and the suite has others beside it.
BUILT_WITHIN: Final = 270.0


def inventory(built: Path) -> set[str]:
    """Every object that the site can be linked to by its name."""
    *_, compressed = (built / "objects.inv").read_bytes().split(b"\n", 4)
    lines = zlib.decompress(compressed).decode().splitlines()
    return {line.split(" ", 1)[0] for line in lines}


def signatures(built: Path) -> Iterator[str]:
    """What stands in the reference as the way something is called, with its types."""
    for page in (built / "reference" / "api").glob("*.html"):
        for shown in re.findall(r'<dt class="sig .*?</dt>', page.read_text("utf-8"), re.DOTALL):
            yield html.unescape(re.sub(r"<[^>]+>", "", shown)).strip()


def words_of(manual: str) -> list[str]:
    """What a manual page says, but for how and when it was set."""
    lines = (line for line in manual.splitlines() if not line.startswith((".", "'")))
    return re.sub(r"\\f.|\\%|T[{}]", "", "\n".join(lines)).replace("\\-", "-").split()


def sphinx_build(directory: Path, builder: str) -> None:
    """Build below a directory, where what was read before is not read again."""
    sooner = ("-D", "toc_object_entries=0")  # no list of names beside each page
    command = (
        "-W",
        "--keep-going",
        "-n",
        "-q",
        *sooner,
        "-b",
        builder,
        "-d",
        directory / "doctrees",
    )
    ended = subprocess.run(
        [sys.executable, "-m", "sphinx", *command, DOCS, directory / builder],
        capture_output=True,
        text=True,
        timeout=BUILT_WITHIN,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.timeout(BUILT_WITHIN)
def test_the_site_and_the_manual_build_and_have_every_public_name(tmp_path: Path) -> None:
    """Every cross reference leads somewhere; a name of the blocking surface is found, too."""
    sphinx_build(tmp_path, "html")
    known = inventory(tmp_path / "html")
    missing = [
        f"{module}.{name}"
        for module in MODULES
        for name in names_of(module)
        if f"{module}.{name}" not in known
    ]
    assert missing == []
    # Of the same pages, that are read already.
    sphinx_build(tmp_path, "man")
    manual = words_of((tmp_path / "man" / MANUAL.name).read_text("utf-8"))
    assert manual == words_of(MANUAL.read_text("utf-8")), "sphinx-build -b man docs man"
    foreign = [each for each in signatures(tmp_path / "html") if "pyroute2" in each]
    assert [each.partition("(")[0] for each in foreign] == ["netlink_safe.pyroute2_codec"]


def test_every_verb_is_on_the_page_of_the_command_line() -> None:
    """With all verbs below it; the statuses are those that the command ends with."""
    page = (DOCS / "reference" / "command_line.md").read_text("utf-8")
    told = re.findall(
        r"click:: netlink_safe\.cli\.(\w+):command\n +:prog: netlink-safe (\w+)", page
    )
    assert told == [(module, verb) for verb, module in main.VERBS.items()]
    ends = {0, main.FAILED, 2, main.TIMED_OUT, main.INTERRUPTED, main.PIPE_CLOSED}
    assert {int(status) for status in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)} == ends


def drawn(is_dump: bool) -> str:
    """A table of transitions as a diagram of mermaid's."""
    arrows: dict[tuple[State, State], list[str]] = {}
    for (before, event), after in TRANSITIONS[is_dump].items():
        arrows.setdefault((before, after), []).append(event.value)
    lines = [
        f"    {before.name} --> {after.name}: {', '.join(events)}"
        for (before, after), events in arrows.items()
    ]
    ends = [f"    {state.name} --> [*]" for state in (State.COMPLETE, State.FAILED)]
    return "\n".join(["stateDiagram-v2", "    [*] --> WAITING", *lines, *ends, ""])


def test_the_diagrams_are_drawn_from_the_table_of_transitions() -> None:
    """A dump's and a request's."""
    page = (DOCS / "explanation" / "architecture.md").read_text("utf-8")
    assert re.findall(r"^```mermaid\n(.*?)^```$", page, re.MULTILINE | re.DOTALL) == [
        drawn(is_dump=True),
        drawn(is_dump=False),
    ]


def rows_of(page: Path, heading: str) -> Iterator[list[str]]:
    """The rows of the table under a heading."""
    section = page.read_text("utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    table = [line for line in section.splitlines() if line.startswith("|")]
    for line in table[2:]:
        yield [cell.strip() for cell in line.strip("|").split(" | ")]


def in_sources(pattern: str) -> set[tuple[str, str]]:
    """What a pattern finds, and the module that says it."""
    return {
        (".".join(path.relative_to(SOURCES).with_suffix("").parts), found)
        for path in SOURCES.rglob("*.py")
        for found in re.findall(pattern, path.read_text("utf-8"))
    }


def test_every_version_of_the_kernel_is_told_where_the_code_tells_it() -> None:
    """Each version that a module names, and nothing that none does."""
    told = {
        (module, version)
        for _, version, _, modules in rows_of(KERNEL_FEATURES, "By version")
        for module in re.findall(r"`([\w.]+)`", modules)
    }
    assert told == in_sources(r'(?:Linux |")([2-9]\.\d+)\b')


def test_every_module_right_and_option_of_the_kernel_is_told() -> None:
    """By its name, and none that the code does not know."""
    modules = " ".join(cell for _, cell in rows_of(KERNEL_FEATURES, "By module"))
    named = " ".join(found for _, found in in_sources(r"\(modules? (\w+(?: and \w+)?)\)"))
    assert set(re.findall(r"\w+_diag", modules)) == set(re.findall(r"\w+_diag", named))
    rights = " ".join(cell for cell, _ in rows_of(KERNEL_FEATURES, "By right and by configuration"))
    known = r"\b((?:CAP_(?:NET|SYS|SET)|CONFIG_)[A-Z_]+)\b"
    assert set(re.findall(known, rights)) == {found for _, found in in_sources(known)}
