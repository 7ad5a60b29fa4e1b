"""Unix sockets over sock_diag: their names, who is connected to whom, who waits to be accepted.

From ``include/uapi/linux/unix_diag.h``; ``net/unix/diag.c`` answers.

A row that does not fit into the kernel's buffer ends a dump there and then, as if there were no
more (unix_diag_dump).  Only one attribute grows without bound: the connections that wait at a
listener.  So all but listeners are asked for without it, listeners with it, and then listeners
without it, for those that the dump before could not show.

May call ``families.members``, ``families.plain``, ``families.inet_diag``,
``families.sock_diag``, ``families.socket_question``, ``protocol``,
``wire`` and ``errors``.
"""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING, Any, Final

import attrs

from netlink_safe.errors import DecodeError, LocalProtocolError
from netlink_safe.families.inet_diag import Shutdown, TcpState
from netlink_safe.families.members import members
from netlink_safe.families.plain import plain
from netlink_safe.families.sock_diag import (
    NO_COOKIE,
    AcceptQueue,
    SocketMemory,
    SocketType,
    packed_cookie,
)
from netlink_safe.families.socket_question import dump_of, question, request_of, states_mask
from netlink_safe.wire.attributes import Attributes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from netlink_safe.protocol.request import Request

#: What a kernel without it lacks.
FEATURE: Final = "unix sockets over sock_diag (module unix_diag)"

AF_UNIX: Final = 1
#: What to show of every socket: name, file, peer, queues, memory and owner (Linux 5.3).
SHOW: Final = 0x01 | 0x02 | 0x04 | 0x10 | 0x20 | 0x40
#: The connections that wait to be accepted.
SHOW_PENDING: Final = 0x08

NAME, VFS, PEER, ICONS, RQLEN, MEMORY, SHUTDOWN, UID = range(8)

LISTENING: Final = frozenset({TcpState.LISTEN})
STATES: Final = frozenset(TcpState)
#: A walk of the table for others than these may find next to nothing.
COMMON: Final = frozenset({TcpState.ESTABLISHED, TcpState.CLOSE})

#: struct unix_diag_msg.
_ROW: Final = struct.Struct("=BBBxIII")
_PAIR: Final = struct.Struct("=II")
_U32: Final = struct.Struct("=I")
_EMSGSIZE: Final = 90
#: The kernel's own dev_t (``include/linux/kdev_t.h``): so many bits of it are the minor number.
_MINOR_BITS: Final = 20


@attrs.frozen(slots=True)
class UnixFile:
    """What a socket is bound to in a file system, as ``os.stat`` has it.

    ``inode`` is ``st_ino``, its low 32 bits, ``device`` is ``st_dev`` (``net/unix/diag.c``:
    sk_diag_dump_vfs).
    """

    inode: int
    device: int


@attrs.frozen(slots=True)
class UnixSocket:
    """One unix socket.

    ``name`` is its address as bytes, whatever they are; an abstract one begins with a NUL.
    ``path`` is the same as text: NULs of an abstract name are ``@``, and bytes that are no UTF-8
    are surrogates, as ``os.fsdecode`` has them.  Both are None for a socket without a name.
    ``vfs`` is the file that it was bound to, which may have another name by now, or none.
    ``peer`` is the inode of the socket at the other end, 0 for one that nobody holds, as before it
    is accepted; None without a peer.
    ``pending`` are, for a listener, the inodes of those who wait to be accepted, in order, 0 for
    one that has gone again; None for a listener that has more than the kernel can tell, some 900
    to 8,000 (``net/unix/diag.c``: sk_diag_dump_icons).  It is empty for others.
    ``receive_queue`` is bytes to be read, of datagrams the next one's; ``transmit_queue`` is the
    memory in bytes of what was sent and not read.  In LISTEN they are connections that wait, and
    how many may.
    ``uid`` is the owner's user ID, as the asking process's user namespace sees it.
    ``inode`` is the socket's, ``cookie`` what identifies it for as long as the machine runs;
    ``memory`` is in bytes.
    """

    type: SocketType
    state: TcpState
    inode: int
    cookie: int
    path: str | None
    name: bytes | None
    vfs: UnixFile | None
    peer: int | None
    pending: tuple[int, ...] | None
    receive_queue: int
    transmit_queue: int
    shutdown: Shutdown
    uid: int | None
    memory: SocketMemory | None

    @property
    def accept_queue(self) -> AcceptQueue | None:
        """The accept queue of a listener, None for others."""
        if self.state is not TcpState.LISTEN:
            return None
        return AcceptQueue(self.receive_queue, self.transmit_queue)

    def as_dict(self) -> dict[str, Any]:
        """The same as plain data, enums by name and bytes as text with escapes."""
        return plain(self)


def unix_sockets(
    states: Iterable[TcpState | int | str] | TcpState | int | str | None = None,
) -> tuple[Request[UnixSocket], ...]:
    """Ask for the unix sockets of the network namespace, in these states or in all.

    ``states`` are members of TcpState, their names or numbers, one or several.
    Connected sockets are ESTABLISHED, listeners LISTEN, all others CLOSE.
    A connection that waits to be accepted has no inode and no row; its listener tells of it.
    A dump is a walk, not a snapshot, as ``tcp_sockets`` says.
    Raises LocalProtocolError for what is no state, and for none at all.
    """
    wanted = STATES if states is None else members(TcpState, states, "state")
    if not wanted:
        raise LocalProtocolError("states is empty, which asks for nothing; leave it out for all")
    requests = []
    if others := wanted - LISTENING:
        stalls = not others & COMMON
        requests.append(_dump("unix sockets", others, SHOW, _read, may_stall=stalls))
    if wanted & LISTENING:
        for show, read in ((SHOW | SHOW_PENDING, _read), (SHOW, _read_too_large)):
            request = _dump("unix listeners", LISTENING, show, read, may_stall=True)
            requests.append(attrs.evolve(request, repeats=True))
    return tuple(requests)


def unix_socket(inode: int, cookie: int | None = None) -> Request[UnixSocket]:
    """Ask for one unix socket by its inode, which ``os.fstat`` tells of a descriptor.

    ``inode`` is from 1 to 2**32 - 1, ``cookie`` has 64 bits.
    With ``cookie`` only that very socket will do, and no other that has its inode now: the kernel
    answers ESTALE (KernelError) if another one has, and ENOENT where there is none.
    It walks its table to find it, but sends one row (``net/unix/diag.c``: unix_diag_get_exact).
    Raises LocalProtocolError for what is no inode or no cookie.
    """
    if isinstance(inode, bool) or not isinstance(inode, int) or not 0 < inode < 1 << 32:
        raise LocalProtocolError(f"{inode!r} is no inode of a socket; os.fstat(...).st_ino is one")
    packed = NO_COOKIE if cookie is None else packed_cookie(cookie)
    mask = states_mask(STATES)
    whole, less = (
        request_of(
            f"the unix socket with inode {inode}",
            question(AF_UNIX, states=mask, inode=inode, show=show, cookie=packed),
            read,
            _ROW.size,
            FEATURE,
        )
        for show, read in ((SHOW | SHOW_PENDING, _read), (SHOW, _read_too_large))
    )
    return attrs.evolve(whole, instead=(less,), instead_on=frozenset({_EMSGSIZE}))


def _dump(
    what: str,
    states: frozenset[TcpState],
    show: int,
    read: Callable[[bytes, int, int], UnixSocket],
    *,
    may_stall: bool,
) -> Request[UnixSocket]:
    asked = question(AF_UNIX, states=states_mask(states), show=show)
    name = f"the dump of {what}"
    return dump_of(name, asked, read, _ROW.size, FEATURE, may_stall=may_stall)


def _read(data: bytes, start: int, end: int) -> UnixSocket:
    _, type_, state, inode, low, high = _ROW.unpack_from(data, start)
    said = Attributes(data, start + _ROW.size, end)
    address = said.raw(NAME)
    queues = _pair(said, RQLEN, start)
    if queues is None:
        raise DecodeError("a unix socket without the lengths of its queues", start)
    return UnixSocket(
        type=SocketType(type_),
        state=TcpState(state),
        inode=inode,
        cookie=low | high << 32,
        path=_path(address),
        name=_name(address),
        vfs=_file(_pair(said, VFS, start)),
        peer=said.u32(PEER),
        pending=_inodes(said.raw(ICONS) or b"", start),
        receive_queue=queues[0],
        transmit_queue=queues[1],
        shutdown=Shutdown((said.u8(SHUTDOWN) or 0) & 3),
        uid=said.u32(UID),
        memory=SocketMemory.read(said.raw(MEMORY)),
    )


def _read_too_large(data: bytes, start: int, end: int) -> UnixSocket:
    """The row of a socket whose pending connections the kernel could not tell, if it has some."""
    row = _read(data, start, end)
    return attrs.evolve(row, pending=None) if row.accept_queue and row.receive_queue else row


def _name(address: bytes | None) -> bytes | None:
    """A path ends at its NUL; an abstract name is as long as it is."""
    if not address or address.startswith(b"\0"):
        return address
    return address.partition(b"\0")[0]


def _path(address: bytes | None) -> str | None:
    name = _name(address)
    if name is None:
        return None
    shown = name.replace(b"\0", b"@") if name.startswith(b"\0") else name
    return shown.decode("utf-8", "surrogateescape")


def _file(numbers: tuple[int, int] | None) -> UnixFile | None:
    if numbers is None:
        return None
    inode, device = numbers
    major, minor = device >> _MINOR_BITS, device & (1 << _MINOR_BITS) - 1
    return UnixFile(inode, os.makedev(major, minor))


def _inodes(raw: bytes, offset: int) -> tuple[int, ...]:
    if len(raw) % _U32.size:
        raise DecodeError(f"inodes of {len(raw)} bytes", offset, (ICONS,))
    return tuple(number for (number,) in _U32.iter_unpack(raw))


def _pair(said: Attributes, type_: int, offset: int) -> tuple[int, int] | None:
    raw = said.raw(type_)
    if raw is None:
        return None
    if len(raw) < _PAIR.size:
        raise DecodeError(f"two numbers in {len(raw)} bytes", offset, (type_,))
    first, second = _PAIR.unpack_from(raw)
    return first, second
