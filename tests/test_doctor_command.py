"""``netlink-safe doctor`` as an operator runs it: what it prints, and how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from functools import partial

import faulty
import kernel
from examined import here, sleeps_in
from netlink_safe import blocking
from test_command import COMMAND, run, start

#: What the programs are called: their text is an argument.
NAME = os.path.basename(sys.executable)
QUICK = ("doctor", "--interval", "0.05", "--netns")


def test_a_sound_machine_ends_with_status_0() -> None:
    """And says at how much it looked."""
    with blocking.open_user():
        ended = run(*QUICK, here())
    assert (ended.returncode, ended.stderr) == (0, "")
    # Another test may look into every namespace meanwhile, with sockets that are here for that.
    assert re.fullmatch(
        r"\d+ netlink sockets of \d+ processes, looked at 5 times in 0.05 s: nothing is wrong\n",
        ended.stdout,
    )


def test_the_chain_is_printed_from_the_stuck_program_to_the_held_lock() -> None:
    """Status 1 says that it is severe."""
    with (
        faulty.running(faulty.DEADLOCKED, "mutex") as (daemon, port_id, reader, holder),
        faulty.running(faulty.SENDER, port_id, "sendto") as (login, _),
    ):
        for tid, place in ((login, "netlink"), (holder, "netlink"), (reader, "futex")):
            kernel.until(partial(sleeps_in, tid, place))
        ended = run(*QUICK, here(), "--pid", str(login))
        listed = run(*QUICK, here(), "--sockets")
        document = json.loads(run(*QUICK, here(), "--json").stdout)
    assert ended.returncode == 1
    text = " ".join(ended.stdout.split())
    assert text.startswith(f"SEVERE {NAME} (pid {login}) sleeps in a send to the usersock socket")
    assert f"1. thread {login} of {NAME}" in text
    assert f"2. thread {reader} of {NAME} (pid {daemon}) waits for a lock" in text
    assert f"that thread {holder} of the same process holds" in text
    assert "likely a deadlock" in text
    rows = [line.split() for line in listed.stdout.splitlines()]
    assert ["usersock", str(port_id), str(daemon)] in [row[:3] for row in rows]
    found = [one for one in document["findings"] if one["sender_pid"] == login]
    assert [one["port_id"] for one in found] == [port_id]
    assert {one["owner_pid"] for one in found} == {daemon}
    assert document["sockets"][0]["processes"][0]["command"]


def test_a_watch_tells_what_comes_and_what_is_over() -> None:
    """As lines for people, and as an object a line; Ctrl-C ends it."""
    with blocking.open_user():
        watch = start([*QUICK, here(), "--watch", "0.1"], stdout=subprocess.PIPE)
        assert watch.stdout is not None
        with watch:
            assert "nothing is wrong" in watch.stdout.readline()
            with faulty.running(faulty.COPIED_BUFFER) as (pid, _):
                assert f"(pid {pid}) has a receive buffer" in watch.stdout.readline()
            lines = iter(watch.stdout.readline, "")
            assert next(line for line in lines if "over" in line)
            watch.send_signal(signal.SIGINT)
            assert watch.wait(30) == 130
    with subprocess.Popen(
        [*COMMAND, *QUICK, here(), "--watch", "--json"], text=True, stdout=subprocess.PIPE
    ) as watch:
        assert watch.stdout is not None
        assert json.loads(watch.stdout.readline())["findings"] == []
        watch.send_signal(signal.SIGINT)
        assert watch.wait(30) == 130


def test_what_does_not_go_together_is_wrong_usage() -> None:
    """Each in a line that says what does."""
    for options, told in (
        (("--watch", "1", "--sockets"), "--sockets lists once"),
        (("--interval", "20"), "leaves no time"),
        (("--interval", "0"), "above 0"),
        (("--netns", "nowhere"), "no network namespace is called"),
    ):
        ended = run("doctor", *options)
        assert ended.returncode in {1, 2}
        assert told in ended.stderr
