"""``netlink-safe genl`` and ``link`` as a user runs them: what they print, and how they end."""

from __future__ import annotations

import json
import signal
import subprocess
from typing import Any

import pytest

import kernel
from links import Links, there
from netlink_safe import blocking
from test_command import run, start


def test_families_are_listed() -> None:
    """As a table, and as one document."""
    ended = run("genl", "list")
    assert (ended.returncode, ended.stderr) == (0, "")
    heading, *lines = ended.stdout.splitlines()
    assert heading.split() == ["FAMILY", "ID", "VERSION", "HEADER", "OPERATIONS", "GROUPS"]
    assert ["nlctrl", "16", "2", "0"] in [line.split()[:4] for line in lines]
    families = {one["name"]: one for one in json.loads(run("genl", "list", "--json").stdout)}
    assert families["nlctrl"]["groups"] == {"notify": 16}
    assert len(families) == len(lines)


def test_a_family_is_shown() -> None:
    """With what each operation can, and takes."""
    ended = run("genl", "show", "ethtool")
    lines = [line.split() for line in ended.stdout.splitlines()]
    assert ["2", "do,", "dump,", "policy"] in lines
    assert ["3", "do,", "policy", "CAP_NET_ADMIN"] in lines
    assert lines[-2] == ["GROUP", "ID"]
    shown = json.loads(run("genl", "show", "ethtool", "--json").stdout)
    assert shown["operations"][0]["command"] == 1


def test_a_policy_is_shown_as_it_is_nested() -> None:
    """Of one operation, or of all; what is not bounded says no bounds."""
    ended = run("genl", "policy", "ethtool", "2")
    assert ended.stdout.splitlines()[:4] == [
        "operation 2, do and dump",
        "  1   nested",
        "      1   u32",
        "      2   nul_string, at most 127 bytes",
    ]
    assert run("genl", "policy", "ethtool").stdout.count("operation ") > 20
    told = json.loads(run("genl", "policy", "ethtool", "2", "--json").stdout)
    policy = told["operations"]["2"]["do"]
    root = policy["policies"][str(policy["root"])]
    assert root["1"]["kind"] == "nested"
    assert str(root["1"]["policy"]) in policy["policies"]


def test_what_is_not_there_is_one_line() -> None:
    """On standard error, with status 1."""
    for words, text in (
        (("genl", "show", "nothing"), "there is no generic netlink family 'nothing' here"),
        (("genl", "policy", "nothing"), "there is no generic netlink family 'nothing' here"),
        (("genl", "monitor", "nothing"), "there is no generic netlink family 'nothing' here"),
        (
            ("genl", "monitor", "nlctrl", "--group", "no"),
            "no multicast group 'no'; it has: notify",
        ),
        (("genl", "monitor", "TASKSTATS"), "TASKSTATS has no multicast groups, and so tells"),
        (("link", "delete", "nothing"), "the kernel refused the link nothing"),
        (("link", "list", "--netns", "nothing"), "no network namespace is called 'nothing'"),
    ):
        ended = run(*words)
        assert (ended.returncode, ended.stdout) == (1, "")
        assert ended.stderr.startswith("netlink-safe: ")
        assert text in ended.stderr
        assert ended.stderr.count("\n") == 1
    assert run("genl", "policy", "ethtool", "300").returncode == 2
    assert run("genl").returncode in {0, 2}


def monitored(*options: str) -> subprocess.Popen[str]:
    """The monitor of ethtool, listening."""
    running = start(["genl", "monitor", "ethtool", *options], stdout=subprocess.PIPE)
    kernel.until(somebody_listens, 30)
    return running


def somebody_listens() -> bool:
    """Whether anybody in this namespace has joined a group of generic netlink."""
    with open("/proc/thread-self/net/netlink", encoding="ascii") as file:
        rows = [line.split() for line in file.readlines()[1:]]
    return any(row[1] == "16" and int(row[3], 16) for row in rows)


def change_left() -> None:
    """Something that ethtool tells of."""
    off = {3: {1: {2: b"tx-checksum-ip-generic\0"}}}
    with blocking.open_generic() as genl:
        genl.request(blocking.generic_request("ethtool", 12, {1: {2: "left"}, 3: off}))


@pytest.mark.parametrize("options", [("--json",), ()])
def test_notifications_are_shown_as_they_come(options: tuple[str, ...]) -> None:
    """An object a line, or a line; after so many it ends."""
    with Links() as links:
        links.make("left", "right")
    with monitored("--count", "1", *options) as running:
        change_left()
        out, err = running.communicate(timeout=30)
    assert (running.returncode, err) == (0, "")
    if options:
        said: dict[str, Any] = json.loads(out)
        assert (said["kind"], said["command"]) == ("notification", 13)
        assert said["attributes"]["1"]["2"] == b"left\0".hex()
    else:
        assert "command 13" in out
        assert "2: 'left'" in out


def test_the_monitor_ends_when_it_is_told_to() -> None:
    """After a time with status 0, by Ctrl-C with 130."""
    ended = run("genl", "monitor", "nlctrl", "--for", "0.05")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    with monitored() as running:
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=30)
    assert (running.returncode, out, err) == (130, "", "")


def test_links_are_listed_and_deleted() -> None:
    """Peers by name; a link that is deleted is gone."""
    with Links() as links:
        links.make("left", "right")
    lines = [line.split() for line in run("link", "list").stdout.splitlines()]
    assert lines[0][:5] == ["INDEX", "NAME", "KIND", "STATE", "MTU"]
    assert ["left", "veth", "down", "1500", "right"] in [line[1:] for line in lines]
    told = {one["name"]: one for one in json.loads(run("link", "list", "--json").stdout)}
    assert told["left"]["peer"] == told["right"]["index"]
    ended = run("link", "delete", "left")
    assert (ended.returncode, ended.stdout) == (0, "left is deleted\n")
    assert there() == {"lo"}
    with Links() as links:
        links.make("left", "right")
    assert json.loads(run("link", "delete", "right", "--json").stdout) == {"deleted": "right"}
