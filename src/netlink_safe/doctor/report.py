"""What an examination comes to: findings, the sockets that were seen, and what could not be.

May call ``doctor.observation``.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, overload

import attrs

if TYPE_CHECKING:
    from netlink_safe.doctor.observation import SeenSocket


class Severity(enum.IntEnum):
    """How bad it is; severe is what hangs, loses or deadlocks now, or at the next burst."""

    NOTE = 1
    WARNING = 2
    SEVERE = 3

    def __str__(self) -> str:
        return self.name.lower()


class FindingKind(enum.Enum):
    """What was found.

    Of a thread: it sleeps in a send to a full queue (BLOCKED_SENDER), or in a receive, for a reply
    that does not come (HANGING_RECEIVE).  Of a socket: its dump runs on and nothing of it is queued
    (STALLED_DUMP), it loses messages now (DROPPING) or has lost some (DROPPED), its queue is not
    read at all (BACKLOG), its effective receive buffer has less than 16 KiB
    (SMALL_RECEIVE_BUFFER).  Of the machine: a veth is a port of Open vSwitch with its other end in
    another network namespace (OPENVSWITCH_PORT), or net.core.rmem_max or rmem_default is below the
    kernel's own 212,992 bytes (KERNEL_LIMIT).
    """

    BLOCKED_SENDER = "blocked_sender"
    HANGING_RECEIVE = "hanging_receive"
    STALLED_DUMP = "stalled_dump"
    DROPPING = "dropping"
    DROPPED = "dropped"
    BACKLOG = "backlog"
    SMALL_RECEIVE_BUFFER = "small_receive_buffer"
    OPENVSWITCH_PORT = "openvswitch_port"
    KERNEL_LIMIT = "kernel_limit"

    def __str__(self) -> str:
        return self.value


@attrs.frozen(slots=True, kw_only=True)
class Finding:
    """One thing that is wrong.

    ``summary`` is a sentence, ``evidence`` what was seen, ``leads_to`` what comes of it, and
    ``mend`` what to do.
    ``protocol`` (its name, as NetlinkProtocol has it), ``port_id``, ``inode`` and ``netns`` (a name
    or a path, None where the doctor is itself) name the socket that it is about, which for
    a sender that is blocked is the queue that is full; ``owner_pid`` holds that socket, 0 where it
    is not to be seen who.
    ``sender_pid`` is who sleeps in a send, ``thread_id`` which of its threads, or of the owner's
    where a receive hangs; ``pids`` are all processes that have to do with it.
    ``chain`` is, for a sender that is blocked, who waits for whom, a sentence each; with
    ``is_deadlock`` it likely comes back to where it began.
    None is what does not apply.
    """

    kind: FindingKind
    severity: Severity
    summary: str
    evidence: tuple[str, ...] = ()
    leads_to: str
    mend: str
    netns: str | None = None
    protocol: str | None = None
    port_id: int | None = None
    inode: int | None = None
    owner_pid: int | None = None
    sender_pid: int | None = None
    thread_id: int | None = None
    chain: tuple[str, ...] = ()
    is_deadlock: bool = False
    #: Every process that has to do with it.
    pids: tuple[int, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The same as plain data."""
        plain = {name: getattr(self, name) for name in _FIELDS}
        return {**plain, "kind": str(self.kind), "severity": str(self.severity)}


_FIELDS = tuple(field.name for field in attrs.fields(Finding))


@attrs.frozen(slots=True)
class Report(Sequence[Finding]):
    """The findings, the worst first; as a sequence it is them.

    ``sockets`` are all that were seen, the kernel's own left out; ``unseen`` says what could not be
    seen, for want of rights or since the kernel does not tell; ``taken_at`` is Unix time in
    seconds, at the first look; ``seconds`` lay between the first
    look and the last.
    """

    findings: tuple[Finding, ...]
    sockets: tuple[SeenSocket, ...]
    unseen: tuple[str, ...]
    taken_at: float
    seconds: float

    @property
    def is_severe(self) -> bool:
        """Whether something severe was found."""
        return any(finding.severity is Severity.SEVERE for finding in self.findings)

    def __len__(self) -> int:
        return len(self.findings)

    @overload
    def __getitem__(self, index: int) -> Finding: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Finding]: ...
    def __getitem__(self, index: int | slice) -> Finding | Sequence[Finding]:
        return self.findings[index]

    def as_dict(self) -> dict[str, Any]:
        """The same as plain data."""
        return {
            "taken_at": self.taken_at,
            "seconds": self.seconds,
            "findings": [finding.as_dict() for finding in self.findings],
            "sockets": [socket.as_dict() for socket in self.sockets],
            "unseen": list(self.unseen),
        }
