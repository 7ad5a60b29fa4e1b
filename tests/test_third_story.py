"""The daemon that held a lock and slept in a send, whose reader waited for the lock."""

from __future__ import annotations

import pathlib
import subprocess
import sys
import threading

import pytest

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
            kernel.until(lambda: "netlink_attachskb" in places(daemon.pid))
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
