"""What contributors are told: commands that exist, versions for all that is needed, fragments."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parent.parent
PAGE = (PROJECT / "CONTRIBUTING.md").read_text("utf-8")
SETTINGS: dict[str, Any] = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))
EXTRAS: dict[str, list[str]] = SETTINGS["project"]["optional-dependencies"]


def name_of(requirement: str) -> str:
    """Without a version, and as an index spells it."""
    return re.split(r"[<>=~!;\[ ]", requirement)[0].lower().replace("_", "-")


def needed_by(extra: str) -> set[str]:
    """The packages of an extra, and of those that it names in turn."""
    names = set()
    for requirement in EXTRAS[extra]:
        if others := re.fullmatch(r"netlink-safe\[([\w,]+)\]", requirement):
            names |= set().union(*(needed_by(other) for other in others[1].split(",")))
        else:
            names.add(name_of(requirement))
    return names


def test_the_inner_loop_is_three_commands() -> None:
    """One makes the environment, one runs the tests, one looks at the rest."""
    block = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)[0].splitlines()
    assert len(block) == 3
    sessions = set(shlex.split(block[2])[2:])
    defined = re.findall(r"^def (\w+)", (PROJECT / "noxfile.py").read_text("utf-8"), re.MULTILINE)
    assert sessions <= set(defined)


def test_every_file_that_it_names_is_there() -> None:
    """Commands, pages and tables."""
    for name in re.findall(r"`(?:python )?((?:\.ci|tests|benchmarks|requirements)/[\w./]+)`", PAGE):
        assert (PROJECT / name).exists(), name


def test_every_package_for_development_has_a_version_and_a_hash() -> None:
    """Of an index, whichever one has; and none lies on somebody's disk."""
    text = (PROJECT / "requirements/dev.txt").read_text("utf-8")
    locked = dict(re.findall(r"^([\w.-]+)==(\S+).*\\$", text, re.MULTILINE))
    needed = needed_by("dev") | set(map(name_of, SETTINGS["project"]["dependencies"]))
    assert needed <= {name_of(name) for name in locked}
    assert "://" not in text
    assert text.count("--hash=sha256:") >= len(locked)


def test_fragments_are_of_a_kind_that_the_changelog_has() -> None:
    """Or they would never be in it."""
    kinds = {kind["directory"] for kind in SETTINGS["tool"]["towncrier"]["type"]}
    for fragment in (PROJECT / "changes").glob("[!R]*.md"):
        assert fragment.name.split(".")[-2] in kinds
