"""Threads that wait for an answer, and have not run since the first look.

May call ``doctor.observation``, ``doctor.report``, ``doctor.about`` and ``wire``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from netlink_safe.doctor.about import finding, named, thread
from netlink_safe.doctor.report import FindingKind, Severity
from netlink_safe.wire.constants import NETLINK_GENERIC, NETLINK_ROUTE, NETLINK_SOCK_DIAG

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netlink_safe.doctor.observation import Observation
    from netlink_safe.doctor.report import Finding

#: Protocols by which a socket in no group hears only what it asks for, and how sure that is: a
#: generic family may speak unasked to who has registered with it, as TASKSTATS does.
_ASKING: Final = {
    NETLINK_ROUTE: Severity.SEVERE,
    NETLINK_SOCK_DIAG: Severity.SEVERE,
    NETLINK_GENERIC: Severity.WARNING,
}


def hanging_receives(seen: Observation) -> Iterator[Finding]:
    """Threads that wait for a reply which does not come."""
    for threads in seen.threads.values():
        for one in threads:
            waiting = one.waiting
            if waiting is None or waiting.purpose != "receive" or not one.is_still:
                continue
            sock = seen.socket(waiting.inode)
            if sock is None or sock.is_new or sock.row.groups:
                continue
            severity = _ASKING.get(sock.row.protocol)
            if severity is None:
                continue
            if len(threads) > 1 and not sock.row.is_dump_running:
                severity = Severity.WARNING  # it may wait for what another thread is yet to ask
            running = " and a dump is running there" if sock.row.is_dump_running else ""
            yield finding(
                sock,
                kind=FindingKind.HANGING_RECEIVE,
                severity=severity,
                summary=f"{thread(one)} waits in {waiting.name} for a reply that does not come",
                evidence=(
                    f"it has not run for {seen.seconds:g} s and more; it reads {named(sock)}",
                    "that is in no group, and so hears only what it asks for",
                    f"{sock.queued:,} bytes are queued{running}",
                    f"it sleeps in {one.place or 'a place that the kernel does not tell'}",
                ),
                leads_to="without a timeout it waits for ever, and whoever waits for it as well",
                mend=(
                    "give every receive a deadline (netlink_safe does; SO_RCVTIMEO elsewhere), and "
                    f"restart pid {one.pid}: the reply is lost"
                ),
                owner_pid=one.pid,
                thread_id=one.tid,
                pids=tuple(sorted({one.pid, *sock.pids})),
            )
