"""``examine`` in async and in blocking code.

May call ``doctor``, ``aio.waiting``, ``blocking.waiting``, ``transport``, ``families``,
``protocol`` and ``errors``.
"""

from __future__ import annotations

import errno
import os
import time
from typing import TYPE_CHECKING

from netlink_safe.doctor.findings import findings
from netlink_safe.doctor.looking import everywhere, here, observation
from netlink_safe.doctor.report import Report
from netlink_safe.errors import LocalProtocolError
from netlink_safe.families import ctrl
from netlink_safe.protocol.deadline import checked_timeout
from netlink_safe.transport import opening
from netlink_safe.transport.locks import waits
from netlink_safe.transport.plans import Hands, carried_out
from netlink_safe.transport.workers import offload

if TYPE_CHECKING:
    from netlink_safe.doctor.observation import Observation
    from netlink_safe.protocol.plans import Plan
    from netlink_safe.transport.namespace import NetworkNamespace
    from netlink_safe.transport.terms import Steps


@waits
async def examine(
    interval: float = 1.0,
    *,
    pid: int | None = None,
    netns: NetworkNamespace = None,
    timeout: float = 10.0,
) -> Report:
    """Look at every netlink socket of the machine, several times, and tell what is wrong.

    ``interval``, in seconds, above 0 and below ``timeout``, is for the looks: what has not moved in
    it counts as stuck.
    ``pid``, from 1, leaves out what that process has nothing to do with.
    ``netns``, a name in /run/netns, a path, a pid or an object with ``fileno()``, looks into that
    network namespace only; otherwise it is all that can be found, by name in /run/netns or by
    process.
    ``timeout``, in seconds, above 0, is for all of it.
    It changes nothing, and asks no other process anything.  Whom one may not look at, and what the
    kernel does not tell, stands in ``Report.unseen``; a thread of which it is not known where it
    sleeps (a wchan of 0, ``fs/proc/base.c``: proc_pid_wchan) is not taken for one that does not.
    Raises NetlinkTimeout; NotSupported where the kernel has no netlink_diag; KernelError,
    OverrunError, TruncatedError and DecodeError as ``dump`` does; LocalProtocolError for nonsense;
    ProcessLookupError where
    no process has that pid; FileNotFoundError and PermissionError for a namespace.
    """
    from netlink_safe.aio.waiting import Waiter, result

    return await result(_examination(interval, pid, netns, timeout), Waiter())


@waits
def examine_blocking(
    interval: float = 1.0,
    *,
    pid: int | None = None,
    netns: NetworkNamespace = None,
    timeout: float = 10.0,
) -> Report:
    """Do what ``examine`` does, without an event loop."""
    from netlink_safe.blocking.waiting import Poll, result

    return result(_examination(interval, pid, netns, timeout), Poll())


def _examination(
    interval: float, pid: int | None, netns: NetworkNamespace, timeout: float
) -> Steps[None, Report]:
    if checked_timeout(interval, "interval") >= checked_timeout(timeout):
        raise LocalProtocolError(
            f"interval={interval} leaves no time to look in timeout={timeout}; give more of that"
        )
    if pid is not None:
        _check_pid(pid)
    terms = opening.own_terms(timeout, "the examination of netlink sockets")
    plan = _report(observation(interval, everywhere() if netns is None else here()), pid)
    return offload(carried_out(plan, Hands(netns, ctrl), terms, "sock_diag"), terms)


def _check_pid(pid: int) -> None:
    if isinstance(pid, bool) or not isinstance(pid, int) or pid < 1:
        raise LocalProtocolError(f"pid={pid!r} is no process ID; it is a number above 0")
    if not os.path.exists(f"/proc/{pid}"):
        raise ProcessLookupError(errno.ESRCH, f"no process has the pid {pid}")


def _report(looking: Plan[Observation], pid: int | None) -> Plan[Report]:
    taken_at = time.time()
    seen = yield from looking
    found = findings(seen)
    sockets = seen.sockets
    if pid is not None:
        found = tuple(one for one in found if pid in one.pids or not one.pids)
        sockets = tuple(one for one in sockets if pid in one.pids)
    return Report(found, sockets, seen.unseen, taken_at, seen.seconds)
