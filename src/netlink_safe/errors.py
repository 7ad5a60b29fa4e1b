"""Every error of the library, on one screen.

An error says what happened, and then what to do next.
A system call that fails for a reason of its own stays a plain ``OSError``.
This module imports nothing of the library, and everything may import it.

Long because: whoever catches errors finds all of them in one place, in the order of their bases.
"""

from __future__ import annotations

import errno as errno_names
import os
from typing import Final, Literal

import attrs

#: How many letters of a filter stand in an error, on either side; and of what is said about it.
_SHOWN: Final = 60
_LONGEST_REASON: Final = 300


class NetlinkError(Exception):
    """The base of every error that this library defines; all survive pickling."""

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuilt, (type(self), self.args, self.__dict__)


def _rebuilt(
    kind: type[NetlinkError], args: tuple[object, ...], state: dict[str, object]
) -> object:
    error = kind.__new__(kind, *args)
    # Not the class's own __init__, which takes other arguments than it keeps.
    (OSError if isinstance(error, OSError) else Exception).__init__(error, *args)
    error.__dict__.update(state)
    return error


class LocalProtocolError(NetlinkError):
    """You asked for something illegal; nothing was sent."""


#: What LockHeldError calls the stretch of code in which nothing may wait.
NO_WAITING: Final = "no_waiting()"


class FilterSyntaxError(LocalProtocolError):
    """A filter's text that says nothing, and where.

    ``reason`` is what is wrong, ``text`` the filter's, ``position`` the offset in it, in letters
    from 0, which is its length where something is missing at the end.
    """

    def __init__(self, reason: str, text: str, position: int) -> None:
        if len(reason) > _LONGEST_REASON:  # it has a word of the text in it
            half = _LONGEST_REASON // 2
            reason = f"{reason[:half]} ... {reason[-half:]}"
        begin = max(position - _SHOWN, 0)
        # Beyond these, letters may be wide, or none, or run the other way, and move the caret.
        shown = "".join(
            letter if letter < "\u0300" and letter.isprintable() else "?"
            for letter in text[begin : position + _SHOWN]
        )
        super().__init__(f"{reason}\n  {shown}\n  {' ' * (position - begin)}^")
        self.reason = reason
        self.text = text
        self.position = position


class LockHeldError(LocalProtocolError):
    """A verb that may wait was called while a watched lock was held, or inside ``no_waiting()``.

    ``verb`` is what was called, ``lock`` the lock's name, ``where`` the line that took it.
    """

    def __init__(self, verb: str, lock: str, where: str) -> None:
        super().__init__(verb, lock, where)
        self.verb = verb
        self.lock = lock
        self.where = where

    def __str__(self) -> str:
        if self.lock == NO_WAITING:
            why = f"this is inside {self.lock}, entered at {self.where}: do it behind the block"
        else:
            why = (
                f"{self.lock} is held, taken at {self.where}: release it first, or leave it to a "
                "task or thread that does not hold it"
            )
        # Nothing else has a twin that never waits.
        twins = ", or call send_nowait or Outbox.post" if self.verb.endswith(".send") else ""
        return f"{self.verb} may wait, and {why}{twins}"


class RemoteProtocolError(NetlinkError):
    """The bytes that arrived broke the rules of netlink."""


class TruncatedError(RemoteProtocolError):
    """A datagram was longer than the receive: its rest is lost, so all of it is refused."""


class DecodeError(RemoteProtocolError):
    """Bytes that cannot be what they claim to be.

    ``reason`` is the rule, ``offset`` the byte in the datagram where it was broken, from 0,
    ``path`` the attribute types that lead there, the outermost first.
    """

    def __init__(self, reason: str, offset: int, path: tuple[int, ...] = ()) -> None:
        super().__init__(reason, offset, path)
        self.reason = reason
        self.offset = offset
        self.path = path

    def __str__(self) -> str:
        where = f" in attribute {'.'.join(map(str, self.path))}" if self.path else ""
        return f"{self.reason} at byte {self.offset} of the datagram{where}"


@attrs.frozen(slots=True)
class ExtendedAck:
    """What the kernel adds to an errno (Linux 4.12 and newer; each part only where it was given).

    ``message`` is for people; ``offset`` is where in the request the attribute meant starts, in
    bytes from its header on; ``cookie`` are bytes that say more to who knows the subsystem;
    ``policy`` is the attribute policy as bytes; ``missing_type`` and ``missing_nest`` name an
    attribute that should have been there and the offset, in bytes, of the nest it belongs in
    (``include/uapi/linux/netlink.h``: enum nlmsgerr_attrs).
    """

    message: str | None = None
    offset: int | None = None
    cookie: bytes | None = None
    policy: bytes | None = None
    missing_type: int | None = None
    missing_nest: int | None = None

    def __str__(self) -> str:
        parts = [self.message or ""]
        if self.offset is not None:
            parts.append(f"at byte {self.offset} of the request")
        if self.missing_type is not None:
            parts.append(f"attribute {self.missing_type} is missing")
        return ", ".join(filter(None, parts)) or "(no text)"


class KernelError(NetlinkError, OSError):
    """The kernel refused a request.

    ``errno`` is the kernel's, ``extack`` what its extended acknowledgement adds (message, offset of
    the attribute meant, policy), ``request`` what was asked for.
    ``path`` are the types that lead to the attribute that the kernel means, the outermost first,
    and ``attribute`` is the same by name, or by number where nobody knows one; None where it means
    none.
    ``advice`` is what is likely meant, or what to do; None where the request knows nothing of it.
    """

    def __init__(
        self,
        errno: int,
        request: str,
        extack: ExtendedAck | None = None,
        path: tuple[int, ...] = (),
        attribute: str | None = None,
        advice: str | None = None,
    ) -> None:
        super().__init__(errno, os.strerror(errno))
        self.request = request
        self.extack = extack
        self.path = path
        self.attribute = attribute
        self.advice = advice

    def __str__(self) -> str:
        name = _name_of(self.errno or 0)
        advice = f": {self.advice}" if self.advice else ""
        return f"the kernel refused {self.request}: {self.strerror} ({name}){self._said()}{advice}"

    def _said(self) -> str:
        """What the extended ack adds; the attribute by name says more than its offset does."""
        if self.extack is None:
            return ""
        if self.attribute is None:
            return f"; the kernel says: {self.extack}"
        missing = " is missing" if self.extack.missing_type is not None else ""
        meant = f"attribute {self.attribute}{missing}"
        said = f"{self.extack.message} ({meant})" if self.extack.message else meant
        return f"; the kernel says: {said}"


def _name_of(errno: int) -> str:
    """The kernel's name of an errno; Python knows some by another one."""
    if errno == errno_names.EOPNOTSUPP:
        return "EOPNOTSUPP"
    return errno_names.errorcode.get(errno, str(errno))


class NotSupported(KernelError):
    """The running kernel has no such feature.

    ``feature`` is what it lacks, with the module or option that brings it; ``since`` the release of
    Linux that did, None where that is not known.
    """

    def __init__(
        self,
        errno: int,
        feature: str,
        since: str | None = None,
        extack: ExtendedAck | None = None,
    ) -> None:
        super().__init__(errno, feature, extack)
        self.feature = feature
        self.since = since

    def __str__(self) -> str:
        since = f"; it came with Linux {self.since}" if self.since else ""
        return f"this kernel does not support {self.feature}{since}: {self.strerror}{self._said()}"


class FamilyNotFound(KernelError):
    """No generic netlink family has the name ``family`` in this network namespace.

    The kernel looks for a module by the alias ``module_alias`` when it is asked for a family that
    it does not know (``net/netlink/genetlink.c``: ctrl_getfamily); ``module`` is the one that is
    installed under this alias, None where none is, or where ``is_module_known`` says that it cannot
    be told.
    """

    def __init__(
        self, family: str, module_alias: str, module: str | None, is_module_known: bool = True
    ) -> None:
        super().__init__(errno_names.ENOENT, f"the generic netlink family {family!r}")
        self.family = family
        self.module_alias = module_alias
        self.module = module
        self.is_module_known = is_module_known

    def __str__(self) -> str:
        if self.module is not None:
            why = f"try: modprobe {self.module}"
        elif self.is_module_known:
            why = f"no installed module has the alias {self.module_alias}"
        else:
            why = (
                f"whether a module has the alias {self.module_alias} is not to be seen, since "
                "/lib/modules lists none for this kernel"
            )
        return (
            f"there is no generic netlink family {self.family!r} here: {why}; some families are in "
            "the first network namespace alone"
        )


class InconsistentError(NetlinkError):
    """What you have seen is no longer what the kernel holds; ask anew."""


class DumpInterrupted(InconsistentError):
    """The table changed while it was dumped: rows may be missing or double."""


class OverrunError(InconsistentError):
    """Datagrams were lost for want of room in the receive buffer; ``drops`` counts them.

    Of a reply it is what the kernel has counted on its socket so far; 0 where the kernel does not
    count (before Linux 4.12, which has no SO_MEMINFO), and where it says no more than
    NLMSG_OVERRUN.
    """

    def __init__(self, message: str, drops: int) -> None:
        super().__init__(message, drops)
        self.drops = drops

    def __str__(self) -> str:
        return f"{self.args[0]} ({self.drops} dropped)"


class NetlinkTimeout(NetlinkError, TimeoutError):
    """The deadline passed.

    ``waiting_for`` names the operation, ``timeout`` is its limit in seconds, ``attempts`` how many
    times it asked, on a socket of its own each time; ``datagrams`` and ``rows`` count what had
    arrived in all of them.
    ``drops`` and ``queue_fill`` (bytes) are the last socket's own, from ``SO_MEMINFO``.
    ``outcome`` is ``"unknown"`` where a request that changes something had entered the kernel: it
    may still be applied.  It is ``"none"`` for a question, which changes nothing.
    ``detail`` is a sentence of what else is known, such as what was done before; often empty.
    """

    def __init__(
        self,
        waiting_for: str,
        timeout: float,
        *,
        attempts: int = 0,
        datagrams: int = 0,
        rows: int = 0,
        drops: int = 0,
        queue_fill: int = 0,
        outcome: Literal["none", "unknown"] = "none",
        detail: str = "",
    ) -> None:
        super().__init__(waiting_for)  # one argument: two would become errno and strerror
        self.waiting_for = waiting_for
        self.timeout = timeout
        self.attempts = attempts
        self.datagrams = datagrams
        self.rows = rows
        self.drops = drops
        self.queue_fill = queue_fill
        self.outcome = outcome
        self.detail = detail

    def __str__(self) -> str:
        counts = (self.attempts, self.datagrams, self.rows, self.drops, self.queue_fill)
        attempts = f"attempts: {self.attempts}, " if self.attempts else ""
        seen = (
            f" ({attempts}datagrams: {self.datagrams}, rows: {self.rows}, "
            f"drops: {self.drops}, bytes in the queue: {self.queue_fill})"
            if any(counts)
            else ""
        )
        unknown = "; the request may still be applied" if self.outcome == "unknown" else ""
        detail = f"; {self.detail}" if self.detail else ""
        return f"no end to {self.waiting_for} within {self.timeout:g} s{seen}{detail}{unknown}"


class PeerQueueFull(NetlinkError):
    """The queue of the port ``port_id`` is full: its owner does not read, or not fast enough.

    Nothing was sent.  Try again later, or hand the message over where waiting is no harm.
    """

    def __init__(self, port_id: int) -> None:
        super().__init__(port_id)
        self.port_id = port_id

    def __str__(self) -> str:
        return f"the queue of port {self.port_id} is full; nothing was sent, try again later"


class OutboxFull(NetlinkError):
    """An outbox holds ``capacity`` messages, and was told to raise then; nothing was posted.

    Give it more capacity, or have it drop the oldest or the newest.
    """

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        self.capacity = capacity

    def __str__(self) -> str:
        return (
            f"the outbox holds {self.capacity} messages already; nothing was posted: see "
            "statistics().full_peers, and give it more capacity or when_full='drop_oldest'"
        )


class NoSuchPeer(NetlinkError):
    """Nobody takes messages for the port ID ``port_id``, here, on this protocol; nothing was sent.

    Either nobody has it, or whoever has it has called connect() and so takes messages of another
    port alone (``net/netlink/af_netlink.c``: netlink_getsockbyportid).
    """

    def __init__(self, port_id: int) -> None:
        super().__init__(port_id)
        self.port_id = port_id

    def __str__(self) -> str:
        return (
            f"nobody takes messages for port {self.port_id} on this protocol, in this network "
            "namespace"
        )


class LinkInUseError(NetlinkError):
    """A link was not deleted, since a port of an Open vSwitch datapath would go with it.

    ``link`` is what was to be deleted, ``port`` the link that is a port: the same, its peer, or one
    that stands on either; ``netns`` the network namespace that it is in, None for the link's own.
    ``datapath`` and ``number`` say of which datapath and which port, None where that is not to be
    seen.  ``owner`` is the pid of a process that serves the port and would put it back, 0 for one
    that is not to be seen, and None where nobody does.
    ``command`` takes the port out properly.
    ``reason`` is why it was not deleted where no port was found; None where one was.
    """

    def __init__(
        self,
        link: str,
        port: str,
        datapath: str | None,
        number: int | None,
        netns: str | None = None,
        owner: int | None = None,
        reason: str | None = None,
    ) -> None:
        super().__init__(link, port)
        self.link = link
        self.port = port
        self.datapath = datapath
        self.number = number
        self.netns = netns
        self.owner = owner
        self.reason = reason

    @property
    def command(self) -> str:
        """What to type."""
        inside = ""
        if self.netns:
            by_path = "/" in self.netns
            inside = f"nsenter --net={self.netns} " if by_path else f"ip netns exec {self.netns} "
        if self.owner is None and self.datapath is not None:
            return f"{inside}ovs-dpctl del-if {self.datapath} {self.port}"
        return f"{inside}ovs-vsctl del-port {self.port}"

    def __str__(self) -> str:
        port = self.port if self.port != self.link else "it"
        where = f" in the network namespace {self.netns}" if self.netns else ""
        if self.reason is not None:
            return f"{self.link} was not deleted: {self.reason}"
        datapath = "a datapath" if self.datapath is None else f"the datapath {self.datapath}"
        number = "a port" if self.number is None else f"port {self.number}"
        served = ""
        if self.owner is not None:
            who = f"process {self.owner}" if self.owner else "a process"
            served = f", which {who} serves and would put back"
        return (
            f"{self.link} was not deleted: {port}{where} is {number} of {datapath} of Open vSwitch"
            f"{served}; take it out first: {self.command}"
        )


class ClosedError(NetlinkError):
    """The object was closed, here or by another task, and can do nothing more; open a new one.

    On the async surface it is anyio's ``ClosedResourceError`` too.
    """


class BusyError(NetlinkError):
    """Another task or thread is taking items from the same object; one at a time may.

    On the async surface it is anyio's ``BusyResourceError`` too.
    """
