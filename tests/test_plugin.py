"""The plugin for pytest: what it fails, and what it leaves alone."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

LEAKS = """
from netlink_safe import blocking
def test_leaks():
    globals()["kept"] = blocking.open_sock_diag()
"""
FORGETS = """
import warnings
from netlink_safe import blocking
def test_forgets():
    warnings.simplefilter("ignore")
    blocking.open_sock_diag()
"""
LEAKS_AN_OUTBOX = """
from netlink_safe import blocking
def test_leaks():
    globals()["kept"] = blocking.Outbox()
"""
CLOSES = """
import pytest
from netlink_safe import blocking
@pytest.fixture(scope="module")
def diag():
    with blocking.open_sock_diag() as diag:
        yield diag
def test_closes(diag):
    with blocking.open_uevents(subsystem="net"):
        pass
    list(diag.dump(blocking.tcp_sockets(states="listen")))
"""
WAITS = """
import threading
from netlink_safe import blocking
def test_waits():
    with blocking.open_sock_diag() as diag, blocking.watch_lock(threading.Lock(), name="mine"):
        diag.read_proc_net("snmp")
"""


def run(text: str, directory: Path, **environment: str) -> str:
    """What pytest tells of a file, with the plugin."""
    (directory / "test_it.py").write_text(text)
    options = ["-p", "netlink_safe.testing.plugin", "-p", "no:cacheprovider"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *options, str(directory)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=directory,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **environment},
    ).stdout


@pytest.mark.parametrize(
    ("text", "told"),
    [(LEAKS, "a socket for sock_diag"), (LEAKS_AN_OUTBOX, "a socket for user, an outbox")],
)
def test_what_is_left_open_fails_its_test(text: str, told: str, tmp_path: Path) -> None:
    """And says what it is and how not to."""
    said = run(text, tmp_path)
    assert f"this test left open: {told}" in said
    assert "1 passed, 1 error" in said


@pytest.mark.parametrize("text", [CLOSES, FORGETS])
def test_what_is_closed_or_a_larger_fixture_s_passes(text: str, tmp_path: Path) -> None:
    """So does what nobody holds any more, which is closed with its last reference."""
    assert "1 passed" in run(text, tmp_path)


def test_a_wait_under_a_watched_lock_raises_whatever_the_environment_says(tmp_path: Path) -> None:
    """That is what a test run is for."""
    assert "LockHeldError" in run(WAITS, tmp_path, NETLINK_SAFE_LOCKS="off")
