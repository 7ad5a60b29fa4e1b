"""vsock sockets over sock_diag: those of virtual machines and their hosts.

From ``include/uapi/linux/vm_sockets_diag.h``; ``net/vmw_vsock/diag.c`` answers (Linux 4.15).

May call ``families.members``, ``families.plain``, ``families.inet_diag``, ``families.sock_diag``,
``families.socket_question``, ``protocol`` and ``errors``.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

import attrs

from netlink_safe.errors import LocalProtocolError
from netlink_safe.families.inet_diag import Shutdown, TcpState
from netlink_safe.families.members import members
from netlink_safe.families.plain import plain
from netlink_safe.families.sock_diag import SocketType
from netlink_safe.families.socket_question import dump_of, question, states_mask

if TYPE_CHECKING:
    from collections.abc import Iterable

    from netlink_safe.protocol.request import Request

#: What a kernel without it lacks.
FEATURE: Final = "vsock sockets over sock_diag (module vsock_diag)"

AF_VSOCK: Final = 40
#: VMADDR_CID_ANY and VMADDR_PORT_ANY.
ANY: Final = 0xFFFFFFFF

#: struct vsock_diag_msg.
_ROW: Final = struct.Struct("=BBBBIIIIIII")


@attrs.frozen(slots=True)
class VsockEndpoint:
    """A machine's context ID and a port, of 32 bits; each is 0xFFFFFFFF for any.

    (``include/uapi/linux/vm_sockets.h``: VMADDR_CID_ANY, VMADDR_PORT_ANY.)
    """

    cid: int
    port: int

    def __str__(self) -> str:
        cid, port = ("*" if number == ANY else number for number in (self.cid, self.port))
        return f"{cid}:{port}"


@attrs.frozen(slots=True)
class VsockSocket:
    """One vsock socket; ``destination`` is any and any where there is none.

    ``state`` is ESTABLISHED, LISTEN and the like, as TCP has them; ``shutdown`` what is shut down.
    ``inode`` is the socket's, ``cookie`` what identifies it for as long as the machine runs.
    """

    type: SocketType
    state: TcpState
    shutdown: Shutdown
    source: VsockEndpoint
    destination: VsockEndpoint
    inode: int
    cookie: int

    def as_dict(self) -> dict[str, Any]:
        """The same as plain data, enums by name."""
        return plain(self)


def vsock_sockets(
    states: Iterable[TcpState | int | str] | TcpState | int | str | None = None,
) -> Request[VsockSocket]:
    """Ask for the vsock sockets of the network namespace, in these states or in all.

    ``states`` are members of TcpState, their names or numbers, one or several.
    Raises LocalProtocolError for what is no state, and for none at all.
    """
    wanted = frozenset(TcpState) if states is None else members(TcpState, states, "state")
    if not wanted:
        raise LocalProtocolError("states is empty, which asks for nothing; leave it out for all")
    return dump_of(
        "the dump of vsock sockets",
        question(AF_VSOCK, states=states_mask(wanted), show=0),
        _read,
        _ROW.size,
        FEATURE,
        may_stall=False,
    )


def _read(data: bytes, start: int, _end: int) -> VsockSocket:
    _, type_, state, shutdown, cid, port, to_cid, to_port, inode, low, high = _ROW.unpack_from(
        data, start
    )
    return VsockSocket(
        type=SocketType(type_),
        state=TcpState(state),
        shutdown=Shutdown(shutdown & 3),
        source=VsockEndpoint(cid, port),
        destination=VsockEndpoint(to_cid, to_port),
        inode=inode,
        cookie=low | high << 32,
    )
