"""``open_sock_diag`` in async code.

May call ``transport``, ``families``, ``wire``, ``aio.requests``,
``aio.streams`` and ``aio.waiting``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from netlink_safe.aio.requests import RequestSocket
from netlink_safe.aio.waiting import result
from netlink_safe.transport.locks import waits
from netlink_safe.transport.opening import new_pool, questions
from netlink_safe.transport.workers import offload
from netlink_safe.wire.constants import NETLINK_SOCK_DIAG

if TYPE_CHECKING:
    from collections.abc import Iterable

    from netlink_safe.aio.streams import Subscription
    from netlink_safe.families.inet_reader import Socket
    from netlink_safe.families.inet_request import Families
    from netlink_safe.transport.namespace import NetworkNamespace
    from netlink_safe.transport.opening import Requests, Timeout


class SockDiag(RequestSocket):
    """Questions about sockets, and orders to destroy some; see RequestSocket for other verbs."""

    @waits
    async def destroy(
        self,
        target: Socket | Requests[Socket] | Iterable[Socket],
        *,
        all: bool = False,  # noqa: A002  # the word that says it
        timeout: Timeout | None = None,
    ) -> list[Socket]:
        """Destroy sockets, as ``ss -K`` does; returns the rows of those that are destroyed.

        ``target`` is a row of ``dump`` or ``request``, or what ``tcp_sockets``, ``tcp_socket``,
        ``udp_sockets`` and their like return, or a list of either.  Where several sockets are meant
        nothing is destroyed without ``all=True``.
        Each is destroyed by its addresses, ports, interface and cookie, and by no less, so that
        one that has the same addresses by now is left alone.  What is gone already, or has another
        cookie, is left out of what is returned.

        A TCP connection's peer gets a reset and its owner ECONNABORTED, a listener stops to listen
        and resets what waits to be accepted, and the remains in TIME_WAIT and half-open requests in
        SYN_RECV go without a word (``net/ipv4/tcp.c``: tcp_abort).  A UDP socket is disconnected
        and its owner gets ECONNABORTED; one that was bound to a port by number keeps it, and is
        there to be destroyed again (``net/ipv4/udp.c``: __udp_disconnect).
        Of several sockets that share their addresses by SO_REUSEPORT the kernel finds one of its
        own choice: all listeners together are destroyed one after the other, but a single one may
        not be found, and is then left out.
        Raw, MPTCP and SCTP sockets, and TCP sockets that are bound and no more, the kernel cannot
        destroy, or not by their cookie (``net/ipv4/raw_diag.c``: raw_sock_get): LocalProtocolError.

        ``timeout``, in seconds, is for all of it; NetlinkTimeout has the outcome ``"unknown"`` for
        the one that the kernel was at, and says, as every other error does in its notes, which were
        destroyed before.
        Raises LocalProtocolError for several without ``all=True``, and for what is no row and no
        request; KernelError (EPERM without CAP_NET_ADMIN in the user namespace that owns the
        network namespace, ``net/core/sock_diag.c``: sock_diag_destroy; NotSupported without
        CONFIG_INET_DIAG_DESTROY, and of TIME_WAIT in older kernels); NetlinkTimeout, ClosedError,
        and what ``dump`` raises.
        """
        terms = self._terms(timeout)
        from netlink_safe.families import destruction
        from netlink_safe.transport.destroying import destroyed, taken_apart

        requests, rows = taken_apart(target)
        asked = questions(self._pool, requests)
        operation = destroyed(self._pool, asked, rows, all, destruction, terms)
        return await result(offload(operation, terms), self._waiter)

    def subscribe_destroyed(
        self,
        tcp: bool = True,
        udp: bool = True,
        families: Families = None,
        *,
        timeout: float | None = None,
        idle_timeout: float | None = None,
        heartbeat: float = 30.0,
        receive_buffer: int | None = None,
    ) -> Subscription:
        """Hear of every TCP and UDP socket that closes, for ``async with``.

        It yields the last row of each, a TcpSocket with its final ``info`` or a UdpSocket, and
        ``Overrun`` where some were lost: what has closed cannot be looked up again.
        A socket is told when the kernel lets it go, which for TCP is when the last of it has been
        said, and not when its owner closes it.  ``cookie`` is what it had in every dump; a TCP
        socket's ``state`` is CLOSE by then, and owner and inode are not told.
        What a socket leaves in TIME_WAIT, and half-open requests, are no sockets to the kernel, and
        are not told; nor are the kernel's own sockets, raw ones, UDP-Lite and MPTCP, though the TCP
        sockets that carry MPTCP are (``net/core/sock.c``: __sk_free;
        ``include/linux/sock_diag.h``: sock_diag_destroy_group).
        Sockets that were never bound or connected are told, too, with ports 0.
        It takes no rights.  The kernel loads inet_diag, and tcp_diag or udp_diag behind that.

        ``tcp`` and ``udp`` say which of them, one at least; ``families`` is as in ``tcp_sockets``.
        ``timeout``, in seconds, is for the opening and for each ``receive()``; ``idle_timeout``
        ends the subscription, for good, with NetlinkTimeout when nothing came for so long;
        ``heartbeat`` is how often an idle one sees whether anything was lost.
        All three are above 0; ``math.inf`` is for ever, and ``timeout`` by default that of the
        opening.
        ``receive_buffer`` is in the bytes that setsockopt takes, from 32 KiB to just below 1 GiB,
        by default a 128th of the memory and at most 128 MiB.
        Raises ClosedError; LocalProtocolError for nonsense; and, when entered, NotSupported where
        the kernel has no sock_diag, NetlinkTimeout.  It listens in the namespace of this object.
        """
        # Here, so that who only asks does not load what listening takes.
        from netlink_safe.aio.streams import Subscription
        from netlink_safe.families.destroyed import destroyed_sockets
        from netlink_safe.transport.following import Follower, Listening
        from netlink_safe.transport.multicasts import MulticastSource

        self._pool.check_open()
        listening = Listening(
            netns=self._pool.namespace,
            timeout=self._timeout if timeout is None else timeout,
            heartbeat=heartbeat,
            idle_timeout=idle_timeout,
            receive_buffer=receive_buffer,
        )
        wanted = destroyed_sockets(tcp, udp, families)
        return Subscription(Follower(MulticastSource(wanted), listening))


def open_sock_diag(
    *,
    timeout: float = 5.0,
    receive_buffer: int | None = None,
    netns: NetworkNamespace = None,
) -> SockDiag:
    """Open sock_diag, for ``async with``.

    ``timeout`` in seconds, above 0, is for each verb as a whole; ``math.inf`` waits for ever.
    ``receive_buffer`` is in the bytes that setsockopt takes, from 32 KiB to just below 1 GiB, by
    default 1 MiB, or less on a machine with less than 128 MiB of memory.
    ``netns`` is a name in /run/netns, a path with a slash in it, a pid or an object with
    ``fileno()``; by default it is the calling thread's own namespace.
    Raises LocalProtocolError for nonsense; and, when entered, FileNotFoundError where there is no
    such namespace, PermissionError without the right to enter it, NotSupported where the kernel has
    no sock_diag, NetlinkTimeout when the opening takes longer than ``timeout``.
    """
    pool = new_pool(NETLINK_SOCK_DIAG, timeout, receive_buffer, netns)
    return SockDiag(pool, timeout)
