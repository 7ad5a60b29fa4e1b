"""The house: small rooms that say what they are for, and whom they may call."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent
#: Lines of a file, unless it says in its head why it is long.
LONGEST = 400
LONG_BECAUSE = "Long because: "
CALLS = ("May call", "Calls no", "mports nothing", "mports no event loop", "Nothing is imported")


def written(suffixes: set[str]) -> list[Path]:
    """What people write and read; not what is captured, generated or fetched."""
    rooms = ("src", "tests", "benchmarks", "examples", "fuzz", "docs", ".ci")
    found = []
    for room in rooms:
        for where, directories, files in os.walk(PROJECT / room):
            directories[:] = [name for name in directories if not name.startswith((".", "_"))]
            found += [path for name in files if (path := Path(where, name)).suffix in suffixes]
    return found


def head_of(path: Path) -> str:
    """The docstring of a module."""
    return ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""


def test_a_long_file_says_why_it_is_long() -> None:
    """In a line of its head."""
    for path in written({".py", ".c", ".sh", ".md", ".toml"}):
        lines = path.read_text("utf-8").splitlines()
        if len(lines) > LONGEST:
            assert any(line.startswith(LONG_BECAUSE) for line in lines[:20]), path


@pytest.mark.parametrize("room", ["src", "fuzz"])
def test_every_module_says_what_it_is_for(room: str) -> None:
    """In a sentence; and one of the library says whom it may call, or that it calls nobody."""
    for path in (PROJECT / room).rglob("*.py"):
        head = head_of(path)
        assert head.partition("\n")[0].rstrip().endswith((".", ":")), path
        assert room != "src" or any(words in head for words in CALLS), path


def test_every_test_states_a_fact() -> None:
    """A docstring of a line, or of one and why."""
    for path in filter(lambda path: path.name.startswith("test_"), written({".py"})):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if node.name.startswith("test_"):
                assert ast.get_docstring(node), f"{path}: {node.name}"
