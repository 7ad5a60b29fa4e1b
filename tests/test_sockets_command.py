"""``netlink-safe sockets`` as a user runs it: what it lists, against ss, and how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
from collections import Counter
from typing import Any

import pytest

import kernel
import netlink_safe as nls
import oracles
from netlink_safe.protocol.deadline import Deadline
from netlink_safe.transport import processes
from sockets_listed import every_kind, inode_of, listed
from test_command import COMMAND, run, start

#: By kind, how ss is asked for it.
OPTIONS = {"tcp": "-t", "udp": "-u", "mptcp": "-M"}


def cookies(found: list[dict[str, Any]]) -> Counter[int]:
    return Counter(one["cookie"] for one in found)


def inet_row(one: dict[str, Any]) -> tuple[str, str, str]:
    """As oracles.ss_rows has it."""

    def end(told: dict[str, Any]) -> str:
        address = f"[{told['address']}]" if ":" in told["address"] else told["address"]
        return f"{address}:{told['port']}"

    return one["state"].lower(), end(one["source"]), end(one["destination"])


def test_all_that_ss_shows_is_listed_and_no_more() -> None:
    """Of every kind, in every state, of both families; and each kind alone is the same."""
    with every_kind() as made:
        everything = listed()
        of_kind = {kind: [one for one in everything if one["kind"] == kind] for kind in made}
        for kind, option in OPTIONS.items():
            theirs = oracles.ss_rows(option)
            assert theirs in (Counter(map(inet_row, of_kind[kind])), None), kind
        unix = oracles.ss_lines("-xae")
        packet = oracles.ss_lines("-0ae")
        netlink = oracles.ss_lines("-ae", "-A", "netlink")
        for kind, sock in made.items():
            alone = listed(f"--{kind}")
            assert {one["kind"] for one in alone} == {kind}
            if kind != "netlink":
                cookies = (
                    Counter(one["cookie"] for one in these) for these in (alone, of_kind[kind])
                )
                assert next(cookies) == next(cookies)
            assert inode_of(sock) in {one["inode"] for one in alone}
    if unix is not None and packet is not None and netlink is not None:
        ends = [re.search(r".* (\d+) +\* +(\d+)", line) for line in unix]
        assert Counter(int(end[1]) for end in ends if end) == Counter(
            one["inode"] for one in of_kind["unix"]
        )
        assert len(packet) == len(of_kind["packet"])
        ports = Counter(
            one["port_id"] for one in of_kind["netlink"] if one["protocol"] != "sock_diag"
        )
        theirs_too = Counter(
            max(int(words[3].partition(":")[2].replace("*", "0")), 0)
            for words in map(str.split, netlink)
            if words[3].partition(":")[0] != "4"
        )
        assert ports.keys() == theirs_too.keys()


@pytest.mark.parametrize(
    "text",
    [
        "sport = :{port}",
        "dport :{port} or sport :{port}",
        "src 127.0.0.1 and not dst 127.0.0.0/8",
        "( sport >= :{port} and sport <= :{port} ) and src 127.0.0.0/8",
        "not sport = :{port}",
        "dst [::1]",
        "src 127.0.0.1:{port}",
        "dev = lo",
        "sport != :{port} and sport > :1024",
    ],
)
def test_a_filter_gives_what_that_of_ss_gives(text: str) -> None:
    """The same words, the same sockets."""
    with every_kind() as made:
        asked = text.format(port=made["tcp"].getsockname()[1])
        found = listed("--tcp", *asked.split())
        theirs = oracles.ss_lines("-tae", asked)
        everything = listed("--tcp")
    assert 0 <= len(found) < len(everything)
    if theirs is not None:
        assert Counter((one["source"]["port"], one["destination"]["port"]) for one in found) == (
            Counter(
                tuple(int(end.rpartition(":")[2].replace("*", "0")) for end in line.split()[3:5])
                for line in theirs
            )
        )


def test_states_and_families_are_asked_for_beside_the_filter() -> None:
    """Several states are or; kinds without any are left out."""
    with every_kind():
        found = listed("--state", "listen", "--state", "CLOSE_WAIT")
        assert {one["state"].lower() for one in found} == {"listen", "close_wait"}
        assert {one["kind"] for one in found} == {"tcp", "mptcp", "unix"}
        of_one = listed("--family", "inet6")
        assert {one["family"] for one in of_one} == {"inet6"}
        assert {one["kind"] for one in of_one} == {"tcp", "udp"}


def test_who_holds_a_socket_and_what_it_has_been_through() -> None:
    """By pid and command line; tcp_info in JSON has every field."""
    with every_kind() as made:
        found = {one["inode"]: one for one in listed("--process", "--info")}
        for sock in made.values():
            assert [one["pid"] for one in found[inode_of(sock)]["processes"]] == [os.getpid()]
            assert found[inode_of(sock)]["processes"][0]["command"]
        connected = [one for one in found.values() if one["kind"] == "tcp" and one["info"]]
        assert all(one["info"]["snd_mss"] for one in connected if one["state"] == "ESTABLISHED")
        table = run("sockets", "-t", "-p", "--info").stdout
    assert table.splitlines()[0].split()[-2:] == ["PROCESS", "INFO"]
    assert f"{os.getpid()} " in table
    assert "rtt " in table


def test_who_may_not_look_at_others_is_told_how_many() -> None:
    """On standard error; the sockets are listed all the same."""
    if not kernel.is_root_of_the_machine():
        pytest.skip("a user namespace with one user has no other user")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def told() -> str:
            listener.close()
            os.setgroups([])
            os.setresuid(65534, 65534, 65534)
            from netlink_safe.cli import sockets_found

            asked = sockets_found.Asked(("tcp",), (), (), None, False, True, None, 5.0)
            found = sockets_found.look(asked)
            (one,) = found.sockets
            return f"{one.row.source.port} {one.processes} {found.unseen > 0}"

        assert kernel.in_child(told) == f"{port} () True"


def test_another_namespace_is_looked_into_with_its_own_names() -> None:
    """An interface in a filter is that of the namespace."""
    with kernel.named_namespace("elsewhere") as path:

        def bound() -> socket.socket:
            sock = socket.create_server(("127.0.0.1", 0))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo\0")
            return sock

        with kernel.in_namespace(path, bound) as sock:
            (found,) = listed("--netns", "elsewhere", "--tcp", "dev", "lo")
            assert found["inode"] == inode_of(sock)
            assert (
                f"127.0.0.1%lo:{sock.getsockname()[1]}"
                in run("sockets", "--netns", "elsewhere", "-t").stdout
            )
        ended = run("sockets", "--netns", "elsewhere", "dev", "eth77")
        assert ended.returncode == 1
        assert "there is no interface 'eth77' in the network namespace elsewhere" in ended.stderr


def test_a_watch_tells_what_comes_and_what_goes() -> None:
    """A line each; with --json an object for each look; Ctrl-C ends it."""
    watch = start(["sockets", "-t", "--watch", "0.05"], stdout=subprocess.PIPE)
    assert watch.stdout is not None
    with watch, socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        come = watch.stdout.readline().split()
        assert come[1:4] == ["+", "tcp", "listen"]
        assert come[6] == f"127.0.0.1:{port}"
        listener.close()
        assert watch.stdout.readline().split()[1:4] == ["-", "tcp", "listen"]
        watch.send_signal(signal.SIGINT)
        assert watch.wait(30) == 130
    with subprocess.Popen(
        [*COMMAND, "sockets", "-t", "--watch", "0.05", "--json"], text=True, stdout=subprocess.PIPE
    ) as watch:
        assert watch.stdout is not None
        told = json.loads(watch.stdout.readline())
        assert told.keys() == {"taken_at", "sockets"}
        assert told["sockets"] == []
        watch.send_signal(signal.SIGINT)
        assert watch.wait(30) == 130


def test_the_deadline_is_for_the_walk_over_processes_too() -> None:
    """It ends with the status of a timeout."""
    ended = run("sockets", "--netlink", "--process", "--timeout", "0.000001")
    assert ended.returncode == 124
    with pytest.raises(nls.NetlinkTimeout, match="who holds the sockets"):
        processes.holders({1}, Deadline(1e-9))
