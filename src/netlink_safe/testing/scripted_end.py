"""Our end of a socket to a scripted kernel: its queue, its overruns, its dump.

It does what ``net/netlink/af_netlink.c`` does, as far as one can see it from a socket:

::

    a dump       the first datagram is made inside the send, each further one inside a receive that
                 leaves half of the buffer free (netlink_dump, netlink_recvmsg); a second dump is
                 refused with EBUSY
    an overrun   what does not fit is dropped and counted, ENOBUFS is told once and before what is
                 still queued, and everything is dropped until a receive has left the queue empty
                 (netlink_overrun, netlink_rcv_wake)
    a filter     is asked for whatever is to be queued

May call ``testing.filters``, ``testing.replies``, ``transport.bursts``, ``transport.machine``,
``wire`` and ``errors``.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import attrs

from netlink_safe.errors import DecodeError
from netlink_safe.testing.filters import attached, passes
from netlink_safe.testing.replies import Asked, Loss, Sent, asked_of, refusal
from netlink_safe.transport.machine import HERE
from netlink_safe.wire.constants import (
    NETLINK_ADD_MEMBERSHIP,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    NLMSG_MIN_TYPE,
    SOL_NETLINK,
)
from netlink_safe.wire.datagram import Burst, Credentials, Sender
from netlink_safe.wire.header import iterate_messages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from netlink_safe.testing.filters import Program
    from netlink_safe.transport.bursts import BurstBuffer
    from netlink_safe.transport.kernel import Received

#: What setsockopt cannot go below, and what a socket begins with, in bytes.
SMALLEST: Final = 2304
AT_FIRST: Final = 212_992
#: What a datagram takes beside its bytes (about ``include/linux/skbuff.h``: SKB_TRUESIZE).
OVERHEAD: Final = 768
#: What sendmsg keeps of a send buffer for itself.
SPARE: Final = 32
THE_KERNEL: Final = Credentials(0, 0, 0)

_MEMINFO: Final = struct.Struct("=9I")


class _Queued(NamedTuple):
    data: bytes
    sender: int
    groups: int
    credentials: Credentials


class ScriptedEnd:
    """A socket as ``transport.kernel.End`` has it; ``answer`` makes the replies to a request."""

    def __init__(
        self, protocol: int, port_id: int, answer: Callable[[Asked], Iterable[Any]]
    ) -> None:
        self.proto = protocol
        self.groups: set[int] = set()
        self.drops: int = 0
        self._port_id = port_id
        self._answer = answer
        self._lock = threading.RLock()
        self._queue: deque[_Queued] = deque()
        self._held: list[Sent] = []
        self._queued = 0
        self._receive_buffer = AT_FIRST
        self._is_congested = False
        self._error = 0
        self._dump: Iterator[Any] | None = None
        self._dumping: Asked | None = None
        self._filter: Program = ()
        self._readable = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def fileno(self) -> int:
        """A descriptor that is readable when there is something to receive; -1 once closed."""
        return self._readable

    def close(self) -> None:
        """Give the descriptor back; what is queued or comes later is lost."""
        with self._lock:
            descriptor, self._readable = self._readable, -1
            self._queue.clear()
            self._held.clear()
            self._dump = None
        if descriptor >= 0:
            os.close(descriptor)

    def setblocking(self, flag: bool, /) -> None:
        """It never blocks."""

    def bind(self, address: tuple[int, int], /) -> None:
        """Take a port ID, unless it is 0."""
        self._port_id = address[0] or self._port_id

    def getsockname(self) -> tuple[int, int]:
        """Port ID, and no groups."""
        return self._port_id, 0

    def setsockopt(self, level: int, option: int, value: int | bytes, /) -> None:
        """Buffers, filters and groups; other options change nothing here."""
        with self._lock:
            if (level, option) == (SOL_NETLINK, NETLINK_ADD_MEMBERSHIP):
                self.groups.add(int(value))
            elif level != socket.SOL_SOCKET:
                return
            elif option in {socket.SO_RCVBUF, HERE.receive_buffer_force}:
                self._receive_buffer = max(SMALLEST, 2 * int(value))
            elif option == HERE.detach_filter:
                self._filter = ()
            elif option == HERE.attach_filter and isinstance(value, bytes):
                self._filter = attached(value)

    def getsockopt(self, _level: int, option: int, _size: int = 0, /) -> Any:
        """Buffers and SO_MEMINFO."""
        with self._lock:
            if option == HERE.memory_info:
                words = (self._queued, self._receive_buffer, *[0] * 6, self.drops)
                return _MEMINFO.pack(*words)
            return self._receive_buffer if option == socket.SO_RCVBUF else AT_FIRST

    def sendto(self, data: bytes, _flags: int, _address: tuple[int, int], /) -> int:
        """Have the kernel handle each message before this returns.  Raises OSError."""
        with self._lock:
            self._check_open()
            if len(data) > AT_FIRST - SPARE:
                raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
            for message in iterate_messages(data):
                if message.flags & NLM_F_REQUEST and message.type >= NLMSG_MIN_TYPE:
                    self._handle(asked_of(self.proto, data, message))
            return len(data)

    def recvmsg(self, size: int, _ancillary: int, _flags: int, /) -> Received:
        """The next datagram.  Raises BlockingIOError where none is queued, OSError."""
        one = self._next()
        truncated = socket.MSG_TRUNC if len(one.data) > size else 0
        return one.data[:size], [], truncated, (one.sender, one.groups)

    def receive_burst(self, _buffer: BurstBuffer, /) -> list[Burst]:
        """The next datagram, with its sender's credentials; nothing where none is queued."""
        try:
            one = self._next()
        except BlockingIOError:
            return []
        sender = Sender(one.sender, one.groups, one.credentials, False)
        return [Burst(sender, [one.data])]

    def deliver(
        self,
        data: bytes,
        sender: int = 0,
        groups: int = 0,
        credentials: Credentials = THE_KERNEL,
    ) -> None:
        """Queue a datagram, or drop it where there is no room."""
        with self._lock:
            if self._is_congested or self._queued > self._receive_buffer:
                self._overrun(1)
            else:
                self._queue_up(data, sender, groups, credentials)

    def release(self) -> int:
        """Deliver what is held; how many datagrams that were."""
        with self._lock:
            held, self._held = self._held, []
            for each in held:
                self._take(each, self.deliver)
            return len(held)

    def _handle(self, asked: Asked) -> None:
        if not asked.is_dump:
            for each in self._answer(asked):
                self._take(each, self.deliver)
        elif self._dump is not None:
            self.deliver(refusal(asked, errno.EBUSY))
        else:
            self._dump, self._dumping = iter(self._answer(asked)), asked
            self._make_chunk()

    def _make_chunk(self) -> None:
        """The next datagram of a dump, which no congestion holds up; an error leaves it running."""
        if self._dump is None or self._queued >= self._receive_buffer:
            return
        each = next(self._dump, None)
        if each is None or _ends(self._dumping, each):
            self._dump = None
        if each is not None:
            self._take(each, self._queue_up)

    def _take(self, each: bytes | Sent | Loss, put: Callable[[bytes, int], None]) -> None:
        if isinstance(each, Loss):
            self._overrun(each.drops)
            return
        sent = each if isinstance(each, Sent) else Sent(each)
        if sent.held:
            self._held.append(attrs.evolve(sent, held=False))
        else:
            put(sent.data, sent.sender)

    def _queue_up(
        self,
        data: bytes,
        sender: int = 0,
        groups: int = 0,
        credentials: Credentials = THE_KERNEL,
    ) -> None:
        if self._readable >= 0 and passes(self._filter, data):
            self._queue.append(_Queued(data, sender, groups, credentials))
            self._queued += len(data) + OVERHEAD
            os.eventfd_write(self._readable, 1)

    def _overrun(self, drops: int) -> None:
        if not self._is_congested:
            self._is_congested = True
            self._error = errno.ENOBUFS
        self.drops += drops
        if self._readable >= 0:
            os.eventfd_write(self._readable, 1)

    def _next(self) -> _Queued:
        with self._lock:
            self._check_open()
            if self._error:
                number, self._error = self._error, 0
                self._settle()
                raise OSError(number, os.strerror(number))
            if not self._queue:
                self._settle()
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            one = self._queue.popleft()
            self._queued -= len(one.data) + OVERHEAD
            if self._queued <= self._receive_buffer // 2:
                self._make_chunk()
            self._is_congested = self._is_congested and bool(self._queue)
            self._settle()
            return one

    def _settle(self) -> None:
        """Nothing to receive: nothing to be woken for."""
        if not self._queue and not self._error:
            try:
                os.eventfd_read(self._readable)
            except BlockingIOError:
                return

    def _check_open(self) -> None:
        if self._readable < 0:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))


def _ends(asked: Asked | None, each: bytes | Sent | Loss) -> bool:
    """Whether it is the end of the reply to a dump; bytes that are no messages end nothing."""
    data = each.data if isinstance(each, Sent) else each
    if asked is None or isinstance(data, Loss) or (isinstance(each, Sent) and each.sender):
        return False
    with contextlib.suppress(DecodeError):
        return any(
            message.type in {NLMSG_DONE, NLMSG_ERROR} and message.sequence == asked.sequence
            for message in iterate_messages(data)
        )
    return False
