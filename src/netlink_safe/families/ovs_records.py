"""What Open vSwitch in the kernel says: records of datapaths and vports, and how they are read.

From ``include/uapi/linux/openvswitch.h``; ``net/openvswitch/datapath.c`` writes them.

May call ``wire`` and ``errors``.
"""

from __future__ import annotations

import enum
import struct
from typing import TYPE_CHECKING, Final

import attrs

from netlink_safe.errors import DecodeError
from netlink_safe.wire.enums import newer_member

if TYPE_CHECKING:
    from netlink_safe.wire.generic import GenericMessage
    from netlink_safe.wire.policy import Policy

DP_NAME, DP_UPCALL_PID, DP_STATS, DP_USER_FEATURES, DP_PER_CPU_PIDS = 1, 2, 3, 5, 8
PORT_NO, TYPE, NAME, OPTIONS, UPCALL_PID, STATS, IFINDEX, NETNSID = 1, 2, 3, 4, 5, 6, 8, 9

#: The header of both families, struct ovs_header: the datapath's index.
HEADER: Final = struct.Struct("=i")
_DP_COUNTS: Final = struct.Struct("=4Q")
_VPORT_COUNTS: Final = struct.Struct("=8Q")


class VportType(enum.IntEnum):
    """What stands behind a port: enum ovs_vport_type; a newer one is named ``TYPE_n``."""

    UNSPECIFIED = 0
    NETDEV = 1
    INTERNAL = 2
    GRE = 3
    VXLAN = 4
    GENEVE = 5

    @classmethod
    def _missing_(cls, value: object) -> VportType | None:
        return newer_member(cls, value, "TYPE")


@attrs.frozen(slots=True)
class DatapathCounts:
    """Packets that met a flow, that met none, that were lost on the way up; flows there are.

    They are counted since the datapath was made (``net/openvswitch/datapath.c``: get_dp_stats).
    """

    hits: int
    misses: int
    lost: int
    flows: int


@attrs.frozen(slots=True)
class Datapath:
    """A datapath; ``index`` is the interface index of its local port.

    ``upcall_ports`` are the netlink port IDs that packets without a flow go to, a processor each,
    where the datapath has them and not its vports; ``user_features`` are OVS_DP_F_* bits of
    ``include/uapi/linux/openvswitch.h``.  Two that differ in ``counts`` alone are equal.
    """

    index: int
    name: str
    user_features: int
    upcall_ports: tuple[int, ...]
    counts: DatapathCounts | None = attrs.field(eq=False, default=None)


@attrs.frozen(slots=True)
class VportCounts:
    """What the device behind a port has received and sent since it was made, in packets and bytes.

    Errors and drops are packets (``net/openvswitch/vport.c``: ovs_vport_get_stats).
    """

    receive_packets: int
    transmit_packets: int
    receive_bytes: int
    transmit_bytes: int
    receive_errors: int
    transmit_errors: int
    receive_dropped: int
    transmit_dropped: int


@attrs.frozen(slots=True)
class Vport:
    """A port of a datapath.

    ``datapath`` is the datapath's index, ``number`` the port's own there.
    ``index`` is the interface index of the device behind it, in the namespace ``netnsid`` if that
    is not the datapath's.  ``upcall_ports`` are the netlink port IDs that packets without a flow go
    to.  Two that differ in ``counts`` alone are equal.
    """

    datapath: int
    number: int
    type: VportType
    name: str
    index: int | None
    netnsid: int | None
    upcall_ports: tuple[int, ...]
    counts: VportCounts | None = attrs.field(eq=False, default=None)


def read_datapath(message: GenericMessage, _policy: Policy | None) -> Datapath:
    """Read one of ``ovs_datapath``.  Raises DecodeError."""
    said = message.attributes
    counts = said.raw(DP_STATS)
    return Datapath(
        index=datapath_of(message),
        name=said.text(DP_NAME) or "",
        user_features=said.u32(DP_USER_FEATURES) or 0,
        upcall_ports=_ports(said.raw(DP_PER_CPU_PIDS)),
        counts=DatapathCounts(*_unpacked(_DP_COUNTS, counts)) if counts else None,
    )


def read_vport(message: GenericMessage, _policy: Policy | None) -> Vport:
    """Read one of ``ovs_vport``.  Raises DecodeError."""
    said = message.attributes
    number = said.u32(PORT_NO)
    if number is None:
        raise DecodeError("a port without a number", 0)
    counts = said.raw(STATS)
    return Vport(
        datapath=datapath_of(message),
        number=number,
        type=VportType(said.u32(TYPE) or 0),
        name=said.text(NAME) or "",
        index=said.u32(IFINDEX),
        netnsid=said.s32(NETNSID),
        upcall_ports=_ports(said.raw(UPCALL_PID)),
        counts=VportCounts(*_unpacked(_VPORT_COUNTS, counts)) if counts else None,
    )


def datapath_of(message: GenericMessage) -> int:
    """The index of the datapath that a message is about: the family's own header."""
    return int(HEADER.unpack_from(message.header.ljust(HEADER.size, b"\0"))[0])


def _ports(payload: bytes | None) -> tuple[int, ...]:
    """Netlink port IDs; 0 is nobody."""
    payload = payload or b""
    numbers = struct.unpack_from(f"={len(payload) // 4}I", payload)
    return tuple(dict.fromkeys(number for number in numbers if number))


def _unpacked(form: struct.Struct, payload: bytes) -> tuple[int, ...]:
    if len(payload) < form.size:
        raise DecodeError(f"counts of {len(payload)} bytes where {form.size} are needed", 0)
    return form.unpack_from(payload)
