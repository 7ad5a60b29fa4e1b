"""Open vSwitch in the kernel: datapaths, and the vports that are their ports.

From ``include/uapi/linux/openvswitch.h``; ``net/openvswitch/datapath.c`` answers.  What is made and
deleted here is made behind the back of ovs-vswitchd, which may put it right again.

May call ``families.ovs_records``, ``families.device_name``, ``protocol``, ``wire`` and ``errors``.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Final

from netlink_safe.errors import LocalProtocolError
from netlink_safe.families.device_name import LONGEST
from netlink_safe.families.ovs_records import (
    DP_NAME,
    DP_UPCALL_PID,
    DP_USER_FEATURES,
    HEADER,
    OPTIONS,
    PORT_NO,
    TYPE,
    UPCALL_PID,
    datapath_of,
    read_datapath,
    read_vport,
)
from netlink_safe.families.ovs_records import NAME as NAME
from netlink_safe.families.ovs_records import Datapath as Datapath
from netlink_safe.families.ovs_records import DatapathCounts as DatapathCounts
from netlink_safe.families.ovs_records import Vport as Vport
from netlink_safe.families.ovs_records import VportCounts as VportCounts
from netlink_safe.families.ovs_records import VportType as VportType
from netlink_safe.protocol.generic import AnsweredRequest, Ground, RowsOf
from netlink_safe.wire.attributes import build_attribute, build_text, build_u32, is_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from netlink_safe.protocol.request import Row
    from netlink_safe.wire.attribute_path import Names
    from netlink_safe.wire.generic import GenericMessage
    from netlink_safe.wire.policy import Policy

__all__ = [
    "Datapath",
    "DatapathCounts",
    "Vport",
    "VportCounts",
    "VportType",
    "datapath",
    "datapaths",
    "delete_datapath",
    "delete_vport",
    "new_datapath",
    "new_vport",
    "vport",
    "vports",
]

_U32: Final = struct.Struct("=I")
DATAPATHS: Final = "ovs_datapath"
VPORTS: Final = "ovs_vport"

NEW, DEL, GET, SET = 1, 2, 3, 4

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


def datapaths() -> AnsweredRequest[Datapath]:
    """Ask for all datapaths of the network namespace, by dump."""
    return _datapath_request("datapaths", GET, b"", 0, of_one=False)


def datapath(datapath: str | int) -> AnsweredRequest[Datapath]:
    """Ask for one, by name or index.  KernelError (ENODEV) where there is none.

    A name has 1 to 15 bytes, an index is from 1 to 2**31 - 1.
    Raises LocalProtocolError for what can be no datapath.
    """
    if isinstance(datapath, int):
        return _datapath_request(f"datapath {datapath}", GET, b"", _index(datapath))
    return _datapath_request(f"datapath {datapath}", GET, _name(DP_NAME, datapath), 0)


def new_datapath(name: str) -> AnsweredRequest[Datapath]:
    """Make a datapath whose packets nobody serves.  KernelError (EEXIST) for one that is there.

    Like every order here it takes CAP_NET_ADMIN in the user namespace that owns the network
    namespace (``net/openvswitch/datapath.c``: dp_datapath_genl_ops); KernelError (EPERM) without.
    Raises LocalProtocolError for what can be no name: it has 1 to 15 bytes.
    """
    attributes = _name(DP_NAME, name) + build_u32(DP_UPCALL_PID, 0)
    return _datapath_request(f"a new datapath {name}", NEW, attributes, 0)


def delete_datapath(name: str) -> AnsweredRequest[Datapath]:
    """Delete a datapath with all its ports, by which no link is deleted but internal ones.

    KernelError (ENODEV) where there is none.
    Raises LocalProtocolError for what can be no name: it has 1 to 15 bytes.
    """
    wanted = _name(DP_NAME, name)
    return _datapath_request(f"the deletion of datapath {name}", DEL, wanted, 0)


def vports(datapath: Datapath | int) -> AnsweredRequest[Vport]:
    """Ask for all ports of a datapath, by dump; by its index it is from 1 to 2**31 - 1.

    Raises LocalProtocolError for what can be none.
    """
    index = datapath.index if isinstance(datapath, Datapath) else _index(datapath)
    return _vport_request(f"ports of datapath {index}", GET, b"", index, of_one=False)


def vport(name: str, datapath: Datapath | int = 0) -> AnsweredRequest[Vport]:
    """Ask for the port that a device is, in a datapath or in any of the namespace (0).

    KernelError (ENODEV) where it is none.
    Raises LocalProtocolError for what can be no name: it has 1 to 15 bytes.
    """
    index = datapath.index if isinstance(datapath, Datapath) else _index(datapath, least=0)
    return _vport_request(f"the port {name}", GET, _name(NAME, name), index)


def new_vport(
    datapath: Datapath | int,
    name: str,
    type: VportType = VportType.NETDEV,  # noqa: A002  # the kernel's own word
    number: int | None = None,
    upcall_ports: Sequence[int] = (0,),
) -> AnsweredRequest[Vport]:
    """Make a device a port of a datapath; packets that meet no flow go to ``upcall_ports``.

    ``name`` has 1 to 15 bytes.  ``number`` is from 1 to 65534; None, or 0, has the kernel take a
    free one (``net/openvswitch/datapath.c``: ovs_vport_cmd_new).  ``upcall_ports`` are netlink port
    IDs, 0 for nobody's.
    KernelError (EBUSY or EEXIST for a port that is there, ENODEV where there is no such datapath or
    device, EFBIG for too high a number, EINVAL for no ``upcall_ports`` at all, EPERM).
    Raises LocalProtocolError for what can be no name, no datapath, and no number of 32 bits.
    """
    index = datapath.index if isinstance(datapath, Datapath) else _index(datapath)
    attributes = (
        _name(NAME, name)
        + build_attribute(TYPE, _u32("type", type))
        + build_attribute(UPCALL_PID, _u32s("upcall_ports", upcall_ports))
        + (b"" if number is None else build_attribute(PORT_NO, _u32("number", number)))
    )
    return _vport_request(f"a new port {name}", NEW, attributes, index)


def delete_vport(name: str, datapath: Datapath | int = 0) -> AnsweredRequest[Vport]:
    """Take a port out of its datapath; the device stays, unless it is internal.

    ``datapath`` is as in ``vport``; KernelError (ENODEV) where there is no such port.
    Raises LocalProtocolError for what can be no name: it has 1 to 15 bytes.
    """
    index = datapath.index if isinstance(datapath, Datapath) else _index(datapath, least=0)
    wanted = _name(NAME, name)
    return _vport_request(f"the deletion of port {name}", DEL, wanted, index)


def _datapath_request(
    what: str, command: int, attributes: bytes, index: int, of_one: bool = True
) -> AnsweredRequest[Datapath]:
    rows = RowsOf(key=_index_of, removals=frozenset({DEL}))
    return _request(
        what, DATAPATHS, command, attributes, index, of_one, read_datapath, _DP_NAMES, rows
    )


def _vport_request(
    what: str, command: int, attributes: bytes, index: int, of_one: bool = True
) -> AnsweredRequest[Vport]:
    rows: RowsOf[Vport] = RowsOf(
        key=_place_of,
        removals=frozenset({DEL}),
        concerns=(lambda row: row.datapath == index) if index else None,
        ground=Ground(DATAPATHS, partial(_is_about, index), errno.ENODEV) if index else None,
    )
    return _request(
        what, VPORTS, command, attributes, index, of_one, read_vport, _VPORT_NAMES, rows
    )


def _request(
    what: str,
    family: str,
    command: int,
    attributes: bytes,
    index: int,
    of_one: bool,
    read: Callable[[GenericMessage, Policy | None], Row],
    names: Names,
    rows: RowsOf[Row],
) -> AnsweredRequest[Row]:
    return AnsweredRequest(
        name=f"{what} of Open vSwitch",
        family=family,
        command=command,
        attributes=attributes,
        header=HEADER.pack(index),
        read=read,
        idempotent=command == GET,
        echo=command != GET,
        names=names,
        rows=rows,
        of_one=of_one,
    )


def _index_of(row: Datapath) -> int:
    return row.index


def _is_about(index: int, message: GenericMessage) -> bool:
    """Whether a datapath comes or goes: of ports that do so with it nothing else is told.

    ``net/openvswitch/datapath.c``: ovs_dp_cmd_new makes port 0, __dp_destroy takes all away.
    """
    return message.command in {NEW, DEL} and datapath_of(message) == index


def _place_of(row: Vport) -> tuple[int, int]:
    return row.datapath, row.number


def _name(type_: int, name: str) -> bytes:
    if not is_name(name, LONGEST):
        raise LocalProtocolError(f"name={name!r} is no name of a device: 1 to {LONGEST} bytes")
    return build_text(type_, name)


def _index(index: int, least: int = 1) -> int:
    if isinstance(index, bool) or not isinstance(index, int) or not least <= index < 1 << 31:
        raise LocalProtocolError(f"datapath={index!r} is neither a Datapath nor the index of one")
    return index


def _u32(what: str, number: int) -> bytes:
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < 1 << 32:
        raise LocalProtocolError(f"{what}: {number!r} is no number from 0 to {(1 << 32) - 1}")
    return _U32.pack(number)


def _u32s(what: str, numbers: Sequence[int]) -> bytes:
    if not isinstance(numbers, Iterable):
        raise LocalProtocolError(f"{what}={numbers!r} are no numbers; give a list of them")
    return b"".join(_u32(what, each) for each in numbers)
