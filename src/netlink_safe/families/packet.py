"""Packet sockets over sock_diag: who listens to which interface, with which rings and filter.

From ``include/uapi/linux/packet_diag.h`` and ``if_packet.h``; ``net/packet/diag.c`` answers.

A row that does not fit into the kernel's buffer ends a dump there and then, as if there were no
more (packet_diag_dump).  Filter and memberships grow: so the sockets are asked for with both, and
then without, for those that the dump before could not show.

May call ``families.plain``, ``families.sock_diag``, ``families.socket_question``, ``protocol``,
``wire`` and ``errors``.
"""

from __future__ import annotations

import enum
import struct
from typing import TYPE_CHECKING, Any, Final

import attrs

from netlink_safe.errors import DecodeError
from netlink_safe.families.plain import plain
from netlink_safe.families.sock_diag import SocketMemory, SocketType
from netlink_safe.families.socket_question import dump_of, question
from netlink_safe.wire.attributes import Attributes
from netlink_safe.wire.enums import NewerFlags, newer_member

if TYPE_CHECKING:
    from netlink_safe.protocol.request import Request

#: What a kernel without it lacks.
FEATURE: Final = "packet sockets over sock_diag (module packet_diag)"

AF_PACKET: Final = 17
#: What to show of every socket: what it is, rings, fanout and memory.
SHOW: Final = 0x01 | 0x04 | 0x08 | 0x10
#: What has no bound: memberships and filter.
SHOW_GROWING: Final = 0x02 | 0x20

INFO, MCLIST, RX_RING, TX_RING, FANOUT, UID, MEMORY, FILTER = range(8)

#: struct packet_diag_msg, and what its attributes hold.
_ROW: Final = struct.Struct("=BBHIII")
_INFO: Final = struct.Struct("=IIIIII")
_RING: Final = struct.Struct("=IIIIIII")
_MEMBERSHIP: Final = struct.Struct("=IIHH32s")
_LONGEST_ADDRESS: Final = 32
#: struct sock_filter: one instruction of a filter.
_INSTRUCTION_SIZE: Final = 8


class TpacketVersion(enum.IntEnum):
    """The layout of a ring's frames; one that is not listed is named ``VERSION_n``.

    From ``include/uapi/linux/if_packet.h``: enum tpacket_versions.
    """

    V1 = 0
    V2 = 1
    V3 = 2

    def __str__(self) -> str:
        return self.name.lower()

    @classmethod
    def _missing_(cls, value: object) -> TpacketVersion | None:
        return newer_member(cls, value, "VERSION")


class PacketFlags(NewerFlags):
    """What is set on a packet socket: the PDI_* bits; unknown ones are kept.

    From ``include/uapi/linux/packet_diag.h`` (``net/packet/diag.c``: pdiag_put_info).
    """

    RUNNING = 0x01
    AUXDATA = 0x02
    ORIGDEV = 0x04
    VNETHDR = 0x08
    LOSS = 0x10


class FanoutType(enum.IntEnum):
    """How the sockets of a fanout group share packets; one not listed is named ``TYPE_n``.

    From ``include/uapi/linux/if_packet.h``: PACKET_FANOUT_*.
    """

    HASH = 0
    LOAD_BALANCE = 1
    CPU = 2
    ROLLOVER = 3
    RANDOM = 4
    QUEUE_MAPPING = 5
    CBPF = 6
    EBPF = 7

    def __str__(self) -> str:
        return self.name.lower()

    @classmethod
    def _missing_(cls, value: object) -> FanoutType | None:
        return newer_member(cls, value, "TYPE")


class MembershipType(enum.IntEnum):
    """What a socket has an interface receive; one not listed is ``TYPE_n``.

    From ``include/uapi/linux/if_packet.h``: PACKET_MR_*.
    """

    MULTICAST = 0
    PROMISCUOUS = 1
    ALL_MULTICAST = 2
    UNICAST = 3

    def __str__(self) -> str:
        return self.name.lower()

    @classmethod
    def _missing_(cls, value: object) -> MembershipType | None:
        return newer_member(cls, value, "TYPE")


@attrs.frozen(slots=True)
class PacketRing:
    """A ring that is shared with the socket's owner; sizes in bytes, ``retire_timeout`` in ms.

    ``blocks`` and ``frames`` say how many there are; ``private_size`` is what the owner has of each
    block, ``features`` TP_FT_REQ_* bits (``include/uapi/linux/if_packet.h``: tpacket_req3).
    """

    block_size: int
    blocks: int
    frame_size: int
    frames: int
    retire_timeout: int
    private_size: int
    features: int


@attrs.frozen(slots=True)
class PacketFanout:
    """The fanout group that a socket is in; ``id`` is what its members share, up to 65535."""

    id: int
    type: FanoutType


@attrs.frozen(slots=True)
class PacketMembership:
    """What a socket has an interface receive, and how often it asked for it (``count``).

    ``interface`` is an index; ``address`` a hardware address, of up to 32 bytes.
    """

    interface: int
    type: MembershipType
    address: bytes
    count: int

    def as_dict(self) -> dict[str, Any]:
        """The same as plain data; the hardware address in hexadecimal."""
        return {**plain(self), "address": self.address.hex(":")}


@attrs.frozen(slots=True)
class PacketSocket:
    """One packet socket.

    ``protocol`` is the ethertype, such as 0x0800, 3 for all (ETH_P_ALL), 0 for one that receives
    nothing; ``interface`` the index of the interface that it is bound to, 0 for any.
    ``inode`` is the socket's, ``cookie`` what identifies it for as long as the machine runs.
    ``reserve`` and ``copy_threshold`` are bytes, as PACKET_RESERVE and PACKET_COPY_THRESH set them;
    ``timestamp`` is what PACKET_TIMESTAMP set, SOF_TIMESTAMPING_* bits.
    ``filter`` are the instructions of its classic filter (struct sock_filter), 8 bytes each; None
    without one, be it that there is another kind; empty where the kernel does not tell: without
    CAP_NET_ADMIN (``net/packet/diag.c``: packet_diag_dump), and where filter and
    memberships are too large for it, some 3 to 32 KiB.
    ``memberships`` is None then, too.
    ``uid`` is the owner's user ID, as the asking process's user namespace sees it.
    """

    type: SocketType
    protocol: int
    inode: int
    cookie: int
    interface: int
    version: TpacketVersion
    reserve: int
    copy_threshold: int
    timestamp: int
    flags: PacketFlags
    receive_ring: PacketRing | None
    transmit_ring: PacketRing | None
    fanout: PacketFanout | None
    uid: int | None
    memory: SocketMemory | None
    filter: bytes | None
    memberships: tuple[PacketMembership, ...] | None

    @property
    def has_filter(self) -> bool | None:
        """Whether it has a classic filter; None where the kernel does not tell."""
        return None if self.filter == b"" else self.filter is not None

    def as_dict(self) -> dict[str, Any]:
        """The same as plain data, enums by name; filter and addresses in hexadecimal."""
        memberships = self.memberships
        return {
            **plain(self),
            "filter": None if self.filter is None else self.filter.hex(),
            "memberships": memberships and [each.as_dict() for each in memberships],
        }


def packet_sockets() -> tuple[Request[PacketSocket], ...]:
    """Ask for the packet sockets of the network namespace.

    The kernel takes rtnl_lock for each, to tell its memberships, and may wait for it
    (``net/packet/diag.c``: pdiag_put_mclist).
    """
    whole, less = (
        attrs.evolve(
            dump_of(
                "the dump of packet sockets",
                question(AF_PACKET, show=show),
                read,
                _ROW.size,
                FEATURE,
                may_stall=True,
            ),
            repeats=True,
        )
        for show, read in ((SHOW | SHOW_GROWING, _read), (SHOW, _read_too_large))
    )
    return whole, less


def _read(data: bytes, start: int, end: int) -> PacketSocket:
    _, type_, protocol, inode, low, high = _ROW.unpack_from(data, start)
    said = Attributes(data, start + _ROW.size, end)
    info = _words(said, INFO, _INFO, start)
    if info is None:
        raise DecodeError("a packet socket that says nothing of itself", start)
    index, version, reserve, copy_threshold, timestamp, flags = info
    return PacketSocket(
        type=SocketType(type_),
        protocol=protocol,
        inode=inode,
        cookie=low | high << 32,
        interface=index,
        version=TpacketVersion(version),
        reserve=reserve,
        copy_threshold=copy_threshold,
        timestamp=timestamp,
        flags=PacketFlags(flags),
        receive_ring=_ring(said, RX_RING, start),
        transmit_ring=_ring(said, TX_RING, start),
        fanout=_fanout(said.u32(FANOUT)),
        uid=said.u32(UID),
        memory=SocketMemory.read(said.raw(MEMORY)),
        filter=_filter(said.raw(FILTER), start),
        memberships=_memberships(said.raw(MCLIST) or b"", start),
    )


def _read_too_large(data: bytes, start: int, end: int) -> PacketSocket:
    """The row of a socket whose filter and memberships the kernel could not tell."""
    return attrs.evolve(_read(data, start, end), filter=b"", memberships=None)


def _ring(said: Attributes, type_: int, offset: int) -> PacketRing | None:
    words = _words(said, type_, _RING, offset)
    return None if words is None else PacketRing(*words)


def _fanout(word: int | None) -> PacketFanout | None:
    return None if word is None else PacketFanout(word & 0xFFFF, FanoutType(word >> 16))


def _filter(raw: bytes | None, offset: int) -> bytes | None:
    if raw is not None and len(raw) % _INSTRUCTION_SIZE:
        raise DecodeError(f"a filter of {len(raw)} bytes", offset, (FILTER,))
    return raw


def _memberships(raw: bytes, offset: int) -> tuple[PacketMembership, ...]:
    if len(raw) % _MEMBERSHIP.size:
        raise DecodeError(f"memberships of {len(raw)} bytes", offset, (MCLIST,))
    found = []
    for index, count, type_, length, address in _MEMBERSHIP.iter_unpack(raw):
        if length > _LONGEST_ADDRESS:
            raise DecodeError(f"a hardware address of {length} bytes", offset, (MCLIST,))
        found.append(PacketMembership(index, MembershipType(type_), address[:length], count))
    return tuple(found)


def _words(
    said: Attributes, type_: int, form: struct.Struct, offset: int
) -> tuple[int, ...] | None:
    raw = said.raw(type_)
    if raw is None:
        return None
    if len(raw) < form.size:
        raise DecodeError(f"{len(raw)} bytes where {form.size} are needed", offset, (type_,))
    return form.unpack_from(raw)
