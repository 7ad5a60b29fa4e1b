"""What ``netlink-safe sockets`` shows on a terminal, and what it refuses."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import signal
import socket
import struct
import subprocess
from types import SimpleNamespace

import pytest

import kernel
from netlink_safe.cli.sockets_found import Shown, identity, interface_names
from netlink_safe.families.inet_rows import SctpSocket
from netlink_safe.families.inet_socket import ROW_MINIMUM
from sockets_listed import IPPROTO_MPTCP, every_kind, inode_of, listed
from test_command import run, start


def test_a_table_that_a_person_reads() -> None:
    """Each kind in its own words, columns below their headings."""
    with every_kind() as made:
        lines = run("sockets").stdout.splitlines()
        port = made["tcp"].getsockname()[1]
        inode = inode_of(made["unix"])
        port_id = made["netlink"].getsockname()[0]
    assert lines[0].split() == ["KIND", "STATE", "RECV-Q", "SEND-Q", "LOCAL", "PEER"]
    words = [line.split() for line in lines]
    assert ["tcp", "listen", "0", "128", f"127.0.0.1:{port}", "0.0.0.0:*"] in words
    assert ["unix", "listen", "0", "7", "@of", "all", "kinds", str(inode), "*"] in words
    shown = f"kobject_uevent:{port_id}"
    assert ["netlink", "close", "0", "0", shown, "groups", "1,2", "*"] in words
    assert ["packet", "-", "ipv4:lo", "*"] in [each[:2] + each[-2:] for each in words]


def test_a_name_cannot_move_the_cursor() -> None:
    """Whatever a socket calls itself, it is one line of the table."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(b"\0\x1b[2J\n\xff\xe2\x80\xae")
        ended = run("sockets", "-x")
        (found,) = [one for one in listed("-x") if one["inode"] == inode_of(sock)]
    assert "\x1b" not in ended.stdout
    assert r"@\x1b[2J\n" in ended.stdout
    assert found["name"] == r"\x00\x1b[2J\x0a\xff\xe2\x80\xae"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["dst", ":99999"], "99999"),
        (["dst", ":443", "and", "("], "a condition is missing"),
        (["--unix", "dst", ":443"], "the kernel runs no filter for --unix"),
        (["--packet", "--state", "listen"], "have no state"),
        (["--unix", "--family", "inet6"], "of neither family"),
        (["--state", "waiting"], "waiting"),
        (["state", "listen"], "--state"),
    ],
)
def test_what_says_nothing_is_wrong_usage(arguments: list[str], told: str) -> None:
    """And nothing is listed; of a filter's text the place is shown."""
    ended = run("sockets", *arguments)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert told in ended.stderr
    if "filter says" in ended.stderr:
        text, arrow = ended.stderr.rstrip("\n").splitlines()[-2:]
        assert arrow.strip() == "^"
        assert len(arrow) <= len(text) + 1


def test_a_kind_that_the_kernel_lacks_is_told_only_where_it_is_asked_for_by_name() -> None:
    """There is hardly a kernel with UDP-Lite and SCTP and vsock loaded in a namespace of a test."""
    for kind in ("udplite", "sctp", "vsock", "raw"):
        ended = run("sockets", f"--{kind}")
        if ended.returncode:
            assert "does not support" in ended.stderr
            assert ended.stderr.count("\n") == 1
    ended = run("sockets")
    assert (ended.returncode, ended.stderr) == (0, "")
    missing = run("sockets", "--netns", "nowhere")
    assert (missing.returncode, missing.stdout) == (1, "")
    assert "no network namespace is called" in missing.stderr


def test_nothing_is_cut_off_in_silence() -> None:
    """Unbuffered, too: what the reader has not taken is an error, and not a shorter list."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with contextlib.ExitStack() as held:
        for number in range(400):
            held.enter_context(socket.socket(socket.AF_UNIX)).bind(
                b"\0" + b"n" * 90 + b"%d" % number
            )
        listing = start(["sockets", "-x", "--json"], stdout=subprocess.PIPE, env=environment)
        with listing:
            assert listing.stdout is not None
            assert listing.stdout.read(10)
            listing.stdout.close()
            assert listing.wait(30) == 141
        whole = run("sockets", "-x", "--json", env=environment)
    assert len(json.loads(whole.stdout)) == 400


def test_a_name_that_the_terminal_cannot_write_ends_nothing() -> None:
    """It is an escape there."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(b"\0" + "\u4f60".encode())
        ended = run("sockets", "-x", env={**os.environ, "PYTHONIOENCODING": "latin-1"})
    assert (ended.returncode, ended.stderr) == (0, "")
    assert r"@\u4f60" in ended.stdout


def test_what_asks_is_not_told_of() -> None:
    """Where nothing happens a watch has nothing to say."""
    holders = [each for one in listed("--netlink", "-p") for each in one["processes"]]
    assert not [each for each in holders if each["command"].endswith("sockets --json --netlink -p")]


def test_a_terminal_shows_what_came_in_lines_that_fit() -> None:
    """Drawn over, on a narrow terminal, too; what is short is never cut."""
    leader, follower = pty.openpty()
    with (
        os.fdopen(leader, "rb", buffering=0) as screen,
        os.fdopen(follower, "wb") as terminal,
        socket.create_server(("127.0.0.1", 0)) as listener,
    ):
        watch = start(
            ["sockets", "-t", "-p", "--watch", "0.05"],
            stdout=terminal,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "80"},
        )
        with watch:
            drawn = b""
            while b"PROCESS" not in drawn or str(listener.getsockname()[1]).encode() not in drawn:
                assert select.select([screen], [], [], 30)[0], drawn
                drawn += screen.read(4096)
                assert len(drawn) < 1_000_000, drawn[:5000]
            watch.send_signal(signal.SIGINT)
            assert watch.wait(30) == 130
    lines = drawn.decode("utf-8", "replace").splitlines()
    assert any(line.split()[:3] == ["tcp", "listen", "0"] for line in lines)


def test_a_peer_of_a_netlink_socket_is_shown() -> None:
    """What it is connected to, where it is."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 2) as sock:
        sock.connect((4711, 0))
        port_id = struct.unpack("=I", struct.pack("=I", sock.getsockname()[0]))[0]
        line = f"usersock:{port_id}  4711"
        assert line in "  ".join(run("sockets", "--netlink").stdout.split())


def test_associations_of_one_endpoint_are_told_apart() -> None:
    """They have its cookie; their addresses differ."""

    def row(peer: int) -> Shown:
        message = bytearray(ROW_MINIMUM)
        struct.pack_into("=I", message, 0, len(message))
        message[16] = socket.AF_INET
        struct.pack_into("!HH", message, 20, 7000, peer)
        struct.pack_into("=Q", message, 60, 99)
        return Shown("sctp", SctpSocket(bytes(message)))

    assert row(1).row.cookie == row(2).row.cookie == 99
    assert identity(row(1)) == identity(row(1))
    assert identity(row(1)) != identity(row(2))


def test_what_an_mptcp_connection_has_been_through_is_told() -> None:
    """Its token, and from Linux 6.5 on bytes and retransmissions; in JSON every field."""
    with contextlib.ExitStack() as held:

        def new() -> socket.socket:
            kind = socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP)
            return held.enter_context(kind)

        listener, client = new(), new()
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        client.connect(listener.getsockname())
        served = held.enter_context(listener.accept()[0])
        client.sendall(b"x" * 321)
        assert served.recv(321, socket.MSG_WAITALL) == b"x" * 321
        (told,) = [one for one in listed("-M", "--info") if one["inode"] == inode_of(served)]
        table = run("sockets", "-M", "--info").stdout
    assert f"token {told['info']['token']:#x}" in table
    if kernel.release() >= (6, 5):
        assert told["info"]["bytes_received"] == 321
        assert "received 321" in table


@pytest.mark.parametrize("netns", [None, "elsewhere"])
def test_an_interface_that_has_gone_has_its_index(netns: str | None) -> None:
    """And others have their names, in the namespace that was asked."""
    with kernel.named_namespace("elsewhere"):
        row = SimpleNamespace(interface=1)
        gone = SimpleNamespace(interface=0x7FFFFFFF)
        unbound = SimpleNamespace(interface=0)
        shown = [Shown("packet", one) for one in (row, gone, unbound)]
        assert interface_names(shown, netns) == {1: "lo"}
        assert interface_names(shown[2:], netns) == {}
