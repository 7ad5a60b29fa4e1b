"""A listener as steps: what is queued, and after an overrun a look at the truth and the difference.

::

    open      subscribe, look
    follow    receive until the queue is empty
                 drops have grown   look, Overrun, the difference, Resynced
                 otherwise          wait, no longer than the heartbeat, and look at the drops again

The order is the point: once a socket has overrun, the kernel drops everything for it until a
receive has left its queue empty, and says nothing of that (``net/netlink/af_netlink.c``:
netlink_overrun, netlink_rcv_wake).  So the drops are counted when the queue is empty, and only then
is looked: what was dropped by then is in the look, and what is dropped later grows the count again.

Where the truth is to be had, in sysfs or in a dump, is a Source's affair.

May call ``transport``, ``protocol`` and ``errors``.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

import attrs

from netlink_safe.errors import ClosedError, LocalProtocolError, NetlinkError, NetlinkTimeout
from netlink_safe.protocol.deadline import checked_timeout
from netlink_safe.protocol.notices import Overrun
from netlink_safe.transport.buffers import checked_size, default_listening_buffer
from netlink_safe.transport.hearing import Hearing
from netlink_safe.transport.listening import ListeningSocket, since
from netlink_safe.transport.roots import roots
from netlink_safe.transport.steps import call
from netlink_safe.transport.terms import NoLookError, Wait
from netlink_safe.transport.workers import offload

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Sequence

    from netlink_safe.protocol.subscription import Reader
    from netlink_safe.protocol.trust import Roots
    from netlink_safe.transport.census import Kind
    from netlink_safe.transport.namespace import Namespace, NetworkNamespace
    from netlink_safe.transport.terms import Steps, Terms


#: Items handed out at once.
PORTION: Final = 64


def _checked_buffer(size: int | None) -> int:
    return checked_size(size, default_listening_buffer())


def _checked_heartbeat(seconds: float) -> float:
    return checked_timeout(seconds, "heartbeat")


def _checked_idle_timeout(seconds: float) -> float:
    return checked_timeout(seconds, "idle_timeout")


@attrs.frozen(slots=True, kw_only=True)
class Listening:
    """On what terms to listen, checked.

    ``timeout`` is for the opening and for each look, in seconds; ``heartbeat`` the longest wait
    between two looks at the drops; ``idle_timeout`` the longest time without an item.
    """

    netns: NetworkNamespace | Namespace
    timeout: float = attrs.field(converter=checked_timeout)
    heartbeat: float = attrs.field(converter=_checked_heartbeat)
    idle_timeout: float | None = attrs.field(
        converter=attrs.converters.optional(_checked_idle_timeout)
    )
    receive_buffer: int = attrs.field(converter=_checked_buffer)


class Source(Protocol):
    """What is listened to, and where the truth is to be had once something was lost.

    ``name`` is for people, ``kind`` for the census.
    ``takes`` says what a beginning cannot do without, None where it can do without a look;
    ``why_no_look`` says why none tells what was lost, None where it does.
    """

    kind: Kind
    name: str
    takes: str | None
    why_no_look: str | None

    def groups(self, terms: Terms, /) -> Steps[Any, tuple[int, Sequence[int]]]:
        """The protocol, and the multicast groups to join."""

    def new_reader(self, trusted: Roots, rejected: Counter[str], /) -> Reader:
        """The reader of what is heard, and of looks."""

    def look(
        self,
        sock: ListeningSocket,
        namespace: Namespace,
        compare: Callable[[Any], Any],
        terms: Terms,
        /,
    ) -> Steps[Any, Any]:
        """Look, and return what the comparison comes to.  Raises NoLookError, OSError."""

    def close(self) -> None:
        """Give back what looking took."""


class Follower(Hearing):
    """One listening socket and the picture behind it."""

    def __init__(self, source: Source, listening: Listening) -> None:
        super().__init__(
            source.kind, source.name, listening.netns, listening.timeout, listening.idle_timeout
        )
        self.listening = listening
        self.reader: Reader | None = None
        self._source = source
        self._loss_told = 0
        self._has_looked = False
        self._look_again_at: float | None = None
        self._is_failure_told = False
        self._beginning: list[Any] = []

    def open(self) -> Steps[Any, None]:
        """Subscribe, and then look.

        Raises NetlinkTimeout, OSError, NotSupported; LocalProtocolError where there is nothing to
        look at and the source takes it.
        """
        source, buffer = self._source, self.listening.receive_buffer
        terms = self._terms("the opening of a listening socket")
        protocol, groups = yield from source.groups(terms)

        def subscribe() -> Roots:
            self._opened(ListeningSocket(protocol, buffer, groups=groups, purpose=source.name))
            return roots()

        trusted = yield from offload(call(partial(self._namespace.run, subscribe)), terms)
        reader = self.reader = source.new_reader(trusted, self._tally.rejected)
        try:
            telling = yield from self._look(reader.begin, terms)
        except NoLookError as error:
            if source.takes is not None:
                raise LocalProtocolError(f"{source.takes}: {error}") from None
            self._look_later()
        except OSError as error:
            if source.takes is not None or isinstance(error, NetlinkTimeout):
                raise
            self._look_later()
        else:
            self._beginning = reader.adopt(telling, True)
            self._has_looked = True

    def follow(self) -> Steps[Any, None]:
        """Yield what is to be handed out, for ever."""
        beginning, self._beginning = self._beginning, []
        yield from _portions(beginning)
        while True:
            sock, reader = self.check_open(), self.reader
            if reader is None:
                raise LocalProtocolError("this listener was not opened to the end")
            if bursts := sock.receive_many():
                self._tally.datagrams += sum(len(burst.texts) for burst in bursts)
                yield reader.read(bursts)
                if (failure := reader.failure) is not None:
                    reader.failure = None
                    raise failure
                continue
            lost = sock.losses()
            if lost != self._loss_told or self._is_due(reader):
                yield from _portions((yield from self._resync(sock, reader, lost)))
            else:
                yield Wait(sock.fileno(), self.listening.heartbeat)

    def counted(self) -> dict[str, Any]:
        """What was counted so far; drops and what is queued are asked for now."""
        sock, reader = self._socket, self.reader
        drops, queued = self.look_at_memory()
        return {
            "receive_buffer": 0 if sock is None else sock.effective_receive_buffer,
            "requested_receive_buffer": self.listening.receive_buffer,
            "queued": queued,
            "drops": drops,
            "datagrams": self._tally.datagrams,
            "rejected": dict(self._tally.rejected),
            "duplicates": 0 if reader is None else reader.duplicates,
            "overruns": self._tally.overruns,
            "resyncs": self._tally.resyncs,
            "timeouts": self._tally.timeouts,
        }

    def release(self) -> None:
        """Give the descriptors back; only when nobody is in the steps, or waits on one of them."""
        super().release()
        self._source.close()

    def _is_due(self, reader: Reader) -> bool:
        """Whether to look now although nothing was lost; behind a look that failed, in a while."""
        if self._look_again_at is None:
            return reader.is_stale
        return time.monotonic() >= self._look_again_at

    def _look_later(self) -> None:
        self._look_again_at = time.monotonic() + self.listening.heartbeat

    def _resync(self, sock: ListeningSocket, reader: Reader, lost: int) -> Steps[Any, list[Any]]:
        unresynced = self._source.why_no_look
        difference: list[Any] = []
        is_beginning = not self._has_looked
        self._look_again_at = None
        self.is_owing = True
        try:
            compare = reader.begin if is_beginning else reader.resync
            telling = yield from self._look(compare, self._terms(f"a look at {self.name}"))
            difference = reader.adopt(telling, is_beginning)
            self._has_looked = True
            self._tally.resyncs += unresynced is None and not is_beginning
            if is_beginning:
                before, lost = lost, sock.losses()
                if lost != before:  # it saw some of these, who knows which; another finds the rest
                    self._look_again_at = time.monotonic()
                unresynced = unresynced or "there was no look before it"
        except NoLookError as error:
            unresynced = str(error)
            self._look_later()
        except (ClosedError, LocalProtocolError):  # no look to come would mend that
            raise
        except (NetlinkError, OSError, RuntimeError) as error:  # no thread to be had, the last
            unresynced = f"{error}; it is tried again"
            self._look_later()
        finally:
            self.is_owing: bool = False
        drops = since(lost, self._loss_told)
        self._loss_told = lost  # not before: what is raised above hides no loss
        self._tally.overruns += drops > 0
        return ([Overrun(drops, unresynced)] if self._is_loss(reader, drops) else []) + difference

    def _is_loss(self, reader: Reader, drops: int) -> bool:
        """Whether something is to be told as lost: drops, and once that a look has failed."""
        was_told, self._is_failure_told = self._is_failure_told, reader.is_stale
        return drops > 0 or (reader.is_stale and not was_told)

    def _look(self, compare: Callable[[Any], Any], terms: Terms) -> Steps[Any, Any]:
        sock = self.check_open()
        return (yield from self._source.look(sock, self._namespace, compare, terms))


def _portions(items: list[Any]) -> Steps[Any, None]:
    """A long list as short ones, between which other tasks may have their turn."""
    for start in range(0, len(items), PORTION):
        yield items[start : start + PORTION]
