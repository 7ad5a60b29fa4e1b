"""The README is what a newcomer pastes: its commands and its code are run."""

from __future__ import annotations

import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys

import pytest

import kernel
from links import Links
from printed import TOLD_WITHIN, running

ROOT = pathlib.Path(__file__).parent.parent
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = BLOCK.findall((ROOT / "README.md").read_text("utf-8"))
#: Pages of the reference, whose Python blocks are programs, as those of the README are.
REFERENCE = sorted((ROOT / "docs" / "reference").rglob("*.md"))
PROGRAMS = [
    (str(page.relative_to(ROOT)), text)
    for page in (ROOT / "README.md", *REFERENCE)
    for kind, text in BLOCK.findall(page.read_text("utf-8"))
    if kind == "python"
]
#: Which module runs the programs of the pages of a room.
RUN_BY = {
    "agents": "test_agent_pages",
    "explanation": "test_pages",
    "how-to": "test_pages",
    "reference": "test_readme",
    "tutorial": "test_pages",
}


def test_the_first_one_line_blocks_are_the_commands() -> None:
    """One installs and runs the command, one the tests, one the ring of virtual machines."""
    one_liners = [text.strip() for _, text in BLOCKS if text.count("\n") == 1]
    assert one_liners[0].endswith(".venv/bin/netlink-safe tcpstat")
    assert "&& .venv/bin/pytest " in one_liners[1]
    assert one_liners[2].endswith(".venv/bin/python tests/vm/run.py")
    for command in one_liners[:2]:
        assert shlex.split(command)[:4] == ["python3", "-m", "venv", ".venv"]


@pytest.mark.parametrize(("page", "code"), PROGRAMS, ids=[page for page, _ in PROGRAMS])
def test_the_code_runs_as_pasted(page: str, code: str) -> None:
    """Each Python block is a program of its own."""
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, ""), page


def test_no_room_of_the_documents_has_programs_that_nothing_runs() -> None:
    """Each room is some module's; beside them pages hold none."""
    pages = [page.relative_to(ROOT / "docs") for page in (ROOT / "docs").rglob("*.md")]
    assert {page.parts[0] for page in pages if len(page.parts) > 1} == set(RUN_BY)
    for module in RUN_BY.values():
        assert (ROOT / "tests" / f"{module}.py").exists(), module
    for page in pages:
        if len(page.parts) == 1:
            assert "```python" not in (ROOT / "docs" / page).read_text("utf-8"), page


def test_the_documents_that_it_names_are_there() -> None:
    """No link of the repository's own leads nowhere."""
    rooms = (ROOT / "docs", ROOT / "examples")
    pages = [ROOT / "README.md", ROOT / "SECURITY.md"]
    for page in [*pages, *(page for room in rooms for page in room.rglob("*.md"))]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name} names {target}"


@pytest.mark.parametrize(
    "example",
    sorted(str(path.relative_to(ROOT / "examples")) for path in (ROOT / "examples").rglob("*.py")),
)
def test_the_examples_can_be_imported_and_say_what_they_are_for(example: str) -> None:
    """Importing one does nothing; its first line says what it shows."""
    program = (
        f"import runpy; print(runpy.run_path({str(ROOT / 'examples' / example)!r})['__doc__'])"
    )
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert ended.stdout.strip().endswith(".")


@pytest.mark.parametrize(
    ("example", "wrong"),
    [
        ("alarm_daemon.py", ["--port", "first"]),
        ("fleet/fleet.py", ["--members", "many"]),
        ("link_state.py", ["often"]),
        ("ovs_ports.py", []),
        ("taskstats.py", ["self"]),
        ("wireguard_peers.py", []),
    ],
)
def test_an_example_that_takes_arguments_says_which(example: str, wrong: list[str]) -> None:
    """Asked for help it prints its usage; where one is missing or wrong it ends with status 2."""
    for arguments, status in ((["--help"], 0), (wrong, 2)):
        ended = subprocess.run(
            [sys.executable, str(ROOT / "examples" / example), *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode == status
        assert (ended.stderr if status else ended.stdout).startswith("usage: ")


def test_the_example_of_link_state_tells_what_comes_changes_and_goes() -> None:
    """On the running kernel, from loopback to a pair that is made while it watches."""
    with running("link_state.py", "0.05") as printed, Links() as links:
        assert printed.next() == "lo is up"
        links.make("left", "right")
        assert {printed.next(), printed.next()} == {"left is down", "right is down"}
        links.delete("left")
        assert {printed.next(), printed.next()} == {"left is gone", "right is gone"}
        printed.program.send_signal(signal.SIGINT)
        assert printed.program.wait(TOLD_WITHIN) == 0


def test_the_example_of_taskstats_tells_what_a_process_costs() -> None:
    """This one; by name and pid, and then what it has used."""
    with running("taskstats.py", str(os.getpid())) as printed:
        if not kernel.is_root_of_the_machine():  # then it says that it may not
            assert printed.program.wait(TOLD_WITHIN) == 1
            return
        assert printed.next().endswith(f" ({os.getpid()})")
        assert re.fullmatch(r"processor +[0-9.]+ s", printed.next())
        assert printed.program.wait(TOLD_WITHIN) == 0
