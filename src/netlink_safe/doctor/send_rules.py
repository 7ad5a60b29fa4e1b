"""Who sleeps in a send to a full queue, and who waits for whom from there on.

A unicast to a full queue sleeps until its owner reads (``net/netlink/af_netlink.c``:
netlink_attachskb).  Where the owner's reader waits for a lock, and whoever has the lock sleeps in
a send, nobody ever goes on.

May call ``doctor.observation``, ``doctor.report`` and ``doctor.about``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from netlink_safe.doctor.about import fill, finding, holder, named, process, thread
from netlink_safe.doctor.report import FindingKind, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netlink_safe.doctor.observation import Observation, SeenSocket, SeenThread
    from netlink_safe.doctor.report import Finding

#: Where a send to a full queue sleeps.
SLEEPS_IN: Final = "netlink_attachskb"
_LONGEST_CHAIN: Final = 16


def blocked_senders(seen: Observation) -> Iterator[Finding]:
    """Threads that sleep in a send to a full queue."""
    for threads in seen.threads.values():
        for one in threads:
            waiting, queue = one.waiting, _queue_of(seen, one)
            sender = None if waiting is None else seen.socket(waiting.inode)
            if waiting is not None and sender is not None and _is_blocked(one, queue):
                yield _blocked(seen, one, waiting.name, sender, queue)


def _is_blocked(one: SeenThread, queue: SeenSocket | None) -> bool:
    """Whether it sleeps for want of room; where the kernel does not tell, a full queue does."""
    if one.waiting is None or one.waiting.purpose != "send":
        return False
    if one.place is None:
        return one.is_still and queue is not None and queue.is_full
    return one.place == SLEEPS_IN


def _queue_of(seen: Observation, one: SeenThread) -> SeenSocket | None:
    """The queue that a send is for.

    By its address, by what its socket is connected to, or since no other of its protocol is full.
    """
    if one.waiting is None or one.waiting.purpose != "send":
        return None
    sender = seen.socket(one.waiting.inode)
    if sender is None:
        return None
    like_it = [
        other
        for other in seen.sockets
        if (other.netns, other.row.protocol) == (sender.netns, sender.row.protocol)
    ]
    port_id = one.waiting.port_id or sender.row.destination_port_id
    if port_id:
        return next((other for other in like_it if other.row.port_id == port_id), None)
    full = [other for other in like_it if other.is_full]
    return full[0] if len(full) == 1 else None


def _blocked(
    seen: Observation, one: SeenThread, call: str, sender: SeenSocket, queue: SeenSocket | None
) -> Finding:
    chain = _Chain(seen)
    chain.follow(one)
    is_deadlock = chain.comes_back
    is_certain = is_deadlock and not chain.is_guessed
    verb = "sleeps" if one.is_still else "waits again and again"
    to = "to a queue that is not to be seen" if queue is None else f"to {named(queue)}"
    owner = "the owner of that queue" if queue is None else holder(queue)
    slept_in = one.place or "a place that the kernel does not tell"
    evidence = [f"thread {one.tid} is in {call} and sleeps in {slept_in}"]
    if queue is not None:
        evidence.append(f"of the queue {fill(queue)}")
    return finding(
        sender if queue is None else queue,
        kind=FindingKind.BLOCKED_SENDER,
        severity=Severity.SEVERE if one.is_still else Severity.WARNING,
        summary=(
            f"{process(one.pid, one.command)} {verb} in a send {to}"
            + ": likely a deadlock" * is_deadlock
        ),
        evidence=tuple(evidence),
        leads_to=(
            "nobody in the chain goes on by itself, and whoever sends there joins it"
            if is_deadlock
            else "it sleeps until that queue is read, and so does whoever waits for it, such as "
            "for a lock that it holds"
        ),
        mend=(
            f"for now {'restart' if is_certain else 'look at'} {owner}; then send without waiting "
            "(send_nowait or an Outbox of netlink_safe, MSG_DONTWAIT elsewhere), and never under a "
            "lock that the reader takes"
        ),
        owner_pid=0 if queue is None else queue.owner,
        port_id=None if queue is None else queue.row.port_id,
        sender_pid=one.pid,
        thread_id=one.tid,
        chain=tuple(chain.lines),
        is_deadlock=is_deadlock,
        pids=tuple(sorted({one.pid, *chain.pids, *(() if queue is None else queue.pids)})),
    )


@attrs.define(slots=True)
class _Chain:
    """Who waits for whom, from one thread on, until it comes back or cannot be followed."""

    seen: Observation
    lines: list[str] = attrs.field(factory=list)
    pids: set[int] = attrs.field(factory=set)
    visited: set[int] = attrs.field(factory=set)
    comes_back: bool = False
    is_guessed: bool = False

    def follow(self, one: SeenThread | None) -> None:
        """Tell of each in turn."""
        while one is not None and len(self.lines) < _LONGEST_CHAIN:
            self.pids.add(one.pid)
            if one.tid in self.visited:
                self.comes_back = True
                self.lines.append(f"{thread(one)} waits for all this itself: nobody goes on")
                return
            self.visited.add(one.tid)
            one = self._next(one)

    def _next(self, one: SeenThread) -> SeenThread | None:
        waiting = one.waiting
        if waiting is None or not one.is_still:
            self.lines.append(f"{thread(one)} runs, or does not stay where it is")
            return None
        if waiting.purpose == "send":
            return self._behind_a_send(one)
        if waiting.purpose == "lock":
            return self._behind_a_lock(one)
        self.lines.append(f"{thread(one)} waits in {waiting.name}")
        return None

    def _behind_a_send(self, one: SeenThread) -> SeenThread | None:
        """To the reader of the queue that it is for."""
        queue = _queue_of(self.seen, one)
        name = "a send" if one.waiting is None else one.waiting.name
        if queue is None:
            self.lines.append(f"{thread(one)} sleeps in {name} to a queue that is not to be seen")
            return None
        self.lines.append(f"{thread(one)} sleeps in {name} to {named(queue)}: {fill(queue)}")
        owners = [each for pid in queue.pids for each in self.seen.threads.get(pid, ())]
        readers = [
            each
            for each in owners
            if each.waiting
            and each.waiting.inode == queue.row.inode
            and each.waiting.purpose == "receive"
        ]
        if readers:
            self.lines.append(f"{thread(readers[0])} is in a receive on it: it will go on")
            return None
        locked = [each for each in owners if each.waiting and each.waiting.purpose == "lock"]
        stuck = [each for each in locked if each.is_still]
        if owners and all(each.is_still and _is_blocked(each, None) for each in owners):
            return owners[0]  # whoever could read it sleeps in a send itself
        if not stuck:
            self.lines.append(f"{holder(queue)} is at something else than reading it")
            return None
        return min(stuck, key=self._how_sure)

    def _how_sure(self, one: SeenThread) -> int:
        """Of several that wait for locks one is followed whose lock says who has it, if one does.

        Others may be idle, and wait for a condition.
        """
        keeper = self._keeper(one)
        if keeper is None:
            return 2
        return int(one.waiting is None or one.waiting.holder is None)

    def _behind_a_lock(self, one: SeenThread) -> SeenThread | None:
        """To the thread that has it: by what the lock says, or the one that sleeps in a send."""
        waiting, keeper = one.waiting, self._keeper(one)
        address = 0 if waiting is None else waiting.address
        line = f"{thread(one)} waits for a lock (a futex at {address:#x})"
        if keeper is None:
            self.lines.append(f"{line}; who has it is not recorded there")
        elif waiting is not None and waiting.holder == keeper.tid:
            self.lines.append(f"{line} that thread {keeper.tid} of the same process holds")
        else:
            self.is_guessed = True
            self.lines.append(
                f"{line}; who has it is not recorded there, and likely it is thread {keeper.tid} "
                "of the same process, which sleeps in a send"
            )
        return keeper

    def _keeper(self, one: SeenThread) -> SeenThread | None:
        """Who has the lock that a thread waits for.

        Where the lock does not say, it is likely a thread that sleeps in a send; unless one runs.
        """
        others = [each for each in self.seen.threads.get(one.pid, ()) if each.tid != one.tid]
        holder_tid = None if one.waiting is None else one.waiting.holder
        if holder_tid is not None:
            return next((each for each in others if each.tid == holder_tid), None)
        if any(not each.is_still for each in others):
            return None  # that one may have the lock, or be the reader, and goes on by itself
        sending = [each for each in others if _is_blocked(each, _queue_of(self.seen, each))]
        return sending[0] if sending else None
