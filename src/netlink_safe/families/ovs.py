"""Open vSwitch in the kernel: datapaths, and the vports that are their ports.

From ``include/uapi/linux/openvswitch.h``; ``net/openvswitch/datapath.c`` answers.  What is made and
deleted here is made behind the back of ovs-vswitchd, which may put it right again.

May call ``protocol``, ``wire`` and ``errors``.
"""

from __future__ import annotations

import enum
import struct
from typing import TYPE_CHECKING, Final

import attrs

from netlink_safe.errors import DecodeError, LocalProtocolError
from netlink_safe.protocol.generic import AnsweredRequest, RowsOf
from netlink_safe.wire.attributes import build_attribute, build_text, build_u32, is_name
from netlink_safe.wire.enums import newer_member

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from netlink_safe.protocol.request import Row
    from netlink_safe.wire.attribute_path import Names
    from netlink_safe.wire.generic import GenericMessage
    from netlink_safe.wire.policy import Policy

DATAPATHS: Final = "ovs_datapath"
VPORTS: Final = "ovs_vport"

NEW, DEL, GET, SET = 1, 2, 3, 4

DP_NAME, DP_UPCALL_PID, DP_STATS, DP_USER_FEATURES, DP_PER_CPU_PIDS = 1, 2, 3, 5, 8
PORT_NO, TYPE, NAME, OPTIONS, UPCALL_PID, STATS, IFINDEX, NETNSID = 1, 2, 3, 4, 5, 6, 8, 9

_DP_NAMES: Final[Names] = {
    DP_NAME: ("OVS_DP_ATTR_NAME", None),
    DP_UPCALL_PID: ("OVS_DP_ATTR_UPCALL_PID", None),
    DP_USER_FEATURES: ("OVS_DP_ATTR_USER_FEATURES", None),
}
_VPORT_NAMES: Final[Names] = {
    PORT_NO: ("OVS_VPORT_ATTR_PORT_NO", None),
    TYPE: ("OVS_VPORT_ATTR_TYPE", None),
    NAME: ("OVS_VPORT_ATTR_NAME", None),
    OPTIONS: ("OVS_VPORT_ATTR_OPTIONS", None),
    UPCALL_PID: ("OVS_VPORT_ATTR_UPCALL_PID", None),
}
_LONGEST_NAME: Final = 15
_HEADER: Final = struct.Struct("=i")
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
    """Packets that met a flow, that met none, that were lost on the way up; flows there are."""

    hits: int
    misses: int
    lost: int
    flows: int


@attrs.frozen(slots=True)
class Datapath:
    """A datapath; ``index`` is the interface index of its local port.

    ``upcall_ports`` are the netlink port IDs that packets without a flow go to, a processor each,
    where the datapath has them and not its vports.  Two that differ in ``counts`` alone are equal.
    """

    index: int
    name: str
    user_features: int
    upcall_ports: tuple[int, ...]
    counts: DatapathCounts | None = attrs.field(eq=False, default=None)


@attrs.frozen(slots=True)
class VportCounts:
    """What a port has received and sent since it was made."""

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


def datapaths() -> AnsweredRequest[Datapath]:
    """Ask for all datapaths of the network namespace, by dump."""
    return _datapath_request("datapaths", GET, b"", 0, True)


def datapath(datapath: str | int) -> AnsweredRequest[Datapath]:
    """Ask for one, by name or index.  KernelError (ENODEV) where there is none."""
    if isinstance(datapath, int):
        return _datapath_request(f"datapath {datapath}", GET, b"", _index(datapath), True)
    return _datapath_request(f"datapath {datapath}", GET, _name(DP_NAME, datapath), 0, True)


def new_datapath(name: str) -> AnsweredRequest[Datapath]:
    """Make a datapath whose packets nobody serves.  KernelError (EEXIST) for one that is there."""
    attributes = _name(DP_NAME, name) + build_u32(DP_UPCALL_PID, 0)
    return _datapath_request(f"a new datapath {name}", NEW, attributes, 0, False)


def delete_datapath(name: str) -> AnsweredRequest[Datapath]:
    """Delete a datapath with all its ports, by which no link is deleted."""
    wanted = _name(DP_NAME, name)
    return _datapath_request(f"the deletion of datapath {name}", DEL, wanted, 0, False)


def vports(datapath: Datapath | int) -> AnsweredRequest[Vport]:
    """Ask for all ports of a datapath, by dump."""
    index = datapath.index if isinstance(datapath, Datapath) else _index(datapath)
    return _vport_request(f"ports of datapath {index}", GET, b"", index, True)


def vport(name: str, datapath: Datapath | int = 0) -> AnsweredRequest[Vport]:
    """Ask for the port that a device is, in a datapath or in any of the namespace (0).

    KernelError (ENODEV) where it is none.
    """
    index = datapath.index if isinstance(datapath, Datapath) else datapath
    return _vport_request(f"the port {name}", GET, _name(NAME, name), index, True)


def new_vport(
    datapath: Datapath | int,
    name: str,
    type: VportType = VportType.NETDEV,  # noqa: A002  # the kernel's own word
    number: int | None = None,
    upcall_ports: Sequence[int] = (0,),
) -> AnsweredRequest[Vport]:
    """Make a device a port of a datapath; packets that meet no flow go to ``upcall_ports``."""
    index = datapath.index if isinstance(datapath, Datapath) else _index(datapath)
    attributes = (
        _name(NAME, name)
        + build_u32(TYPE, type)
        + build_attribute(UPCALL_PID, struct.pack(f"={len(upcall_ports)}I", *upcall_ports))
        + (b"" if number is None else build_u32(PORT_NO, number))
    )
    return _vport_request(f"a new port {name}", NEW, attributes, index, False)


def delete_vport(name: str, datapath: Datapath | int = 0) -> AnsweredRequest[Vport]:
    """Take a port out of its datapath; the device stays."""
    index = datapath.index if isinstance(datapath, Datapath) else datapath
    wanted = _name(NAME, name)
    return _vport_request(f"the deletion of port {name}", DEL, wanted, index, False)


def _datapath_request(
    what: str, command: int, attributes: bytes, index: int, is_question: bool
) -> AnsweredRequest[Datapath]:
    rows = RowsOf(key=_index_of, removals=frozenset({DEL}))
    return _request(
        what, DATAPATHS, command, attributes, index, is_question, _read_datapath, _DP_NAMES, rows
    )


def _vport_request(
    what: str, command: int, attributes: bytes, index: int, is_question: bool
) -> AnsweredRequest[Vport]:
    rows: RowsOf[Vport] = RowsOf(
        key=_place_of,
        removals=frozenset({DEL}),
        concerns=(lambda row: row.datapath == index) if index else None,
    )
    return _request(
        what, VPORTS, command, attributes, index, is_question, _read_vport, _VPORT_NAMES, rows
    )


def _request(
    what: str,
    family: str,
    command: int,
    attributes: bytes,
    index: int,
    is_question: bool,
    read: Callable[[GenericMessage, Policy | None], Row],
    names: Names,
    rows: RowsOf[Row],
) -> AnsweredRequest[Row]:
    return AnsweredRequest(
        name=f"{what} of Open vSwitch",
        family=family,
        command=command,
        attributes=attributes,
        header=_HEADER.pack(index),
        read=read,
        idempotent=is_question,
        echo=not is_question,
        names=names,
        rows=rows,
    )


def _index_of(row: Datapath) -> int:
    return row.index


def _place_of(row: Vport) -> tuple[int, int]:
    return row.datapath, row.number


def _read_datapath(message: GenericMessage, _policy: Policy | None) -> Datapath:
    said = message.attributes
    counts = said.raw(DP_STATS)
    return Datapath(
        index=_header(message),
        name=said.text(DP_NAME) or "",
        user_features=said.u32(DP_USER_FEATURES) or 0,
        upcall_ports=_ports(said.raw(DP_PER_CPU_PIDS)),
        counts=DatapathCounts(*_unpacked(_DP_COUNTS, counts)) if counts else None,
    )


def _read_vport(message: GenericMessage, _policy: Policy | None) -> Vport:
    said = message.attributes
    number = said.u32(PORT_NO)
    if number is None:
        raise DecodeError("a port without a number", 0)
    counts = said.raw(STATS)
    return Vport(
        datapath=_header(message),
        number=number,
        type=VportType(said.u32(TYPE) or 0),
        name=said.text(NAME) or "",
        index=said.u32(IFINDEX),
        netnsid=said.s32(NETNSID),
        upcall_ports=_ports(said.raw(UPCALL_PID)),
        counts=VportCounts(*_unpacked(_VPORT_COUNTS, counts)) if counts else None,
    )


def _header(message: GenericMessage) -> int:
    return int(_HEADER.unpack_from(message.header.ljust(_HEADER.size, b"\0"))[0])


def _ports(payload: bytes | None) -> tuple[int, ...]:
    """Netlink port IDs; 0 is nobody."""
    payload = payload or b""
    numbers = struct.unpack_from(f"={len(payload) // 4}I", payload)
    return tuple(dict.fromkeys(number for number in numbers if number))


def _unpacked(form: struct.Struct, payload: bytes) -> tuple[int, ...]:
    if len(payload) < form.size:
        raise DecodeError(f"counts of {len(payload)} bytes where {form.size} are needed", 0)
    return form.unpack_from(payload)


def _name(type_: int, name: str) -> bytes:
    if not is_name(name, _LONGEST_NAME):
        raise LocalProtocolError(
            f"name={name!r} is no name of a device: 1 to {_LONGEST_NAME} bytes"
        )
    return build_text(type_, name)


def _index(index: int) -> int:
    if isinstance(index, bool) or not isinstance(index, int) or not 0 < index < 1 << 31:
        raise LocalProtocolError(f"datapath={index!r} is neither a Datapath nor the index of one")
    return index
