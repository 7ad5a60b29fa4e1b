"""Commands of the guest's own tools."""

from __future__ import annotations

import subprocess


def run(command: str) -> str:
    """What a command of the shell's prints; it must succeed."""
    return subprocess.run(
        ["sh", "-c", command], check=True, capture_output=True, text=True, timeout=60
    ).stdout
