"""The command as a user runs it: what it prints, and how it ends."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMAND = (sys.executable, "-c", "from netlink_safe.cli.main import main; main()")


def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=60, check=False, **options
    )


def start(arguments: Sequence[str], **options: Any) -> subprocess.Popen[str]:
    """Start it, with its output to read."""
    return subprocess.Popen([*COMMAND, *arguments], text=True, stderr=subprocess.PIPE, **options)


DEAF = """
from netlink_safe.cli.main import main
from netlink_safe.testing import faults
with faults.deaf(sockets={sockets}):
    main()
"""


def test_a_table_that_a_person_reads() -> None:
    """Every state has a row, and the queues stand below."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ended = run("tcpstat")
        port = listener.getsockname()[1]
    lines = ended.stdout.splitlines()
    assert lines[0].startswith("TCP sockets, by dump, in ")
    assert lines[2].split() == ["STATE", "INET", "INET6", "TOTAL"]
    assert ["LISTEN", "1", "0", "1"] in [line.split() for line in lines]
    assert lines[-1].endswith(f"fullest 127.0.0.1 port {port}: 0 of 128")
    assert (ended.returncode, ended.stderr) == (0, "")


def test_json_is_one_document() -> None:
    """With the keys that agents rely on."""
    stats = json.loads(run("tcpstat", "--json", "--family", "inet").stdout)
    assert stats["method"] == "dump"
    assert list(stats["families"]) == ["inet"]


def test_counters_has_no_columns_for_what_it_cannot_know() -> None:
    """Totals only, and no queues."""
    ended = run("tcpstat", "--method", "counters")
    assert (ended.returncode, ended.stderr) == (0, "")
    lines = ended.stdout.splitlines()
    assert lines[2].split() == ["STATE", "TOTAL"]
    assert lines[-1].startswith("CLOSING")


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["tcpstat", "--netns", "nowhere"], 1, "no network namespace is called 'nowhere'"),
        (["tcpstat", "--netns", "4999999"], 1, "no process has the pid 4999999"),
        (["tcpstat", "--method", "counters", "--family", "inet"], 1, "together"),
        (["tcpstat", "--netns", ""], 1, "names no network namespace"),
        (["tcpstat", "--timeout", "0"], 2, "seconds above 0"),
        (["tcpstat", "--timeout", "nan"], 2, "seconds above 0"),
        (["tcpstat", "--watch", "-1"], 2, "seconds above 0"),
        (["tcpstat", "--method", "guess"], 2, "'guess' is not one of"),
        (["nonsense"], 2, "No such command 'nonsense'"),
    ],
)
def test_an_error_is_on_stderr_with_a_status(arguments: list[str], status: int, said: str) -> None:
    """One line for what went wrong; usage has click's own words and status."""
    ended = run(*arguments)
    assert ended.returncode == status
    assert said in ended.stderr
    assert ended.stdout == ""
    if status == 1:
        assert ended.stderr.count("\n") == 1
        assert ended.stderr.startswith("netlink-safe: ")


def test_a_timeout_has_a_status_of_its_own() -> None:
    """124, as timeout(1) has it, and one line that says what was waited for."""
    ended = subprocess.run(
        [sys.executable, "-c", DEAF.format(sockets=None), "tcpstat", "--timeout", "0.2"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 124
    assert ended.stderr.startswith("netlink-safe: no end to the reply to the dump of TCP sockets")
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [["--json"], []])
def test_a_watch_is_a_stream_where_there_is_no_terminal(arguments: list[str]) -> None:
    """A line a sample; when its reader goes away the command ends without a word."""
    with start(["tcpstat", "--watch", "0.01", *arguments], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        lines = [process.stdout.readline() for _ in range(3)]
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(30) == 141
    if arguments:
        assert [json.loads(line)["method"] for line in lines] == ["dump"] * 3
    else:
        assert all(" listen=0 " in line for line in lines)


def test_a_watch_on_a_terminal_is_drawn_over_and_ends_quietly_with_control_c() -> None:
    """What changed is shown, Ctrl-C says nothing, and the status is 130."""
    controller, terminal = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    with start(["tcpstat", "--watch", "0.05"], stdout=terminal, env=environment) as process:
        os.close(terminal)
        shown = ""
        listener = None
        while "+1" not in shown:
            shown += os.read(controller, 65536).decode()
            if listener is None and "LISTEN" in shown:
                listener = socket.create_server(("127.0.0.1", 0))
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert process.stderr is not None
        assert process.stderr.read() == ""
    os.close(controller)
    assert listener is not None
    listener.close()
    assert "PER SECOND" in shown


def test_a_passing_fault_does_not_end_a_watch() -> None:
    """A sample that fails is told on stderr, and the next one is taken."""
    with subprocess.Popen(
        [
            sys.executable,
            "-c",
            DEAF.format(sockets=4),
            *["tcpstat", "--timeout", "0.2", "--watch", "0.01"],
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert " listen=0 " in process.stdout.readline()
        assert process.stderr.readline().startswith("netlink-safe: no end to")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
        assert process.returncode == 130


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [((), "cli"), (("tcpstat", "--json"), "cli"), (("exporter",), "exporter")],
)
def test_without_click_the_command_says_what_to_install(
    arguments: tuple[str, ...], extra: str
) -> None:
    """The extra that has all that the verb needs has a name, and the error gives it."""
    program = (
        "import sys; sys.modules['click'] = None; from netlink_safe.cli.main import main; main()"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    assert f"pip install 'netlink-safe[{extra}]'" in ended.stderr


def test_help_and_version() -> None:
    """Every verb has its line; statuses are told."""
    shown = run("--help").stdout
    assert "tcpstat     Count TCP sockets by state." in shown
    assert "124 the deadline" in shown
    assert run("--version").stdout.startswith("netlink-safe, version 0.")
    assert "--netns" in run("tcpstat", "-h").stdout


def test_a_closed_standard_output_is_one_line() -> None:
    """With status 1, as any error; where there is nowhere to say it, nothing is said."""
    for redirections, said in (
        (">&-", "netlink-safe: standard output is closed\n"),
        (">&- 2>&-", ""),
    ):
        ended = subprocess.run(
            ["sh", "-c", f'exec "$@" {redirections}', "sh", *COMMAND, "tcpstat"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", said)


def test_what_a_name_holds_does_not_reach_the_terminal() -> None:
    """Escapes of an argument are written out in the error line."""
    ended = run("link", "delete", "\x1b[31mred\n")
    assert ended.returncode == 1
    assert "the link \\x1b[31mred\\n: No such device" in ended.stderr
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [["tcpstat"], ["tcpstat", "--json"], ["sockets"], ["genl", "list"], ["--help"]]
)
def test_a_full_disk_is_one_line_and_a_status(arguments: list[str]) -> None:
    """However little there was to be written: what is buffered is written at the end."""
    with open("/dev/full", "w", encoding="ascii") as full:
        command = [*COMMAND, *arguments]
        ended = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=60
        )
    assert ended.returncode == 1
    assert ended.stderr.startswith("netlink-safe: ")
    assert "No space left on device" in ended.stderr
    assert ended.stderr.count("\n") == 1
