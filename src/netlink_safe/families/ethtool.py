"""ethtool over generic netlink: link info, link state, rings and channels of network devices.

From ``include/uapi/linux/ethtool_netlink.h``.  Each builder makes a request for one device, by name
or index, or, without one, for a dump of all that have an answer; the kernel leaves others out.
In a dump it would not look at which device is asked about, so only the second kind can be dumped.
None can be followed: the kernel tells nothing of the link state by ethtool, and of the rest changes
alone (``net/ethtool/netlink.c``: ethnl_notify_handlers), never that a device has come or gone.

May call ``families.device_name``, ``protocol``, ``wire`` and ``errors``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from netlink_safe.errors import DecodeError, LocalProtocolError
from netlink_safe.families.device_name import LONGEST_ALTERNATIVE
from netlink_safe.protocol.generic import AnsweredRequest
from netlink_safe.wire.attributes import build_nested, build_text, build_u32, is_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from netlink_safe.protocol.request import Row
    from netlink_safe.wire.attribute_path import Names
    from netlink_safe.wire.attributes import Attributes
    from netlink_safe.wire.generic import GenericMessage
    from netlink_safe.wire.policy import Policy

__all__ = [
    "Channels",
    "Device",
    "LinkInfo",
    "LinkState",
    "Rings",
    "channels",
    "link_info",
    "link_state",
    "rings",
]

FAMILY: Final = "ethtool"

LINKINFO_GET, LINKSTATE_GET, RINGS_GET, CHANNELS_GET = 2, 6, 15, 17
#: What the kernel calls changes.
LINKINFO_NTF, RINGS_NTF, CHANNELS_NTF = 3, 17, 19

HEADER: Final = 1
HEADER_INDEX, HEADER_NAME, HEADER_FLAGS = 1, 2, 3
_HEADER_NAMES: Final[Names] = {
    HEADER_INDEX: ("ETHTOOL_A_HEADER_DEV_INDEX", None),
    HEADER_NAME: ("ETHTOOL_A_HEADER_DEV_NAME", None),
    HEADER_FLAGS: ("ETHTOOL_A_HEADER_FLAGS", None),
}


@attrs.frozen(slots=True)
class Device:
    """A network device, as ethtool names it in every answer: its index, from 1 on, and its name."""

    index: int
    name: str


@attrs.frozen(slots=True)
class LinkInfo:
    """How a device is attached to its medium; numbers of ``include/uapi/linux/ethtool.h``.

    ``port`` is PORT_*, ``transceiver`` XCVR_*, ``mdix`` and ``mdix_control`` ETH_TP_MDI_*;
    ``physical_address`` the number of the PHY on its MDIO bus.  None is what the kernel left out.
    """

    device: Device
    port: int | None
    physical_address: int | None
    mdix: int | None
    mdix_control: int | None
    transceiver: int | None


@attrs.frozen(slots=True)
class LinkState:
    """Whether a device has a link, None where it cannot tell.

    ``signal_quality``, a number without a unit (SQI), goes from 0 up to ``signal_quality_maximum``;
    ``extended_state`` and ``extended_substate`` say why there is no link (ETHTOOL_LINK_EXT_STATE_*
    and ETHTOOL_LINK_EXT_SUBSTATE_* of ``include/uapi/linux/ethtool.h``), ``down_count`` how often
    it was lost.  None is what the kernel left out.
    """

    device: Device
    is_up: bool | None
    signal_quality: int | None
    signal_quality_maximum: int | None
    extended_state: int | None
    extended_substate: int | None
    down_count: int | None


@attrs.frozen(slots=True)
class Rings:
    """How many descriptors the rings of a device have, and may have; None where it has no such."""

    device: Device
    receive: int | None
    receive_mini: int | None
    receive_jumbo: int | None
    transmit: int | None
    receive_maximum: int | None
    receive_mini_maximum: int | None
    receive_jumbo_maximum: int | None
    transmit_maximum: int | None


@attrs.frozen(slots=True)
class Channels:
    """How many channels, queues with an interrupt, a device uses, and may use.

    ``combined`` ones receive and transmit; None is what the kernel left out.
    """

    device: Device
    receive: int | None
    transmit: int | None
    other: int | None
    combined: int | None
    receive_maximum: int | None
    transmit_maximum: int | None
    other_maximum: int | None
    combined_maximum: int | None


def link_info(device: str | int | None = None) -> AnsweredRequest[LinkInfo]:
    """Ask how devices are attached.

    ``device`` is a name of 1 to 127 bytes, alternative ones among them, or an index from 1 to
    2**31 - 1, and then for ``request``; None is for a ``dump`` of all that have an answer.
    Raises LocalProtocolError for what can be no device.
    """
    return _request("link info", LINKINFO_GET, "LINKINFO", device, _read_link_info)


def link_state(device: str | int | None = None) -> AnsweredRequest[LinkState]:
    """Ask whether devices have a link.  ``device`` is as in ``link_info``.

    Raises LocalProtocolError for what can be no device.
    """
    asked = _request("the link state", LINKSTATE_GET, "LINKSTATE", device, _read_link_state)
    return attrs.evolve(asked, untold="the kernel tells nothing of link state")


def rings(device: str | int | None = None) -> AnsweredRequest[Rings]:
    """Ask how large rings are.  ``device`` is as in ``link_info``.

    Raises LocalProtocolError for what can be no device.
    """
    return _request("rings", RINGS_GET, "RINGS", device, _read_rings)


def channels(device: str | int | None = None) -> AnsweredRequest[Channels]:
    """Ask how many channels there are.  ``device`` is as in ``link_info``.

    Raises LocalProtocolError for what can be no device.
    """
    return _request("channels", CHANNELS_GET, "CHANNELS", device, _read_channels)


def _request(
    what: str,
    command: int,
    prefix: str,
    device: str | int | None,
    read: Callable[[Device, Attributes], Row],
) -> AnsweredRequest[Row]:
    def read_message(message: GenericMessage, _policy: Policy | None) -> Row:
        return read(_device(message.attributes), message.attributes)

    return AnsweredRequest(
        name=f"{what} of {'network devices' if device is None else device}",
        family=FAMILY,
        command=command,
        attributes=build_nested(HEADER, _named(device)),
        read=read_message,
        idempotent=True,
        names={HEADER: (f"ETHTOOL_A_{prefix}_HEADER", _HEADER_NAMES)},
        untold="the kernel does not tell by ethtool which devices come and go",
        identity=_index_of,
        of_one=device is not None,
    )


def _index_of(row: object) -> int:
    device: Device = row.device  # type: ignore[attr-defined]  # every record here has one
    return device.index


def _named(device: str | int | None) -> bytes:
    if device is None:
        return b""
    if is_name(device, LONGEST_ALTERNATIVE):
        return build_text(HEADER_NAME, device)
    if isinstance(device, int) and not isinstance(device, bool) and 0 < device < 1 << 31:
        return build_u32(HEADER_INDEX, device)
    raise LocalProtocolError(f"device={device!r} is neither the name nor the index of a device")


def _device(said: Attributes) -> Device:
    header = said.nested(HEADER)
    index = None if header is None else header.u32(HEADER_INDEX)
    if header is None or index is None:
        raise DecodeError("an answer of ethtool's that names no device", 0)
    return Device(index, header.text(HEADER_NAME) or "")


def _read_link_info(device: Device, said: Attributes) -> LinkInfo:
    return LinkInfo(device, *map(said.u8, range(2, 7)))


def _read_link_state(device: Device, said: Attributes) -> LinkState:
    link = said.u8(2)
    return LinkState(
        device,
        None if link is None else bool(link),
        said.u32(3),
        said.u32(4),
        said.u8(5),
        said.u8(6),
        said.u32(7),
    )


def _read_rings(device: Device, said: Attributes) -> Rings:
    return Rings(device, *map(said.u32, range(6, 10)), *map(said.u32, range(2, 6)))


def _read_channels(device: Device, said: Attributes) -> Channels:
    return Channels(device, *map(said.u32, range(6, 10)), *map(said.u32, range(2, 6)))
