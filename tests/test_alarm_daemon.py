"""The example of the third story: a daemon under load, and peers in C that know only headers."""

from __future__ import annotations

import contextlib
import pathlib
import re
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import netlink_safe as nls
from debian_peers import compiler

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLES = pathlib.Path(__file__).parent.parent / "examples"
PORT = 4711
WATCH = 0x10


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The peer, compiled."""
    program = str(tmp_path_factory.mktemp("peer") / "alarm_peer")
    source = str(EXAMPLES / "alarm_peer.c")
    subprocess.run(
        [compiler(), "-O2", "-Wall", "-Wextra", "-Werror", "-o", program, source],
        check=True,
        timeout=60,
    )
    return program


@contextlib.contextmanager
def daemon(*options: str) -> Iterator[subprocess.Popen[str]]:
    """The daemon, listening; ended with the body if it has not ended itself."""
    command = [sys.executable, str(EXAMPLES / "alarm_daemon.py"), "--port", str(PORT), *options]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        try:
            assert running.stdout is not None
            assert running.stdout.readline() == f"listening at port {PORT}\n"
            yield running
        finally:
            running.kill()


def test_a_peer_in_c_watches_raises_and_clears(peer: str) -> None:
    """It knows netlink's header and nothing else, and checks type and order of what it hears."""
    with daemon() as running:
        told = subprocess.run(
            [peer, str(PORT), "3", "raise", "fire", "raise", "water", "clear", "fire"],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        assert told.stdout.split("\n")[:3] == ["1 raised fire", "2 raised water", "3 cleared fire"]
        late = subprocess.run(
            [peer, str(PORT), "1"], capture_output=True, text=True, timeout=30, check=True
        )
        assert late.stdout == "0 raised water\n"
        running.send_signal(signal.SIGTERM)
        out, err = running.communicate(timeout=30)
    assert (running.returncode, err) == (0, "")
    assert "sent=4" in out


def test_it_is_never_stuck_however_full_the_queues_are(peer: str) -> None:
    """One peer never reads, one reads; four threads report all the while, and the sums hold."""
    with (
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 2) as deaf,
        daemon("--changes", "100000") as running,
    ):
        deaf.sendto(nls.message(WATCH), (PORT, 0))
        heard = subprocess.run([peer, str(PORT), "5000"], stdout=-1, timeout=60, check=True)
        assert heard.stdout.count(b"\n") >= 5000
        running.send_signal(signal.SIGTERM)
        out, err = running.communicate(timeout=30)
    assert (running.returncode, err) == (0, "")
    counts = {name: int(number) for name, number in re.findall(r"'?(\w+)'?[=:] ?(\d+)", out)}
    assert counts["sent"] >= 5000
    ended = counts["sent"] + counts["oldest"] + counts["newest"] + counts["undelivered"]
    assert counts["posted"] == ended
    assert counts["held"] == 0


def test_what_is_no_message_is_passed_over() -> None:
    """And the next order is obeyed."""
    with (
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 2) as stranger,
        daemon() as running,
    ):
        for nonsense in (b"x", b"\xff" * 16, nls.message(0x99, b"what?")):
            stranger.sendto(nonsense, (PORT, 0))
        stranger.sendto(nls.message(WATCH), (PORT, 0))
        stranger.sendto(nls.message(WATCH + 1, b"\xff\0"), (PORT, 0))
        stranger.settimeout(30)
        assert stranger.recv(4096)[16:].decode() == "raised \N{REPLACEMENT CHARACTER}"
        running.send_signal(signal.SIGTERM)
        _, err = running.communicate(timeout=30)
    assert err.count("passed over: ") == 2
