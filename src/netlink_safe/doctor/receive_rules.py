"""What sockets themselves say of those who should read them.

May call ``doctor.observation``, ``doctor.report``, ``doctor.about`` and ``families``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from netlink_safe.doctor.about import fill, finding, named
from netlink_safe.doctor.observation import LOOKS
from netlink_safe.doctor.report import FindingKind, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netlink_safe.doctor.observation import Observation, SeenSocket
    from netlink_safe.families.netlink import NetlinkSocket
from netlink_safe.doctor.report import Finding

#: The effective size in bytes that 8 KiB asked for come to; the kernel's least is 2304
#: (include/net/sock.h: SOCK_MIN_RCVBUF).
SMALL: Final = 16_384
#: What a small message takes of it, its struct sk_buff included.
TRUESIZE: Final = 832
#: What listeners may ask for that lose nothing in an ordinary burst, in bytes.
SENSIBLE: Final = 1_048_576


def small_receive_buffers(seen: Observation) -> Iterator[Finding]:
    """Sizes that were copied: the next burst does not fit."""
    for one in seen.sockets:
        if not 0 < one.receive_buffer < SMALL:
            continue
        groups = len(one.row.groups)
        yield finding(
            one,
            kind=FindingKind.SMALL_RECEIVE_BUFFER,
            severity=Severity.SEVERE if groups else Severity.WARNING,
            summary=f"{named(one)} has a receive buffer of {one.receive_buffer:,} bytes",
            evidence=(
                _holds(one),
                f"it listens to {groups} multicast groups" if groups else "it is in no group",
            ),
            leads_to=(
                "one device that is plugged in sends more than that at once: errno 105 (ENOBUFS), "
                "and events are lost"
                if groups
                else "a long reply or a second one does not fit: errno 105 (ENOBUFS)"
            ),
            mend=(
                f"leave SO_RCVBUF alone, or ask for {SENSIBLE:,} bytes with SO_RCVBUFFORCE; "
                "netlink_safe's sockets do"
            ),
        )


def _holds(one: SeenSocket) -> str:
    messages = max(one.receive_buffer // TRUESIZE, 1)
    return (
        f"{one.receive_buffer:,} bytes hold about {messages} small messages; the kernel's least "
        "is 2,304, which setsockopt(SO_RCVBUF, 1024) comes to"
    )


def dropping(seen: Observation) -> Iterator[Finding]:
    """Messages that were lost: now, or some time since the socket was opened."""
    for one in seen.sockets:
        if not one.drops:
            continue
        earlier = one.looks[0].memory
        grown = 0 if earlier is None else one.drops - earlier.drops
        groups = len(one.row.groups)
        yield finding(
            one,
            kind=FindingKind.DROPPING if grown > 0 else FindingKind.DROPPED,
            severity=Severity.SEVERE if grown > 0 else Severity.WARNING,
            summary=(
                f"{named(one)} is losing messages: {grown:,} in {seen.seconds:g} s"
                if grown > 0
                else f"{named(one)} has lost {one.drops:,} messages since it was opened"
            ),
            evidence=(
                f"{one.drops:,} drops, {fill(one)}",
                f"it is in {groups} multicast groups" if groups else "it is in no group",
            ),
            leads_to=(
                "its picture of the system is not the kernel's any more, and no error says so a "
                "second time until it has read its queue empty"
            ),
            mend=(
                "read faster, with a larger receive buffer (SO_RCVBUFFORCE), and after ENOBUFS "
                "drain the queue and look anew; restarting it mends its picture for now"
            ),
        )


def backlogs(seen: Observation) -> Iterator[Finding]:
    """Queues that nobody reads, and whose readers, as far as they are seen, do not even run."""
    for one in seen.sockets:
        queued = [0 if look.memory is None else look.memory.receive for look in one.looks]
        if one.is_new or not queued[0] or queued != sorted(queued):
            continue
        if _has_run(seen, one) or any(look.is_dump_running for look in one.looks):
            continue  # a dump's next chunk is made when one is read: one is always there
        was_full = queued[0] * 10 >= one.receive_buffer * 9
        yield finding(
            one,
            kind=FindingKind.BACKLOG,
            severity=Severity.WARNING if not was_full or _may_run(seen, one) else Severity.SEVERE,
            summary=f"{named(one)} does not read what it is sent",
            evidence=(
                f"{queued[0]:,} bytes were queued, never fewer in {seen.seconds:g} s, and then "
                + fill(one),
            ),
            leads_to=(
                "it is full: the kernel drops what comes from it, and processes that send to it "
                "without MSG_DONTWAIT sleep in their send until it reads"
                if was_full
                else "when it is full, the kernel's messages are lost and processes sleep that send"
            ),
            mend="look at what its reader is at; read in a thread that waits for nothing else",
        )


def stalled_dumps(seen: Observation) -> Iterator[Finding]:
    """Dumps that run on with nothing to read: what resumes them is a read that nobody makes.

    A chunk is made in a receive; where its allocation failed, and with an empty queue, nothing
    resumes the dump (``net/netlink/af_netlink.c``: netlink_dump, netlink_recvmsg).  And a reader
    from whom the end was kept waits for ever.
    """
    for one in seen.sockets:
        if one.is_new or not all(map(_stands_still, one.looks)) or _has_run(seen, one):
            continue
        yield finding(
            one,
            kind=FindingKind.STALLED_DUMP,
            severity=Severity.SEVERE,
            summary=f"{named(one)} has a dump that runs on with nothing to read",
            evidence=(
                f"at {LOOKS} looks in {seen.seconds:g} s its dump ran and its queue was empty",
                f"{one.drops:,} drops",
            ),
            leads_to="whoever waits for the end of that dump waits for ever",
            mend=(
                "give every receive a deadline, and after an error in a dump close the socket and "
                "ask again on a new one; netlink_safe does both"
            ),
        )


def _stands_still(look: NetlinkSocket) -> bool:
    return look.is_dump_running and look.memory is not None and not look.memory.receive


def _has_run(seen: Observation, one: SeenSocket) -> bool:
    """Whether every thread that might read it has run meanwhile, as far as that is to be seen."""
    threads = [thread for pid in one.pids for thread in seen.threads.get(pid, ())]
    return bool(threads) and not any(thread.is_still for thread in threads)


def _may_run(seen: Observation, one: SeenSocket) -> bool:
    """Whether any thread that might read it has run meanwhile."""
    return any(not thread.is_still for pid in one.pids for thread in seen.threads.get(pid, ()))
