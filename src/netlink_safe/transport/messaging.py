"""A socket for messages between processes, and sending without waiting in the kernel.

A send to a full receiver sleeps in the kernel until the receiver reads, whatever locks its caller
holds (``net/netlink/af_netlink.c``: netlink_attachskb); and the poll of a netlink socket looks at
the sender's own buffer, so that "writable" says nothing (datagram_poll).  So nothing here ever
sends without MSG_DONTWAIT, and who wants to wait does it between two sends, on a timer.

May call ``transport``, ``protocol``, ``wire`` and ``errors``.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from netlink_safe.errors import (
    ClosedError,
    KernelError,
    LocalProtocolError,
    NetlinkError,
    NetlinkTimeout,
    NoSuchPeer,
    OverrunError,
    PeerQueueFull,
    TruncatedError,
)
from netlink_safe.protocol.deadline import checked_timeout
from netlink_safe.protocol.figures import UserStatistics
from netlink_safe.protocol.message import UserMessage, checked_bytes
from netlink_safe.protocol.pauses import Pauses
from netlink_safe.transport.bursts import BurstBuffer
from netlink_safe.transport.hearing import Hearing
from netlink_safe.transport.listening import ListeningSocket, since
from netlink_safe.transport.sending import Sending
from netlink_safe.transport.steps import call
from netlink_safe.transport.terms import Wait
from netlink_safe.transport.workers import offload
from netlink_safe.wire.constants import NETLINK_USERSOCK

if TYPE_CHECKING:
    from netlink_safe.protocol.deadline import Deadline
    from netlink_safe.transport.namespace import NetworkNamespace
    from netlink_safe.transport.terms import Steps
    from netlink_safe.wire.datagram import Burst

#: Room for one message, in bytes, and messages to a receive.
ROOM: Final = 256 * 1024
MOST: Final = 8

HEARTBEAT: Final = 30.0


class UserSocket(ListeningSocket):
    """A socket that sends, too."""

    def __init__(
        self, protocol: int, receive_buffer: int, groups: Iterable[int], port_id: int
    ) -> None:
        super().__init__(protocol, receive_buffer, groups, port_id, BurstBuffer(MOST, ROOM))
        self.largest: int = self.send_limit()
        self._sending = Sending(self._socket)

    def send_nowait(self, payload: bytes, port_id: int) -> None:
        """Send, or raise; see ``UserEnd``."""
        number = self._sending.send_now(bytes(payload), port_id)
        if number:
            raise self._refusal(number, port_id, f"a message to port {port_id}")

    def multicast_nowait(self, payload: bytes, group: int) -> None:
        """Send to everybody in a group; whether there is anybody, nothing tells.

        The kernel sends a copy to port 0, where on NETLINK_USERSOCK nobody is: ECONNREFUSED says
        that, behind the multicast.
        """
        number = self._sending.multicast_now(bytes(payload), 1 << group - 1)
        if number not in {0, errno.ECONNREFUSED}:
            raise self._refusal(number, 0, f"a multicast to group {group}")

    def close(self) -> None:
        """Give the descriptor back; harmless when done twice, and in a forked child."""
        self._sending.close()
        super().close()

    def _refusal(self, number: int, port_id: int, what: str) -> NetlinkError:
        if number == errno.EAGAIN:
            return PeerQueueFull(port_id)
        if number == errno.ECONNREFUSED:
            return NoSuchPeer(port_id)
        self.check_usable()
        return KernelError(number, what)


class UserEnd(Hearing):
    """One end of messages between processes."""

    def __init__(
        self,
        protocol: int,
        port_id: int | None,
        groups: Iterable[int],
        timeout: float,
        receive_buffer: int,
        netns: NetworkNamespace,
    ) -> None:
        super().__init__("user", "messages from processes", netns, checked_timeout(timeout), None)
        self._protocol = checked_number("protocol", protocol, 0, 31)
        self._port_id = 0 if port_id is None else checked_number("port_id", port_id, 1, 2**32 - 1)
        if not isinstance(groups, Iterable):
            raise LocalProtocolError(f"groups={groups!r} are no multicast groups; give a list")
        self._groups = [checked_number("group", group, 1, 32) for group in groups]
        self._receive_buffer = receive_buffer
        self._loss_told = 0
        self._sent = 0
        self._refused = 0

    def open(self) -> Steps[Any, None]:
        """Open the socket.

        Raises OSError (EADDRINUSE for a port ID that is taken, EPERM for groups without rights).
        """
        terms = self._terms("the opening of a socket for messages")
        yield from offload(call(partial(self._namespace.run, self.open_here)), terms)

    def open_here(self) -> None:
        """Open the socket in the calling thread and its network namespace; see ``open``.

        The kernel may load a module in here, but for NETLINK_USERSOCK, which is built in
        (``net/netlink/af_netlink.c``: netlink_add_usersock_entry).
        """
        self._opened(UserSocket(self._protocol, self._receive_buffer, self._groups, self._port_id))

    @property
    def largest(self) -> int:
        """How many bytes a message can have."""
        return self._sending_socket().largest

    def follow(self) -> Steps[Any, None]:
        """Yield messages, and errors for what was lost, which are to be raised in their turn."""
        while True:
            sock = self.check_open()
            if bursts := sock.receive_many():
                self._tally.datagrams += sum(len(burst.texts) for burst in bursts)
                yield [item for burst in bursts for item in _messages(burst)]
                continue
            lost = sock.losses()
            if lost != self._loss_told:
                drops, self._loss_told = since(lost, self._loss_told), lost
                self._tally.overruns += 1
                yield [OverrunError("multicasts were lost, the receive buffer overran", drops)]
            else:
                yield Wait(sock.fileno(), HEARTBEAT)

    @property
    def port_id(self) -> int:
        """This end's own."""
        return self.check_open().port_id

    def send_nowait(self, payload: bytes, port_id: int) -> None:
        """Send, or raise PeerQueueFull, NoSuchPeer or KernelError; never waits, takes no lock.

        Raises LocalProtocolError for what can be no message.
        """
        sock = self._sending(payload)
        # Port 0 is the kernel, which on other protocols would handle it in here, under its locks.
        checked_number("port_id", port_id, int(self._protocol != NETLINK_USERSOCK), 2**32 - 1)
        try:
            sock.send_nowait(payload, port_id)
        except PeerQueueFull:
            self._refused += 1
            raise
        self._sent += 1

    def multicast_nowait(self, payload: bytes, group: int) -> None:
        """Send to everybody in a group, or raise KernelError; takes no lock."""
        sock = self._sending(payload)
        if self._protocol != NETLINK_USERSOCK:
            raise LocalProtocolError(
                "a multicast goes to the kernel, too, which on any protocol but NETLINK_USERSOCK "
                "would handle it before the call returns, under its own locks"
            )
        sock.multicast_nowait(payload, checked_number("group", group, 1, 32))
        self._sent += 1

    def send(self, payload: bytes, port_id: int, deadline: Deadline) -> Steps[Any, None]:
        """Send when there is room: try, and try again after a pause."""
        pauses = Pauses()
        attempts = 0
        while True:
            attempts += 1
            left = deadline.remaining()
            try:
                return self.send_nowait(payload, port_id)
            except PeerQueueFull:
                if left <= 0:
                    self._tally.timeouts += 1
                    raise NetlinkTimeout(
                        f"the fullness of the queue of port {port_id}",
                        deadline.timeout,
                        attempts=attempts,
                    ) from None
            yield Wait(None, min(left, pauses.take()))

    def statistics(self) -> UserStatistics:
        """What was counted so far; drops and what is queued are asked for now."""
        drops, queued = self.look_at_memory()
        sock = self._socket
        return UserStatistics(
            receive_buffer=0 if sock is None else sock.effective_receive_buffer,
            requested_receive_buffer=self._receive_buffer,
            queued=queued,
            drops=drops,
            datagrams=self._tally.datagrams,
            overruns=self._tally.overruns,
            sent=self._sent,
            refused=self._refused,
            timeouts=self._tally.timeouts,
        )

    def _sending_socket(self) -> UserSocket:
        sock = self.check_open()
        if not isinstance(sock, UserSocket):
            raise ClosedError("this socket cannot send")
        return sock

    def _sending(self, payload: bytes) -> UserSocket:
        sock = self._sending_socket()
        check_payload(payload, sock.largest)
        return sock


class SendsNow:
    """The verbs of a surface that never wait, and so are the same on both."""

    _end: UserEnd

    @property
    def port_id(self) -> int:
        """This socket's own, from 1 to 2**32 - 1, by which others send to it.

        Raises ClosedError; LocalProtocolError before it is entered, and in the child of a fork.
        """
        return self._end.port_id

    def send_nowait(self, payload: bytes, *, port_id: int) -> None:
        """Send a datagram as it is, or raise; never waits.

        It takes no lock, and may be called under any, from any thread, from a signal handler.
        ``payload`` has from 1 byte to SO_SNDBUF less 32 (``net/netlink/af_netlink.c``:
        netlink_sendmsg).  ``port_id`` is up to 2**32 - 1; 0, the kernel's, is refused but on
        NETLINK_USERSOCK, where nobody has it.
        Raises PeerQueueFull when the receiver's queue is full, NoSuchPeer when nobody takes
        messages for that port, KernelError; LocalProtocolError for what is no bytes, empty, or
        larger than our send buffer, for no port ID, before the opening and in the child of a fork;
        ClosedError.
        """
        self._end.send_nowait(payload, port_id)

    def multicast_nowait(self, payload: bytes, *, group: int) -> None:
        """Send to everybody who has joined a group; never waits for any of them.

        ``group`` is from 1 to 32, ``payload`` as in ``send_nowait``.
        Whoever's queue is full loses it, and is told; whether anybody has joined is not to be told.
        Where a queue is more than half full the kernel lets others run for a moment first
        (``net/netlink/af_netlink.c``: netlink_broadcast_filtered).
        Raises KernelError; LocalProtocolError as ``send_nowait`` does, for no group, and on any
        protocol but NETLINK_USERSOCK, where the kernel hears it, too; ClosedError.
        """
        self._end.multicast_nowait(payload, group)

    def statistics(self) -> UserStatistics:
        """What was sent, heard and counted since the opening."""
        return self._end.statistics()


def check_payload(payload: bytes, largest: int) -> None:
    """Raise LocalProtocolError for what is no bytes, is empty, or is longer than ``largest``."""
    size = len(checked_bytes(payload))
    if isinstance(payload, memoryview) and not payload.c_contiguous:
        raise LocalProtocolError("the bytes of a memoryview that has gaps cannot be sent")
    if not size:
        raise LocalProtocolError("an empty datagram cannot be sent over netlink")
    if size > largest:
        raise LocalProtocolError(
            f"{size} bytes are more than the {largest} that this socket can send at once; send "
            "them in parts"
        )


def _messages(burst: Burst) -> list[UserMessage | TruncatedError]:
    sender, texts = burst
    if sender.truncated:
        told = f"a message of port {sender.port_id} was longer than the {ROOM} bytes that are read"
        return [TruncatedError(told)]
    group = sender.groups.bit_length()
    return [UserMessage(text, sender.port_id, group, sender.credentials) for text in texts]


def checked_number(name: str, value: int, least: int, most: int) -> int:
    """The number.  Raises LocalProtocolError for what is none, or none of these."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise LocalProtocolError(f"{name}={value!r} is no number from {least} to {most}")
    return value
