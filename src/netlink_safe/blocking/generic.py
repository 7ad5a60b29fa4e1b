"""``open_generic`` in blocking code.

May call ``transport``, ``families``, ``protocol``, ``wire``, ``blocking.requests``,
``blocking.streams``, ``blocking.waiting`` and ``errors``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

import attrs

from netlink_safe.blocking.requests import Dump, Opened
from netlink_safe.blocking.streams import Subscription
from netlink_safe.blocking.waiting import result
from netlink_safe.families import ctrl
from netlink_safe.families.generic import following
from netlink_safe.protocol.generic import checked_request, checked_table
from netlink_safe.transport import families as asking
from netlink_safe.transport import opening
from netlink_safe.transport.families import Families
from netlink_safe.transport.following import Follower, Listening
from netlink_safe.transport.locks import waits
from netlink_safe.transport.notifications import Notifications
from netlink_safe.transport.workers import offload
from netlink_safe.wire.constants import NETLINK_GENERIC

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from netlink_safe.protocol.codec import MessageCodec
    from netlink_safe.protocol.generic import AnsweredRequest, GenericRequest
    from netlink_safe.protocol.request import Row
    from netlink_safe.transport.namespace import NetworkNamespace
    from netlink_safe.transport.pool import SocketPool
    from netlink_safe.transport.terms import WhenInterrupted
    from netlink_safe.wire.policy import OperationPolicy


@attrs.frozen(slots=True, kw_only=True)
class Family(ctrl.FamilyRecord):
    """A family as the controller describes it, which can be asked what it takes."""

    _generic: GenericNetlink = attrs.field(repr=False, eq=False)

    @waits
    def policy(self, operation: int, *, timeout: opening.Timeout | None = None) -> OperationPolicy:
        """What an operation takes, by the kernel's own word (Linux 5.10 and newer).

        ``operation`` is a command, from 0 to 255; ``timeout`` is in seconds, above 0, and the one
        given at the opening unless said.
        Raises NotSupported by an older kernel, and for an operation that the family has not;
        FamilyNotFound where the family has gone; NetlinkTimeout; ClosedError; LocalProtocolError
        for what can be no command.
        """
        return self._generic.policy(self.name, operation, timeout=timeout)


class GenericNetlink(Opened):
    """Questions and orders to generic families; see ``Opened``."""

    def __init__(self, pool: SocketPool, timeout: float) -> None:
        super().__init__(pool, timeout)
        self._families = Families(pool, ctrl)

    @waits
    def family(self, name: str, *, timeout: opening.Timeout | None = None) -> Family:
        """A family by name, of 1 to 15 bytes; the kernel may load a module for it.

        It is asked for anew each time (``net/netlink/genetlink.c``: ctrl_getfamily loads it).
        Raises FamilyNotFound; NetlinkTimeout; ClosedError; LocalProtocolError for what can be no
        name.
        """
        terms = self._terms(timeout)
        found = result(offload(self._families.find_anew(name, terms), terms), self._waiter)
        return self._with_policies(found)

    @waits
    def families(self, *, timeout: opening.Timeout | None = None) -> list[Family]:
        """All families of the network namespace.

        Raises NetlinkTimeout, ClosedError, LocalProtocolError.
        """
        terms = self._terms(timeout)
        found = result(offload(self._families.all(terms), terms), self._waiter)
        return [self._with_policies(one) for one in found]

    @waits
    def policy(
        self, family: str, operation: int, *, timeout: opening.Timeout | None = None
    ) -> OperationPolicy:
        """What an operation of a family takes; nothing where the kernel tells of no policy.

        ``family`` is a name, of 1 to 15 bytes, ``operation`` a command, from 0 to 255.
        Raises FamilyNotFound; NotSupported, and the rest, as ``Family.policy`` does.
        """
        terms = self._terms(timeout)
        command = ctrl.checked_command(operation)
        asked = asking.policy_of(self._families, family, command, terms)
        return result(offload(asked, terms), self._waiter)

    @waits
    def policies(
        self, family: str, *, timeout: opening.Timeout | None = None
    ) -> dict[int, OperationPolicy]:
        """What each operation of a family takes, by command; none of those that take anything.

        Raises as ``policy`` does.
        """
        terms = self._terms(timeout)
        asked = asking.policies_of(self._families, family, terms)
        return result(offload(asked, terms), self._waiter)

    @overload
    def request(
        self, request: AnsweredRequest[Row], *, timeout: opening.Timeout | None = None
    ) -> Row: ...

    @overload
    def request(
        self, request: GenericRequest[Row], *, timeout: opening.Timeout | None = None
    ) -> Row | None: ...

    @waits
    def request(
        self, request: GenericRequest[Row], *, timeout: opening.Timeout | None = None
    ) -> Row | None:
        """Ask for one thing, or give an order; None where the kernel only acknowledges.

        Raises KernelError, which names the attribute that the kernel means, where it does;
        FamilyNotFound; NotSupported; NetlinkTimeout, whose ``outcome`` is ``"unknown"`` for an
        order that the kernel had, and may still carry out; LocalProtocolError for what is no
        request to a family, and for values that the kernel's policy does not take; OverrunError,
        TruncatedError and DecodeError; RemoteProtocolError for an answer of several messages, and
        for none to an AnsweredRequest; ClosedError.
        """
        terms = self._terms(timeout)
        terms.deadline.pause()
        operation = offload(
            asking.ask(self._families, checked_request(request), terms, False), terms
        )
        with Dump(operation, terms, self._waiter) as dump:
            rows = list(dump)
        return asking.row_or_none(rows, request)

    def dump(
        self,
        request: GenericRequest[Row],
        *,
        timeout: opening.Timeout | None = None,
        when_interrupted: WhenInterrupted = "retry",
        distinct: bool = False,
    ) -> Dump[Row]:
        """Ask for a table, and iterate over its rows as they come.

        The timeout counts the time spent in here, not the consumer's between two rows.
        ``when_interrupted`` says what to do where the kernel says that the table changed meanwhile:
        ``"retry"`` asks again, twice at most, and only while no row was handed out;
        ``"raise"`` raises DumpInterrupted, ``"accept"`` takes the rows as they are.
        ``distinct`` leaves out rows with a key that was seen before, of requests that know one.
        Raises LocalProtocolError for a request that is about one thing, and for a word that
        ``when_interrupted`` has not; ClosedError; while iterating, as ``request`` does,
        LocalProtocolError where ``distinct`` finds no key, OverrunError and DumpInterrupted where
        another attempt is not allowed or was the last, BusyError.
        """
        terms = self._terms(timeout, when_interrupted, distinct)
        terms.deadline.pause()
        operation = offload(asking.ask(self._families, checked_table(request), terms, True), terms)
        return Dump(operation, terms, self._waiter)

    def subscribe(
        self,
        family: str | None = None,
        groups: Iterable[str] | None = None,
        *,
        snapshot: GenericRequest[Any] | None = None,
        key: Callable[[Any], Hashable] | None = None,
        commands: Iterable[int] | None = None,
        removals: Iterable[int] = (),
        codec: MessageCodec | None = None,
        timeout: float | None = None,
        idle_timeout: float | None = None,
        heartbeat: float = 30.0,
        receive_buffer: int | None = None,
    ) -> Subscription:
        """Hear what a family tells in its multicast groups, for ``with``.

        ``family`` is its name, of 1 to 15 bytes, by default the snapshot's.
        ``groups`` are names, by default all that the family has.
        Without ``snapshot`` it yields notifications, and ``Overrun`` where some were lost: without
        drops where the family was gone and has come back, since nobody has heard its first words.
        ``codec`` reads them; without one, and for what it cannot read, they are ``GenericReply``.
        With ``snapshot``, a request for the family's table, it yields its rows and what becomes of
        them: ``Added``, ``Changed`` and ``Removed``, once each, and behind each dump ``Resynced``.
        The table is dumped, on another socket, behind the subscription and again behind every
        overrun, and whenever the family goes or comes back; no module is loaded for that.
        ``key`` says what a row is about, ``commands`` which notifications hold one, and
        ``removals`` which say that it is gone, numbers from 0 to 255, for requests that do not say
        so themselves; ``key`` goes with ``commands``, and ``codec`` without ``snapshot``.
        Others are yielded as they are.  What ``key`` raises is raised, once, and then the table is
        dumped anew.
        ``timeout``, in seconds, is for the opening, for each dump and for each ``receive()``;
        ``idle_timeout`` ends the subscription, for good, with NetlinkTimeout when nothing came for
        so long; ``heartbeat`` is how often an idle one sees whether anything was lost.
        All three are above 0; ``math.inf`` is for ever, and ``timeout`` by default that of the
        opening.
        ``receive_buffer`` is in the bytes that setsockopt takes, from 32 KiB to just below 1 GiB,
        by default a 128th of the memory and at most 128 MiB.
        Raises ClosedError; LocalProtocolError for nonsense, and for a snapshot that the kernel does
        not tell enough of to follow; FamilyNotFound, LocalProtocolError for a family without groups
        and for a group that it has not, PermissionError for one that takes rights, NetlinkTimeout.
        It listens in the namespace of this object.
        """
        self._pool.check_open()
        listening = Listening(
            netns=self._pool.namespace,
            timeout=self._timeout if timeout is None else timeout,
            heartbeat=heartbeat,
            idle_timeout=idle_timeout,
            receive_buffer=receive_buffer,
        )
        wanted = following(family, groups, snapshot, key, removals, codec, commands)
        pool = opening.new_pool(NETLINK_GENERIC, listening.timeout, None, self._pool.namespace)
        return Subscription(Follower(Notifications(Families(pool, ctrl), wanted), listening))

    def _with_policies(self, found: ctrl.FamilyRecord) -> Family:
        return Family(**attrs.asdict(found, recurse=False), generic=self)


def open_generic(
    *,
    timeout: float = 5.0,
    receive_buffer: int | None = None,
    netns: NetworkNamespace = None,
) -> GenericNetlink:
    """Open generic netlink, for ``with``.

    ``timeout`` in seconds, above 0, is for each verb as a whole; ``math.inf`` waits for ever.
    ``receive_buffer`` is in the bytes that setsockopt takes, from 32 KiB to just below 1 GiB, by
    default 1 MiB, or less on a machine with less than 128 MiB of memory.
    ``netns`` is a name in /run/netns, a path with a slash in it, a pid or an object with
    ``fileno()``; by default it is the calling thread's own namespace.
    Raises LocalProtocolError for nonsense; FileNotFoundError where there is no
    such namespace, PermissionError without the right to enter it, NetlinkTimeout when the opening
    takes longer than ``timeout``.
    """
    pool = opening.new_pool(NETLINK_GENERIC, timeout, receive_buffer, netns)
    return GenericNetlink(pool, timeout)
