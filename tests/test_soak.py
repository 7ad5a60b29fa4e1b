"""The soak, for a few seconds: whoever acts in it acts, and nothing fails."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import soak
from soaking.faults import FAULTS

SOAK = Path(soak.__file__)
SECONDS = 6
#: How late a call may be here: a busy machine is no failure.
GRACE = 30


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What it says of itself."""
    told = tmp_path_factory.mktemp("soak") / "figures.json"
    command = [sys.executable, str(SOAK), f"--minutes={SECONDS / 60}", "--seed=1"]
    command += [f"--grace={GRACE}", f"--json={told}"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    found: dict[str, Any] = json.loads(told.read_text("utf-8"))
    return found


def test_everybody_acts_and_nothing_fails(figures: dict[str, Any]) -> None:
    """Each room has had a turn on each surface, and each of the others has done something."""
    assert figures["failed"] == 0
    counts = figures["counts"]
    for room in soak.TURNS:
        assert counts[f"turns of {room}"] >= 1
    for name in ("connections closed", "storms of links", "namespaces made", "messages posted"):
        assert counts[name] > 0
    called = {(it["verb"], it["surface"]) for it in figures["verbs"]}
    assert {("scrape of a registry", "blocking"), ("scrape of the exporter", "process")} <= called
    assert sum(figures["faults"][name] for name in FAULTS) >= 1
    for surface in ("trio", "asyncio", "blocking"):
        for verb in ("open all", "uevents.receive", "closings.receive", "outbox.aclose"):
            assert (verb, surface) in called


def test_what_was_told_is_what_was_received_and_lost(figures: dict[str, Any]) -> None:
    """The sums of the whole run, too."""
    counts = figures["counts"]
    for name in ("uevents", "closings", "notifications"):
        received, lost, told = (
            counts.get(f"{name} {what}", 0)
            for what in ("received", "lost, told by overruns", "told")
        )
        assert received + lost == told
    ended = ("delivered", "told as undelivered", "dropped, counted")
    assert sum(counts[f"messages {end}"] for end in ended) == counts["messages posted"]
