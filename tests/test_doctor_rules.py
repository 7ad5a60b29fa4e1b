"""The doctor's rules on observations that are made up: what no kernel here does on demand."""

from __future__ import annotations

import struct
from typing import Any

import attrs
import pytest

from netlink_safe.doctor import FindingKind, SeenSocket, Severity, system_calls, threads
from netlink_safe.doctor.about import short
from netlink_safe.doctor.findings import findings
from netlink_safe.doctor.observation import LOOKS, Observation, SeenThread, Waiting
from netlink_safe.families.inet_diag import TcpState
from netlink_safe.families.netlink import NetlinkFlags, NetlinkProtocol, NetlinkSocket
from netlink_safe.families.sock_diag import SocketMemory, SocketType
from netlink_safe.transport.machine import POINTER_BITS
from netlink_safe.transport.processes import SystemCall, Thread

pytestmark = pytest.mark.anywhere

BUFFER = 212_992
SENDER, OWNER = 10, 20


def row(inode: int, port_id: int, queued: int = 0, **changes: Any) -> NetlinkSocket:
    """A socket of NETLINK_USERSOCK, in no group."""
    memory = SocketMemory(queued, BUFFER, 0, BUFFER, 0, 0, 0, 0, 0)
    made = NetlinkSocket(
        protocol=NetlinkProtocol.USERSOCK,
        port_id=port_id,
        destination_port_id=0,
        destination_group=0,
        state=TcpState.CLOSE,
        type=SocketType.RAW,
        inode=inode,
        cookie=inode,
        groups=frozenset(),
        memory=memory,
        flags=NetlinkFlags(0),
    )
    return attrs.evolve(made, **changes)


def seen(one: NetlinkSocket, pid: int) -> SeenSocket:
    return SeenSocket((one,) * LOOKS, None, (pid,), (f"/usr/bin/of-{pid} --now",))


def thread(pid: int, waiting: Waiting | None, place: str | None = None) -> SeenThread:
    return SeenThread(pid, pid, "main", f"/usr/bin/of-{pid}", waiting, place, is_still=True)


def observed(queued: int, sender: SeenThread, *owners: SeenThread) -> Observation:
    """Somebody sends to somebody."""
    sockets = {1: seen(row(1, 100), SENDER), 2: seen(row(2, 200, queued), OWNER)}
    return Observation(
        by_inode=sockets,
        threads={SENDER: (sender,), OWNER: owners},
        ports=(),
        settings={},
        unseen=(),
        seconds=1.0,
    )


def blocked(seen: Observation) -> list[Any]:
    return [one for one in findings(seen) if one.kind is FindingKind.BLOCKED_SENDER]


def test_a_sender_of_whom_the_kernel_tells_no_place_is_known_by_the_full_queue() -> None:
    """A wchan of 0 is unknown, and not proof that it sleeps elsewhere."""
    sending = Waiting("sendto", "send", inode=1, port_id=200)
    (found,) = blocked(observed(BUFFER, thread(SENDER, sending)))
    assert (found.sender_pid, found.port_id, found.owner_pid) == (SENDER, 200, OWNER)
    assert "a place that the kernel does not tell" in found.evidence[0]
    assert blocked(observed(0, thread(SENDER, sending))) == []


def test_a_sender_whose_destination_is_not_seen_is_told_by_the_one_full_queue() -> None:
    """Where it cannot be another; and without one, that it is not to be seen."""
    sending = Waiting("sendmsg", "send", inode=1)
    (found,) = blocked(observed(BUFFER, thread(SENDER, sending, "netlink_attachskb")))
    assert (found.port_id, found.owner_pid) == (200, OWNER)
    (found,) = blocked(observed(0, thread(SENDER, sending, "netlink_attachskb")))
    assert (found.port_id, found.owner_pid, found.sender_pid) == (None, 0, SENDER)
    assert "not to be seen" in found.summary


def test_one_that_goes_on_in_between_is_a_warning() -> None:
    """It waits again and again, as the queue is read."""
    sending = Waiting("sendto", "send", inode=1, port_id=200)
    sender = attrs.evolve(thread(SENDER, sending, "netlink_attachskb"), is_still=False)
    (found,) = blocked(observed(BUFFER, sender))
    assert found.severity is Severity.WARNING
    assert "again and again" in found.summary


@pytest.mark.parametrize(
    ("waiting", "told"),
    [
        (Waiting("recvmsg", "receive", inode=2), "it will go on"),
        (Waiting("clock_nanosleep", "sleep"), "at something else"),
        (Waiting("futex", "lock", address=0x1000), "who has it is not recorded"),
        (None, "at something else"),
    ],
)
def test_a_chain_ends_where_it_cannot_be_followed(waiting: Waiting | None, told: str) -> None:
    """And says so; that is no deadlock yet."""
    sending = Waiting("sendto", "send", inode=1, port_id=200)
    sender = thread(SENDER, sending, "netlink_attachskb")
    (found,) = blocked(observed(BUFFER, sender, thread(OWNER, waiting)))
    assert told in found.chain[-1]
    assert not found.is_deadlock


def test_two_processes_that_send_to_each_other_are_a_deadlock() -> None:
    """Each is the other's reader, and waits for a lock that its own sender holds."""
    to_owner = Waiting("sendto", "send", inode=1, port_id=200)
    to_sender = Waiting("sendto", "send", inode=2, port_id=100)
    sockets = {1: seen(row(1, 100, BUFFER), SENDER), 2: seen(row(2, 200, BUFFER), OWNER)}
    threads = {}
    for pid, sending in ((SENDER, to_owner), (OWNER, to_sender)):
        writer = thread(pid, sending, "netlink_attachskb")
        reader = attrs.evolve(
            thread(pid, Waiting("futex", "lock", address=1, holder=pid), "futex"), tid=pid + 1
        )
        threads[pid] = (writer, reader)
    found = blocked(Observation(sockets, threads, (), {}, (), 1.0))
    assert {one.sender_pid for one in found} == {SENDER, OWNER}
    assert all(one.is_deadlock for one in found)
    assert all(set(one.pids) == {SENDER, OWNER} for one in found)


def test_a_holder_is_not_guessed_where_another_thread_runs() -> None:
    """That one may have the lock, or be the reader; a guess does not say restart."""
    sending = Waiting("sendto", "send", inode=2, port_id=200)
    sender = thread(OWNER, sending, "netlink_attachskb")
    idle = attrs.evolve(thread(OWNER, Waiting("futex", "lock", address=1), "futex"), tid=21)
    busy = attrs.evolve(thread(OWNER, None), tid=22, is_still=False)
    sockets = {2: seen(row(2, 200, BUFFER), OWNER)}

    def found(*threads: SeenThread) -> Any:
        (one,) = blocked(Observation(sockets, {OWNER: threads}, (), {}, (), 1.0))
        return one

    assert found(sender, idle).is_deadlock
    assert "look at" in found(sender, idle).mend
    assert not found(sender, idle, busy).is_deadlock


def test_a_full_queue_is_no_more_than_a_warning_where_a_thread_runs() -> None:
    """It may be the reader, which is slow."""
    busy = attrs.evolve(thread(OWNER, None), is_still=False)
    idle = attrs.evolve(thread(OWNER, Waiting("pause", "sleep")), tid=21)
    severities = {
        one.severity
        for one in findings(observed(BUFFER, thread(SENDER, None), busy, idle))
        if one.kind is FindingKind.BACKLOG
    }
    assert severities == {Severity.WARNING}


def test_of_several_messages_that_go_to_several_places_none_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At which one sendmmsg sleeps is not to be seen; where all go to one place, that is it."""
    call = SystemCall(307, (3, 0x10000, 2, 0, 0, 0), 0x7FFF_0000_0000, 0)

    def destination(*ports: int) -> int | None:
        def memory(_: int, address: int, length: int) -> bytes:
            if length == system_calls.POINTER.size:
                return system_calls.POINTER.pack(address + 8)
            at = (address - 8 - 0x10000) // (8 * system_calls.POINTER.size)
            return system_calls.ADDRESS.pack(16, 0, ports[at], 0)

        monkeypatch.setattr("netlink_safe.transport.processes.memory", memory)
        return threads.destination(1, "sendmmsg", call)

    assert destination(200, 200) == 200
    assert destination(200, 300) is None


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("/usr/sbin/alarmd -f", "alarmd"),
        ("/usr/bin/python3 /opt/x/agent.py --now", "agent.py"),
        ("python3.11 -c import", "python3.11"),
        ("/bin/sh", "sh"),
        ("", "a process"),
    ],
)
def test_a_program_is_called_by_its_name(command: str, name: str) -> None:
    """An interpreter by the name of its script."""
    assert short(command) == name


def test_system_calls_are_known_by_machine_and_width() -> None:
    """A number of another kind of process means nothing here, nor does a futex that only wakes."""
    known = {202: "futex", 44: "sendto"}
    ours, other = (0x7FFF_0000_0000, 0x1000) if POINTER_BITS > 32 else (0x1000, 0x7FFF_0000_0000)
    assert system_calls.name_of(SystemCall(44, (0,) * 6, ours, 0), known) == "sendto"
    assert system_calls.name_of(SystemCall(44, (0,) * 6, other, 0), known) is None
    assert system_calls.name_of(SystemCall(202, (0, 128, 0, 0, 0, 0), ours, 0), known) == "futex"
    assert system_calls.name_of(SystemCall(202, (0, 129, 0, 0, 0, 0), ours, 0), known) is None
    for table in system_calls.MACHINES.values():
        assert set(table.values()) <= system_calls.PURPOSES.keys()


@pytest.mark.parametrize(
    ("machine", "bits", "send"),
    [
        ("x86_64", 64, 44),
        ("aarch64", 64, 206),
        ("aarch64", 32, 290),
        ("armv8l", 32, 290),
        ("armv7l", 32, 290),
        ("x86_64", 32, None),
    ],
)
def test_a_32_bit_process_under_a_64_bit_kernel_has_calls_of_its_own(
    machine: str, bits: int, send: int | None
) -> None:
    """The kernel calls itself by its own kind, whose numbers are not those of the process."""
    known = system_calls.names(machine, bits) or {}
    assert [number for number, name in known.items() if name == "sendto"] == [send] * bool(send)


@pytest.mark.parametrize("futex", [8, 12])
def test_who_writes_under_a_lock_of_readers_and_writers_is_told(
    monkeypatch: pytest.MonkeyPatch, futex: int
) -> None:
    """Behind either futex of struct pthread_rwlock_t, with flags before it if pointers are short.

    glibc, sysdeps/nptl/bits/struct_rwlock.h.
    """
    words = [0] * 10
    words[6 if POINTER_BITS > 32 else 7] = 21
    lock = struct.pack("=10I", *words)

    def memory(_: int, address: int, length: int) -> bytes:
        return lock[address - 0x1000 :][:length]

    monkeypatch.setattr("netlink_safe.transport.processes.memory", memory)
    monkeypatch.setattr(system_calls, "names", lambda: {7: "futex"})
    stack = 0x7FFF_0000_0000 if POINTER_BITS > 32 else 0x7FFF_0000
    call = SystemCall(7, (0x1000 + futex, 128, 0, 0, 0, 0), stack, 0)
    waiter, writer = (
        Thread(tid, "main", made, None, 0, tid, is_seen=True)
        for tid, made in ((20, call), (21, None))
    )
    told = threads.waiting(OWNER, waiter, [waiter, writer], ())
    assert told == Waiting("futex", "lock", address=0x1000 + futex, holder=21)
