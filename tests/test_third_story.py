"""The daemon that held a lock and slept in a send, whose reader waited for the lock."""

from __future__ import annotations

import contextlib
import pathlib
import socket
import subprocess
import sys
import threading
import time

import anyio
import pytest
import trio

import kernel
import netlink_safe as nls
from netlink_safe import blocking

#: As it is copied from the web: the sender takes the lock, the reader needs it, the queue is full.
COPIED = """
import socket, threading

def opened():
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 2)
    sock.bind((0, 0))
    return sock

table, queue, sender = threading.Lock(), opened(), opened()
sending = threading.Event()

def read():
    sending.wait()
    while True:
        with table:
            queue.recv(2000)

threading.Thread(target=read, daemon=True).start()
with table:
    sending.set()
    for _ in range(100_000):
        sender.sendto(b"alarm", queue.getsockname())
"""

#: The same daemon, the same load: the alarm is handed over under the lock, and received without it.
SAFE = """
import threading
from netlink_safe.blocking import NetlinkTimeout, Outbox, open_user, watch_lock

table = watch_lock(threading.Lock(), name="the table of alarms")
sending, over, heard = threading.Event(), threading.Event(), 0

def read():
    global heard
    sending.wait()
    while True:
        try:
            queue.receive(timeout=0.1)
        except NetlinkTimeout:
            if over.is_set():
                return
        else:
            with table:
                heard += 1

with open_user() as queue:
    reader = threading.Thread(target=read)
    reader.start()
    with Outbox() as outbox:
        with table:
            sending.set()
            for _ in range(20_000):
                outbox.post(b"alarm", port_id=queue.port_id)
    over.set()
    reader.join()
    now = outbox.statistics()
    print(now.posted, now.sent, sum(now.dropped.values()), now.undelivered, now.held, heard)
"""


def usersock() -> socket.socket:
    """A plain socket, with a port ID."""
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 2)
    sock.bind((0, 0))
    return sock


def places(pid: int) -> set[str]:
    """Where in the kernel the threads of a process sleep."""
    found = set()
    for file in pathlib.Path(f"/proc/{pid}/task").glob("*/wchan"):
        found.add(file.read_text("ascii"))
    return found


def test_the_copied_daemon_sleeps_in_the_kernel_for_ever() -> None:
    """Its sender is in netlink_attachskb, and nobody can take its lock."""
    with subprocess.Popen([sys.executable, "-c", COPIED]) as daemon:
        try:
            kernel.until(
                lambda: "netlink_attachskb" in places(daemon.pid), 60
            )  # it is to start, too
            assert daemon.poll() is None
        finally:
            daemon.kill()


def test_the_same_daemon_is_told_in_its_first_run() -> None:
    """However empty the queue is: the wait would begin under the lock."""
    table = nls.watch_lock(threading.Lock(), name="the table of alarms")
    with blocking.open_user() as queue, blocking.open_user() as sender:
        with table, pytest.raises(nls.LockHeldError, match="the table of alarms is held"):
            sender.send(b"alarm", port_id=queue.port_id)
        assert queue.statistics().datagrams == 0


def test_the_same_daemon_on_an_outbox_ends_and_accounts_for_every_alarm() -> None:
    """Under the same load and the same lock; what was sent was heard, what was not is counted."""
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", SAFE],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.stderr == ""
    posted, sent, dropped, undelivered, held, heard = map(int, ended.stdout.split())
    assert posted == 20_000 == sent + dropped + undelivered
    assert (held, undelivered) == (0, 0)
    assert heard == sent > 0


@pytest.mark.share
@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_waiting_for_a_full_peer_costs_next_to_nothing(backend: str) -> None:
    """A socket of trio that waits until it is "writable" takes all of a processor instead."""

    async def send_for(seconds: float, port_id: int) -> float:
        async with nls.open_user() as sender:
            before = time.thread_time()
            with pytest.raises(nls.NetlinkTimeout):
                await sender.send(b"x" * 1000, port_id=port_id, timeout=seconds)
            return time.thread_time() - before

    async def spin_for(seconds: float, port_id: int) -> float:
        with trio.socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 2) as sender:
            before = time.thread_time()
            with trio.move_on_after(seconds) as scope:
                await sender.sendto(b"x" * 1000, (port_id, 0))
            assert scope.cancelled_caught
            return time.thread_time() - before

    with usersock() as full, usersock() as filler:
        port_id = full.getsockname()[0]
        with contextlib.suppress(BlockingIOError):
            while True:
                filler.sendto(b"x" * 1000, socket.MSG_DONTWAIT, (port_id, 0))
        ours = anyio.run(send_for, 1.0, port_id, backend=backend)
        theirs = anyio.run(spin_for, 1.0, port_id, backend="trio")
    assert ours < 0.02
    assert theirs > 20 * ours


def test_the_same_daemon_with_send_nowait_goes_on() -> None:
    """A full queue is an error that the lock's holder can do something about."""
    table = threading.Lock()
    sent = refused = 0
    with (
        blocking.open_user(receive_buffer=32 * 1024) as queue,
        blocking.open_user() as sender,
    ):
        for _ in range(1000):
            with table:
                try:
                    sender.send_nowait(b"alarm", port_id=queue.port_id)
                    sent += 1
                except nls.PeerQueueFull:
                    refused += 1
            if refused % 100 == 99:
                with table:
                    queue.receive()
        assert sent + refused == 1000
        assert refused > 0
        while queue.statistics().queued:
            queue.receive()
        assert queue.statistics().datagrams == sent
