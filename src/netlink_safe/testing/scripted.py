"""A kernel that says what a test has it say, for what no real one will do on demand.

::

    with ScriptedKernel() as kernel:
        kernel.tcp(TcpFigure(state="listen"), TcpFigure(state="established"))
        stats = collect_blocking()                  # two sockets

        kernel.answer(NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, lambda asked: [done(asked, ENOMEM)])

It stands in for the kernel wherever the library opens a socket meanwhile, in whatever thread, but
for NETLINK_USERSOCK, where processes talk and not the kernel.
What nobody has scripted is refused with EOPNOTSUPP.  Its sockets behave as real ones: the same
contract tests run on both.

May call ``testing.replies``, ``testing.scripted_end``, ``testing.scripted_tcp``, ``transport``
and ``wire``.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import weakref
from typing import TYPE_CHECKING, Final, Self

from netlink_safe.testing.replies import refusal
from netlink_safe.testing.scripted_end import THE_KERNEL, ScriptedEnd
from netlink_safe.testing.scripted_tcp import tcp_script
from netlink_safe.transport.kernel import InFront
from netlink_safe.wire.constants import NETLINK_SOCK_DIAG, NETLINK_USERSOCK

if TYPE_CHECKING:
    from collections.abc import Iterable

    from netlink_safe.testing.replies import Asked, Loss, Script, Sent
    from netlink_safe.testing.scripted_tcp import TcpFigure
    from netlink_safe.transport.kernel import End
    from netlink_safe.wire.datagram import Credentials

#: Port IDs that no process has by its number.
FIRST_PORT_ID: Final = 0x8000_0001


class ScriptedKernel(InFront):
    """Enter it with ``with``; ``asked`` are the requests so far, in their order.

    Numbers that it is given are not checked; what a script raises comes out of the library's send
    or receive.
    """

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Asked] = []
        self._scripts: dict[tuple[int, int], Script] = {}
        self._ends: weakref.WeakSet[ScriptedEnd] = weakref.WeakSet()
        self._port_ids = itertools.count(FIRST_PORT_ID)
        self._entered = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self._entered.enter_context(self.in_place())
        return self

    def __exit__(self, *_: object) -> None:
        self._entered.close()

    def answer(self, protocol: int, type_: int, script: Script) -> None:
        """Have a script answer all requests of a type, instead of whatever did before."""
        self._scripts[protocol, type_] = script

    def tcp(self, *figures: TcpFigure) -> None:
        """Have these TCP sockets, and no others; questions about them are answered as they ask.

        A figure without a cookie gets one.  Raises ValueError and struct.error as TcpFigure does.
        """
        for type_, script in tcp_script(figures).items():
            self.answer(NETLINK_SOCK_DIAG, type_, script)

    def multicast(
        self,
        protocol: int,
        group: int,
        data: bytes,
        *,
        sender: int = 0,
        credentials: Credentials = THE_KERNEL,
    ) -> int:
        """Tell the members of a group; how many there are.  Who has no room has an overrun.

        ``group`` is from 1 on; of one above 32 the receiver is not told which.
        ``sender`` is the port ID of whoever sends it, 0 for the kernel.
        """
        members = [end for end in self._open(protocol) if group in end.groups]
        for end in members:
            end.deliver(data, sender, 1 << group - 1 if group <= 32 else 0, credentials)
        return len(members)

    def spoof(self, port_id: int, data: bytes, *, sender: int) -> None:
        """Send a datagram to one socket in the name of another process.

        Raises ConnectionRefusedError where nobody has that port ID.
        """
        for end in self._open():
            if end.getsockname()[0] == port_id:
                end.deliver(data, sender)
                return
        raise ConnectionRefusedError(errno.ECONNREFUSED, f"nobody has port ID {port_id}")

    def release(self) -> int:
        """Deliver what scripts had held; how many datagrams that were.

        What was to reach a socket that is closed by now is none.
        """
        return sum(end.release() for end in self._open())

    @property
    def open_sockets(self) -> int:
        """How many sockets to it are open."""
        return len(self._open())

    def open(self, protocol: int) -> End:
        """A socket to it; to the kernel behind it for NETLINK_USERSOCK."""
        if protocol == NETLINK_USERSOCK:
            return super().open(protocol)
        end = ScriptedEnd(protocol, next(self._port_ids), self._answer)
        self._ends.add(end)
        return end

    def _answer(self, asked: Asked) -> Iterable[bytes | Sent | Loss]:
        self.asked.append(asked)
        script = self._scripts.get((asked.protocol, asked.type))
        return [refusal(asked, errno.EOPNOTSUPP)] if script is None else script(asked)

    def _open(self, protocol: int | None = None) -> list[ScriptedEnd]:
        return [
            end for end in list(self._ends) if end.fileno() >= 0 and protocol in {None, end.proto}
        ]
