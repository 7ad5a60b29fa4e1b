"""One kernel socket: opened, spoken to without waiting, looked at, closed.

The kernel assigns the port ID, unless one is asked for.  Extended acks and strict checking are on
where the kernel has them.
Requests and multicasts never share a socket: one that has overrun by multicasts gets no reply
either (``net/netlink/af_netlink.c``: netlink_attachskb asks for the same bit, NETLINK_S_CONGESTED).
Every receive is of at least 32 KiB (``net/netlink/af_netlink.c``: the kernel's dump chunks follow
the largest receive so far on a socket, up to 32 KiB, so that a shorter one would truncate them).

May call ``transport.buffers``, ``transport.forks``, ``transport.kernel``, ``transport.machine``,
``protocol``, ``wire`` and ``errors``.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
import sys
from typing import TYPE_CHECKING, ClassVar, Final

import attrs

from netlink_safe.errors import ClosedError, LocalProtocolError, NotSupported, OverrunError
from netlink_safe.transport.buffers import set_receive_buffer
from netlink_safe.transport.forks import check_not_forked, forks
from netlink_safe.transport.kernel import foremost
from netlink_safe.transport.machine import HERE
from netlink_safe.wire.constants import (
    NETLINK_ADD_MEMBERSHIP,
    NETLINK_CAP_ACK,
    NETLINK_EXT_ACK,
    NETLINK_GET_STRICT_CHK,
    SOL_NETLINK,
)
from netlink_safe.wire.datagram import Datagram

if TYPE_CHECKING:
    from collections.abc import Iterable

    from netlink_safe.protocol.statistics import Tally

RECEIVE_SIZE: Final = 64 * 1024
#: What the kernel keeps of a send buffer for itself (net/netlink/af_netlink.c: netlink_sendmsg).
SPARE: Final = 32
_MEMINFO: Final = struct.Struct("=9I")


@attrs.frozen(slots=True)
class Memory:
    """SO_MEMINFO: bytes queued for us, the effective receive buffer, datagrams dropped so far."""

    queued: int
    receive_buffer: int
    drops: int


class KernelSocket:
    """What every socket has: an opening, a receive buffer, an end.  Not for two threads at once."""

    #: Levels and names of what is switched on where the kernel knows it.
    OPTIONS: ClassVar[tuple[tuple[int, int], ...]] = ()

    def __init__(
        self,
        protocol: int,
        receive_buffer: int,
        groups: Iterable[int] = (),
        port_id: int = 0,
        purpose: str = "",
    ) -> None:
        """Open it and join groups; port ID 0 has the kernel assign one.

        ``purpose`` says, for people, what is told in the groups.
        """
        self._protocol = protocol
        self._purpose = purpose
        self._drops_counted = 0
        try:
            self._socket = foremost().open(protocol)
        except OSError as error:
            if error.errno in {errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT}:
                raise NotSupported(error.errno, f"netlink protocol {protocol}") from error
            raise
        try:
            self._socket.setblocking(False)
            self.effective_receive_buffer: int = set_receive_buffer(self._socket, receive_buffer)
            for level, option in self.OPTIONS:
                with contextlib.suppress(OSError):  # ENOPROTOOPT: older than the option
                    self._socket.setsockopt(level, option, 1)
            self._bind(port_id)
            for group in groups:
                self._join(group)
            self.port_id: int = self._socket.getsockname()[0]
            foremost().opened(self._socket)
        except BaseException:  # whatever it is, the descriptor must not outlive it
            self._socket.close()
            raise
        self._forks = forks()

    def fileno(self) -> int:
        """The descriptor, to wait on.

        Raises ClosedError once closed, LocalProtocolError in a forked child.
        """
        self.check_usable()
        return self._socket.fileno()

    def send_limit(self) -> int:
        """How many bytes a datagram may have that is sent (``net/netlink/af_netlink.c``:
        netlink_sendmsg).  Raises OSError once closed.
        """
        return self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) - SPARE

    def memory(self) -> Memory:
        """What SO_MEMINFO says now (Linux 4.12 and newer; zeros before).

        SO_RXQ_OVFL never reports on netlink, so this is where drops are told
        (``net/netlink/af_netlink.c``: netlink_overrun counts sk_drops).
        """
        try:
            raw = self._socket.getsockopt(socket.SOL_SOCKET, HERE.memory_info, _MEMINFO.size)
        except OSError:
            return Memory(0, self.effective_receive_buffer, 0)
        words = _MEMINFO.unpack(raw)
        return Memory(queued=words[0], receive_buffer=words[1], drops=words[8])

    def look(self, tally: Tally) -> Memory | None:
        """The same, and count the drops since the last look; None once closed.

        Any thread may look: between the comparison and the counting nothing is called, so that the
        interpreter lets no other thread count the same.
        """
        memory = self.memory()
        if self._socket.fileno() < 0:
            return None
        drops = memory.drops
        fresh = drops - self._drops_counted
        if fresh > 0:
            self._drops_counted = drops
            tally.drops += fresh
        return memory

    def close(self) -> None:
        """Give the descriptor back; harmless when done twice, and in a forked child."""
        self._socket.close()

    def check_usable(self) -> None:
        """Raise LocalProtocolError in a forked child, ClosedError once closed."""
        check_not_forked(self._forks)
        if self._socket.fileno() < 0:
            raise ClosedError("this netlink socket is closed; open a new one")

    def _bind(self, port_id: int) -> None:
        try:
            self._socket.bind((port_id, 0))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            taken = f"port ID {port_id} of netlink protocol {self._protocol} is taken"
            raise OSError(error.errno, f"{error.strerror}: {taken}") from None

    def _join(self, group: int) -> None:
        """Join a multicast group.  Raises PermissionError, which says which, and OSError."""
        try:
            self._socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)
        except PermissionError as error:
            purpose = f", for {self._purpose}," if self._purpose else ""
            raise PermissionError(
                error.errno,
                f"{error.strerror}: joining multicast group {group} of netlink protocol "
                f"{self._protocol}{purpose} takes rights, mostly CAP_NET_ADMIN",
            ) from None


class NetlinkSocket(KernelSocket):
    """A socket that asks the kernel; its buffer and the longest receive are in bytes.

    ``protocol`` is a NETLINK_* number; ``receive_buffer`` is what setsockopt takes, and
    ``effective_receive_buffer`` what the kernel made of it; ``receive_size`` is by default 64 KiB,
    and at least 32 KiB, as long as the chunks of a dump (``net/netlink/af_netlink.c``:
    netlink_dump): nothing checks either here.
    ``port_id`` is what the kernel assigned.  Not for two threads at once.
    Raises NotSupported for a protocol that the kernel has not, OSError; behind ``close`` and in the
    child of a fork ClosedError and LocalProtocolError.
    """

    #: Known to Linux 4.3, Linux 4.12 and Linux 4.20; without them errors say less.
    OPTIONS: ClassVar[tuple[tuple[int, int], ...]] = (
        (SOL_NETLINK, NETLINK_CAP_ACK),
        (SOL_NETLINK, NETLINK_EXT_ACK),
        (SOL_NETLINK, NETLINK_GET_STRICT_CHK),
    )

    def __init__(
        self, protocol: int, receive_buffer: int, receive_size: int = RECEIVE_SIZE
    ) -> None:
        super().__init__(protocol, receive_buffer)
        self._receive_size = receive_size
        self._sequence = int.from_bytes(os.urandom(4), sys.byteorder)

    def next_sequence(self) -> int:
        """A fresh sequence number; the first is random, so that a stranger cannot guess it."""
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        return self._sequence

    def send(self, data: bytes) -> None:
        """Hand a request to the kernel, which handles it before this returns.

        Never waits for a peer, but the kernel may take rtnl_lock, load a module or walk a table
        in here.  Raises LocalProtocolError for a request that is too large, and in a forked child,
        ClosedError, OSError.
        """
        self.check_usable()
        try:
            foremost().send(self._socket, data)
        except OSError as error:
            if error.errno != errno.EMSGSIZE:
                raise
            raise LocalProtocolError(
                f"a request of {len(data)} bytes is larger than the {self.send_limit()} that this "
                "socket can send at once"
            ) from None

    def receive(self) -> Datagram | None:
        """The next datagram, or None when none is queued.

        Raises OverrunError on ENOBUFS, with the drops that the kernel has counted so far;
        ClosedError once closed, LocalProtocolError in a forked child; other errors stay OSError.
        """
        if self._forks != forks():
            self.check_usable()
        try:
            data, _, flags, address = foremost().receive(self._socket, self._receive_size)
        except BlockingIOError:
            return None
        except OSError as error:
            self.check_usable()
            if error.errno != errno.ENOBUFS:
                raise
            drops = self.memory().drops
            raise OverrunError("the receive buffer overran (ENOBUFS)", drops) from error
        return Datagram(data, address[0], address[1], bool(flags & socket.MSG_TRUNC))
