"""Netlink sockets over sock_diag: who has which port ID, which groups, how much is queued.

From ``include/uapi/linux/netlink_diag.h``; ``net/netlink/diag.c`` answers.

May call ``families.members``, ``families.plain``, ``families.inet_diag``, ``families.sock_diag``,
``families.socket_question``, ``protocol``, ``wire`` and ``errors``.
"""

from __future__ import annotations

import enum
import struct
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import attrs

from netlink_safe.errors import DecodeError, LocalProtocolError
from netlink_safe.families.inet_diag import TcpState
from netlink_safe.families.members import member
from netlink_safe.families.plain import plain
from netlink_safe.families.sock_diag import SocketMemory, SocketType
from netlink_safe.families.socket_question import dump_of, question
from netlink_safe.wire.attributes import Attributes
from netlink_safe.wire.enums import NewerFlags, newer_member

if TYPE_CHECKING:
    from netlink_safe.protocol.request import Request

#: What a kernel without it lacks.
FEATURE: Final = "netlink sockets over sock_diag (module netlink_diag)"

AF_NETLINK: Final = 16
#: What to show: memory, groups and flags; the rings went with Linux 4.6.
SHOW: Final = 0x1 | 0x2 | 0x8
#: The same without flags, which makes rows of another length.
SHOW_LESS: Final = 0x1 | 0x2
ALL_PROTOCOLS: Final = 0xFF
#: MAX_LINKS: how many protocols there can be.
PROTOCOLS: Final = 32

MEMORY, GROUPS, FLAGS = 0, 1, 4

#: struct netlink_diag_msg; its cookie is read as one number with the low word first.
_ROW: Final = struct.Struct("=BBBBIIIIII")
_LONG: Final = struct.Struct("@L")


class NetlinkProtocol(enum.IntEnum):
    """What a netlink socket speaks: the NETLINK_* numbers of ``include/uapi/linux/netlink.h``.

    A protocol that is not listed here gets a member of its own, named ``PROTOCOL_n``.
    """

    ROUTE = 0
    UNUSED = 1
    USERSOCK = 2
    FIREWALL = 3
    SOCK_DIAG = 4
    NFLOG = 5
    XFRM = 6
    SELINUX = 7
    ISCSI = 8
    AUDIT = 9
    FIB_LOOKUP = 10
    CONNECTOR = 11
    NETFILTER = 12
    IP6_FW = 13
    DNRTMSG = 14
    KOBJECT_UEVENT = 15
    GENERIC = 16
    SCSITRANSPORT = 18
    ECRYPTFS = 19
    RDMA = 20
    CRYPTO = 21
    SMC = 22

    def __str__(self) -> str:
        return self.name.lower()

    @classmethod
    def _missing_(cls, value: object) -> NetlinkProtocol | None:
        return newer_member(cls, value, "PROTOCOL", 0xFF)


class NetlinkFlags(NewerFlags):
    """What is set on a netlink socket: the NDIAG_FLAG_* bits; unknown ones are kept.

    From ``include/uapi/linux/netlink_diag.h`` (``net/netlink/diag.c``: sk_diag_put_flags).
    Other options, such as extended acknowledgements and strict checks, the kernel does not tell.
    """

    DUMP_RUNNING = 0x01
    PACKET_INFO = 0x02
    BROADCAST_ERROR = 0x04
    NO_ENOBUFS = 0x08
    LISTEN_ALL_NSID = 0x10
    CAP_ACK = 0x20


ProtocolLike: TypeAlias = NetlinkProtocol | int | str


@attrs.frozen(slots=True)
class NetlinkSocket:
    """One netlink socket.

    ``port_id`` is its address, of 32 bits, 0 for the kernel's own sockets, and for one that joined
    a group before it had an address; ``destination_port_id`` and ``destination_group`` are those of
    a connect(2), 0 without.  ``inode`` is the socket's, ``cookie`` what
    identifies it for as long as the machine runs; ``memory`` is in bytes.
    ``state`` is CLOSE until a connect(2), ESTABLISHED after it, and STATE_0 when that was undone.
    ``groups`` are the multicast groups that it is in, numbered from 1.
    ``flags`` are None for a row that the kernel gives only where it is asked for less; see
    ``netlink_sockets``.
    """

    protocol: NetlinkProtocol
    port_id: int
    destination_port_id: int
    destination_group: int
    state: TcpState
    type: SocketType
    inode: int
    cookie: int
    groups: frozenset[int]
    memory: SocketMemory | None
    flags: NetlinkFlags | None

    @property
    def is_kernel(self) -> bool:
        """Whether it is the kernel's own: port ID 0 and no group."""
        return not self.port_id and not self.groups

    @property
    def is_dump_running(self) -> bool:
        """Whether it is known that a dump that it asked for has not been read to its end."""
        return self.flags is not None and NetlinkFlags.DUMP_RUNNING in self.flags

    def as_dict(self) -> dict[str, Any]:
        """The same as plain data, enums by name."""
        return plain(self)


def netlink_sockets(protocol: ProtocolLike | None = None) -> tuple[Request[NetlinkSocket], ...]:
    """Ask for the netlink sockets of the network namespace; of one protocol, or of all.

    ``protocol`` is a member, its name, or a number from 0 to 31.
    A socket that has no address and is in no group is in none of the kernel's tables, and has no
    row.  One that is in a group is in two tables, and the kernel gives its row twice; and a row
    that does not fit into a chunk any more it does not give at all, since its walk has gone past
    it (``net/netlink/diag.c``: __netlink_diag_dump).  So it is asked twice, the second time for
    shorter rows, which end the chunks elsewhere; ``dump`` hands out what it sees first of each.
    Raises LocalProtocolError for what is none.
    """
    asked = ALL_PROTOCOLS if protocol is None else _checked_protocol(protocol)
    which = "" if protocol is None else f" of protocol {NetlinkProtocol(asked)}"
    return tuple(
        attrs.evolve(
            dump_of(
                f"the dump of netlink sockets{which}",
                question(AF_NETLINK, protocol=asked, show=show),
                _read,
                _ROW.size,
                FEATURE,
                may_stall=False,
            ),
            repeats=True,
        )
        for show in (SHOW, SHOW_LESS)
    )


def _checked_protocol(protocol: ProtocolLike) -> int:
    if isinstance(protocol, int) and not isinstance(protocol, bool):
        if 0 <= protocol < PROTOCOLS:
            return int(protocol)
        raise LocalProtocolError(
            f"{protocol!r} is no netlink protocol; they have numbers from 0 to {PROTOCOLS - 1}"
        )
    return member(NetlinkProtocol, protocol, "netlink protocol")


def _read(data: bytes, start: int, end: int) -> NetlinkSocket:
    _, type_, protocol, state, port_id, to_port_id, to_group, inode, low, high = _ROW.unpack_from(
        data, start
    )
    said = Attributes(data, start + _ROW.size, end)
    return NetlinkSocket(
        protocol=NetlinkProtocol(protocol),
        port_id=port_id,
        destination_port_id=to_port_id,
        destination_group=to_group,
        state=TcpState(state),
        type=SocketType(type_),
        inode=inode,
        cookie=low | high << 32,
        groups=_groups(said.raw(GROUPS) or b"", start),
        memory=SocketMemory.read(said.raw(MEMORY)),
        flags=None if (flags := said.u32(FLAGS)) is None else NetlinkFlags(flags),
    )


def _groups(bitmap: bytes, offset: int) -> frozenset[int]:
    """The numbers in a bitmap of native longs, whose first bit is group 1."""
    if not any(bitmap):
        return frozenset()
    if len(bitmap) % _LONG.size:
        raise DecodeError(f"a bitmap of groups of {len(bitmap)} bytes", offset, (GROUPS,))
    return frozenset(
        place * _LONG.size * 8 + bit + 1
        for place, (word,) in enumerate(_LONG.iter_unpack(bitmap))
        for bit in range(word.bit_length())
        if word >> bit & 1
    )
