"""Completion in a shell: what the real bash offers, and scripts that the others can read."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from test_command import run

if TYPE_CHECKING:
    from pathlib import Path

#: As bash calls the function of a command when the key is pressed.
ASKS = """
PATH={bin}:$PATH
eval "$(netlink-safe completion bash)"
COMP_WORDS=({words}) COMP_CWORD={last}
_netlink_safe_completion netlink-safe
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["so"], {"sockets"}),
        (["doctor", "--inte"], {"--interval"}),
        (["tcpstat", "--method", ""], {"dump", "counters"}),
    ],
)
def test_bash_offers_verbs_options_and_values(
    words: list[str], offered: set[str], tmp_path: Path
) -> None:
    """As the command line itself defines them."""
    command = tmp_path / "netlink-safe"
    command.write_text(
        f"#!{sys.executable}\nfrom netlink_safe.cli.main import main\nmain()\n", "utf-8"
    )
    command.chmod(0o755)
    line = shlex.join(["netlink-safe", *words])
    ended = subprocess.run(
        ["bash", "-c", ASKS.format(bin=tmp_path, words=line, last=len(words))],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ,
    )
    assert ended.stderr == ""
    assert set(ended.stdout.split()) == offered


@pytest.mark.parametrize("shell", ["bash", "fish", "zsh"])
def test_each_shell_has_a_script(shell: str) -> None:
    """It asks the command itself, by a variable of its environment."""
    ended = run("completion", shell)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert f"_NETLINK_SAFE_COMPLETE={shell}_complete" in ended.stdout


def test_an_unknown_shell_is_wrong_usage() -> None:
    """In a line that names the known ones."""
    ended = run("completion", "tcsh")
    assert ended.returncode == 2
    assert "'bash', 'fish', 'zsh'" in ended.stderr
