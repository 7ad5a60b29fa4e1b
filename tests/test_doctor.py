"""A doctor of everyone's netlink sockets: each fault is made by a program, found and named."""

from __future__ import annotations

import contextlib
import os
import pathlib
import socket
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

import faulty
import kernel
import netlink_safe as nls
from examined import KINDS, here, look, only, sleeps_in
from netlink_safe.doctor import FindingKind, Report, Severity, examine_blocking
from netlink_safe.transport import processes
from surfaces import Surface, on_every_surface

if TYPE_CHECKING:
    from collections.abc import Collection


def kinds(report: Report) -> set[FindingKind]:
    return {finding.kind for finding in report}


def is_waiting(tid: int, *system_calls: int) -> bool:
    """Whether a thread is in one of these system calls of x86-64."""
    return pathlib.Path(f"/proc/{tid}/syscall").read_text("ascii").split()[0] in map(
        str, system_calls
    )


def fill(sender: Any, port_id: int) -> None:
    """Send until there is no more room."""
    while True:
        sender.send_nowait(bytes(1000), port_id=port_id)


@on_every_surface
async def test_a_sound_machine_has_no_finding(surface: Surface) -> None:
    """Listeners, askers and peers of the library, and a plain one that waits in its group."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as monitor:
        monitor.bind((0, 1))
        waiting = threading.Thread(target=partial(monitor.recv, 65536))
        waiting.start()
        async with (
            surface.open_sock_diag() as diag,
            surface.open_uevents(subsystem="nothing"),
            surface.open_user() as user,
            surface.open_generic() as genl,
            genl.subscribe("nlctrl"),
        ):
            assert [row async for row in diag.dump(nls.netlink_sockets())]
            report = await look(surface)
            port_id = user.port_id
        async with surface.open_route() as route:
            await route.request(nls.set_link("lo", is_up=False))  # the monitor hears of that
        waiting.join()
        assert (tuple(report), report.unseen, report.is_severe) == ((), (), False)
        assert port_id in {one.row.port_id for one in report.sockets}
        # Another test may look into every namespace meanwhile, with sockets that are here for that.
        assert os.getpid() in {pid for one in report.sockets for pid in one.pids}


@on_every_surface
async def test_the_copied_buffer_is_found(surface: Surface) -> None:
    """SO_RCVBUF 1024 on a listener for devices is severe, and what to do is said."""
    with faulty.running(faulty.COPIED_BUFFER) as (pid, port_id):
        report = await look(surface)
    found = only(report, KINDS.SMALL_RECEIVE_BUFFER)
    assert (found.owner_pid, found.port_id, found.severity) == (pid, port_id, Severity.SEVERE)
    assert "2,304 bytes" in found.summary
    assert "ENOBUFS" in found.leads_to
    assert "SO_RCVBUFFORCE" in found.mend
    assert kinds(report) == {KINDS.SMALL_RECEIVE_BUFFER}


@on_every_surface
async def test_messages_lost_now_and_messages_lost_some_time_ago_differ(surface: Surface) -> None:
    """Drops that grow between the looks are severe, and old ones are a warning."""
    with faulty.running(faulty.DEAF) as (pid, port_id), nls.blocking.open_user() as sender:
        for _ in range(100):
            sender.multicast_nowait(bytes(1000), group=5)
        past = only(await look(surface), KINDS.DROPPED)
        assert (past.owner_pid, past.port_id, past.severity) == (pid, port_id, Severity.WARNING)
        over = threading.Event()

        def storm() -> None:
            while not over.wait(0.001):
                sender.multicast_nowait(bytes(1000), group=5)

        storming = threading.Thread(target=storm)
        storming.start()
        try:
            now = only(await look(surface), KINDS.DROPPING)
        finally:
            over.set()
            storming.join()
    assert (now.owner_pid, now.port_id, now.severity) == (pid, port_id, Severity.SEVERE)


@on_every_surface
async def test_a_queue_that_nobody_reads_is_found(surface: Surface) -> None:
    """What is queued at both looks is a warning; where it is full, it is severe."""
    with faulty.running(faulty.UNREAD) as (pid, port_id):
        found = only(await look(surface), KINDS.BACKLOG)
        assert (found.owner_pid, found.port_id) == (pid, port_id)
        assert found.severity is Severity.WARNING
        with nls.blocking.open_user() as sender, pytest.raises(nls.PeerQueueFull):
            fill(sender, port_id)
        assert only(await look(surface), KINDS.BACKLOG).severity is Severity.SEVERE


@on_every_surface
async def test_a_dump_that_runs_on_and_its_reader_are_found(surface: Surface) -> None:
    """A stalled dump has an empty queue, and whoever reads it hangs."""
    with faulty.running(faulty.STALLED_DUMP) as (pid, port_id):
        kernel.until(lambda: is_waiting(pid, 45))
        report = await look(surface)
    for kind in (KINDS.STALLED_DUMP, KINDS.HANGING_RECEIVE):
        found = only(report, kind)
        assert (found.owner_pid, found.port_id, found.severity) == (pid, port_id, Severity.SEVERE)
    assert kinds(report) == {KINDS.STALLED_DUMP, KINDS.HANGING_RECEIVE}


@on_every_surface
@pytest.mark.parametrize(
    ("protocol", "severity"),
    [(4, Severity.SEVERE), (0, Severity.SEVERE), (16, Severity.WARNING), (2, None)],
)
async def test_a_receive_that_hangs_is_found(
    surface: Surface, protocol: int, severity: Severity | None
) -> None:
    """On a socket that only asks; a family may speak unasked, and between processes it is usual."""
    with faulty.running(faulty.HANGING, protocol) as (pid, port_id):
        kernel.until(lambda: is_waiting(pid, 45))
        report = await look(surface)
    if severity is None:
        assert tuple(report) == ()
        return
    found = only(report, KINDS.HANGING_RECEIVE)
    assert (found.owner_pid, found.thread_id, found.port_id) == (pid, pid, port_id)
    assert found.severity is severity
    assert "recvfrom" in found.summary


@on_every_surface
@pytest.mark.parametrize("how", ["sendto", "sendmsg", "connected"])
async def test_a_sender_that_sleeps_is_found(surface: Surface, how: str) -> None:
    """With the sender's pid, the queue's port ID and its owner's pid, however it is addressed."""
    with (
        faulty.running(faulty.SLEEPER) as (owner, port_id),
        faulty.running(faulty.SENDER, port_id, how) as (sender, _),
    ):
        kernel.until(lambda: sleeps_in(sender, "netlink_attachskb"))
        report = await look(surface)
    found = only(report, KINDS.BLOCKED_SENDER)
    assert (found.sender_pid, found.port_id, found.owner_pid) == (sender, port_id, owner)
    assert (found.severity, found.is_deadlock) == (Severity.SEVERE, False)
    assert str(owner) in found.chain[-1]


@on_every_surface
@pytest.mark.parametrize("lock", ["mutex", "rwlock", "python"])
async def test_the_third_story_is_told_from_the_stuck_program_to_the_held_lock(
    surface: Surface, lock: str
) -> None:
    """Who logs in sleeps in a send; the reader waits for a lock; who holds it sleeps in a send."""
    with (
        faulty.running(faulty.DEADLOCKED, lock) as (daemon, port_id, reader, holder),
        faulty.running(faulty.SENDER, port_id, "sendmsg") as (login, _),
    ):
        kernel.until(lambda: sleeps_in(login, "netlink_attachskb"))
        kernel.until(lambda: sleeps_in(holder, "netlink_attachskb"))
        kernel.until(lambda: sleeps_in(reader, "futex"))
        report = await look(surface)
    told = {
        finding.sender_pid: finding for finding in report if finding.kind is KINDS.BLOCKED_SENDER
    }
    assert told.keys() == {login, daemon}
    found = told[login]
    assert (found.port_id, found.owner_pid, found.is_deadlock) == (port_id, daemon, True)
    assert "likely a deadlock" in found.summary
    first, second, third, last = found.chain
    assert f"thread {login} " in first
    assert f"thread {reader} " in second
    assert f"thread {holder} of the same process" in second
    assert ("holds" in second) == (lock != "python")
    assert f"thread {holder} " in third
    assert "nobody goes on" in last


@on_every_surface
async def test_who_send_to_one_another_and_do_not_read_are_a_deadlock(surface: Surface) -> None:
    """Without any lock: three programs of one thread each, in a ring."""
    ports = (70_001, 70_002, 70_003)
    with contextlib.ExitStack() as ring:
        programs = [
            ring.enter_context(faulty.started(faulty.RING, own, ports[(at + 1) % 3]))
            for at, own in enumerate(ports)
        ]
        for _, program in programs:
            assert program.stdin is not None
            program.stdin.write(b"\n")
            program.stdin.flush()
        for (pid, _), _ in programs:
            kernel.until(partial(sleeps_in, pid, "netlink_attachskb"))
        report = await look(surface)
    found = [finding for finding in report if finding.kind is KINDS.BLOCKED_SENDER]
    assert {finding.sender_pid for finding in found} == {told[0] for told, _ in programs}
    assert all(finding.is_deadlock and len(finding.chain) == 4 for finding in found)
    assert all("restart" in finding.mend for finding in found)


@on_every_surface
async def test_a_process_without_its_first_thread_has_an_owner(surface: Surface) -> None:
    """Its descriptors are to be seen by its other threads only."""
    with (
        faulty.running(faulty.SLEEPER) as (_, port_id),
        faulty.running(faulty.WITHOUT_A_FIRST_THREAD, port_id) as (pid, _, sender),
    ):
        kernel.until(lambda: not os.listdir(f"/proc/{pid}/fd"))
        found = only(await look(surface), KINDS.BLOCKED_SENDER)
    assert (found.sender_pid, found.thread_id, found.port_id) == (pid, sender, port_id)


@on_every_surface
async def test_a_lock_is_read_in_a_pid_namespace_too(surface: Surface) -> None:
    """Where threads have numbers such as the words of a mutex that are none."""
    if not kernel.is_root_of_the_machine():
        pytest.skip("a PID namespace takes root of the machine")
    within = ("unshare", "--pid", "--fork", "--kill-child")
    with faulty.started(faulty.DEADLOCKED_WITH_A_POOL, "mutex", within=within) as (
        (_, port_id, *_),
        _,
    ):
        kernel.until(lambda: bool(examine_blocking(0.05, netns=here())))
        found = only(await look(surface, interval=0.3), KINDS.BLOCKED_SENDER)
    assert (found.port_id, found.is_deadlock) == (port_id, True)
    assert any("of the same process holds" in line for line in found.chain)


@on_every_surface
async def test_who_waits_for_what_another_thread_may_ask_is_no_more_than_a_warning(
    surface: Surface,
) -> None:
    """Nothing tells an idle daemon from one whose reply is lost."""
    with faulty.running(faulty.ASKS_NOW_AND_THEN) as (_, _, reader):
        kernel.until(lambda: is_waiting(reader, 45))
        found = only(await look(surface), KINDS.HANGING_RECEIVE)
    assert (found.thread_id, found.severity) == (reader, Severity.WARNING)


@on_every_surface
async def test_a_socket_that_is_closed_before_its_holder_is_looked_for_is_none(
    surface: Surface, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It came after the first look, and whose it was cannot be told: others may come and go."""
    walk = processes.holders
    looked = 0
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 2) as passing:
        inode = os.fstat(passing.fileno()).st_ino

        def walking(inodes: Collection[int]) -> processes.Holders:
            nonlocal looked
            looked += 1
            if looked == 1:  # it is on no list before
                found = walk(inodes)
                passing.bind((0, 0))
                return found
            assert inodes == {inode}
            passing.close()
            return walk(inodes)

        monkeypatch.setattr(processes, "holders", walking)
        assert (await look(surface)).sockets == ()
        assert looked == 2
