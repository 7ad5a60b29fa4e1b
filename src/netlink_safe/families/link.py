"""Network links over rtnetlink: what there are, and the few orders that taking one away needs.

From ``include/uapi/linux/if_link.h`` and ``rtnetlink.h``; ``net/core/rtnetlink.c`` answers, under
rtnl_lock, which it may wait for inside a send or a receive.

May call ``families.device_name``, ``protocol``, ``wire`` and ``errors``.
"""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, Any, Final

import attrs

from netlink_safe.errors import DecodeError, LocalProtocolError
from netlink_safe.families.device_name import LONGEST, LONGEST_ALTERNATIVE
from netlink_safe.protocol.request import Request
from netlink_safe.wire.attributes import (
    Attributes,
    build_attribute,
    build_text,
    build_u32,
    is_name,
)
from netlink_safe.wire.constants import NETLINK_ROUTE, NLM_F_DUMP
from netlink_safe.wire.header import HEADER, row_offsets

if TYPE_CHECKING:
    from netlink_safe.wire.attribute_path import Names
    from netlink_safe.wire.header import Strides

__all__ = ["Link", "link", "links", "set_link"]

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK = 16, 17, 18, 19
RTM_NEWNSID, RTM_GETNSID = 88, 90

ADDRESS, IFNAME, MTU, LINK, MASTER, OPERSTATE, LINKINFO = 1, 3, 4, 5, 10, 16, 18
EXT_MASK, LINK_NETNSID, TARGET_NETNSID, ALT_IFNAME = 29, 37, 46, 53
INFO_KIND, INFO_DATA, INFO_SLAVE_KIND = 1, 2, 4
NETNSA_NSID, NETNSA_FD = 1, 3
RTEXT_FILTER_SKIP_STATS: Final = 8
IFF_UP: Final = 1

#: What is likely meant by an errno, or what to do.
_MISSING: Final = ((errno.ENODEV, "links() lists those that are there"),)
_REFUSED: Final = ((errno.EPERM, "it takes CAP_NET_ADMIN; run it as root"),)

NAMES: Final[Names] = {
    IFNAME: ("IFLA_IFNAME", None),
    MTU: ("IFLA_MTU", None),
    EXT_MASK: ("IFLA_EXT_MASK", None),
    TARGET_NETNSID: ("IFLA_TARGET_NETNSID", None),
    ALT_IFNAME: ("IFLA_ALT_IFNAME", None),
}

_LINK: Final = struct.Struct("=BxHiII")
_GENERIC: Final = struct.Struct("=Bxxx")
_S32: Final = struct.Struct("=i")
_SIZE: Final = HEADER.size + _LINK.size
_SKIP_STATISTICS: Final = build_u32(EXT_MASK, RTEXT_FILTER_SKIP_STATS)

#: Of these, deleting one end deletes the other.
PAIRED: Final = frozenset({"veth", "netkit"})
#: These say what they stand on in an attribute of their own, not in IFLA_LINK: they have no
#: ndo_get_iflink (IFLA_VXLAN_LINK, IFLA_AMT_LINK).
LINK_OF_KIND: Final = {"vxlan": 3, "amt": 4}


@attrs.frozen(slots=True)
class Link:
    """One network link (``net/core/rtnetlink.c``: rtnl_fill_ifinfo).

    ``index`` is from 1 on; ``is_up`` says that it was set up (IFF_UP).
    ``mtu`` is in bytes; ``operational_state`` is RFC 2863's number, from 0 to 6 (IF_OPER_*).
    ``address`` is its hardware address, as long as its kind has it.
    ``kind`` is its driver's word, such as ``"veth"``, None for hardware.
    ``master`` is the index of what it is a port of, and ``slave_kind`` that one's kind.
    ``peer`` is the index of the other end of a pair, or of what it stands on, in the network
    namespace that has the number ``peer_netnsid`` here, if that is not its own.
    ``netnsid`` is the number of the namespace that was asked through, None for one's own.
    """

    index: int
    name: str
    kind: str | None
    is_up: bool
    operational_state: int | None
    mtu: int | None
    address: bytes | None
    master: int | None
    slave_kind: str | None
    peer: int | None
    peer_netnsid: int | None
    netnsid: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """The same as plain data; the hardware address in hexadecimal."""
        plain = attrs.asdict(self)
        return {**plain, "address": None if self.address is None else self.address.hex(":")}

    @property
    def is_paired(self) -> bool:
        """Whether it is one end of a pair, whose other end goes with it."""
        return self.kind in PAIRED


def link(link: str | int, netnsid: int | None = None) -> Request[Link]:
    """Ask for a link by name or index; KernelError (ENODEV) where there is none.

    A name has 1 to 127 bytes, and may be an alternative one (Linux 5.5 and newer); an index is from
    1 to 2**31 - 1.
    ``netnsid``, a link's ``peer_netnsid``, asks through another network namespace, which takes
    CAP_NET_ADMIN there (``net/core/rtnetlink.c``: rtnl_get_net_ns_capable).
    Raises LocalProtocolError for what can be no link and no such number.
    """
    index, named = _selected(link)
    return Request(
        name=f"the link {link}",
        protocol=NETLINK_ROUTE,
        type=RTM_GETLINK,
        flags=0,
        payload=_LINK.pack(0, 0, index, 0, 0) + named + _SKIP_STATISTICS + _through(netnsid),
        row_type=RTM_NEWLINK,
        row_minimum=_SIZE,
        read=_read_links,
        may_stall=True,
        advice=_MISSING,
        attributes_at=_LINK.size,
        names=NAMES,
    )


def links(netnsid: int | None = None) -> Request[Link]:
    """Ask for all links of the network namespace, by dump.

    ``netnsid`` is as in ``link``.
    Raises LocalProtocolError for what is no such number.
    """
    return Request(
        name="links",
        protocol=NETLINK_ROUTE,
        type=RTM_GETLINK,
        flags=NLM_F_DUMP,
        payload=_LINK.pack(0, 0, 0, 0, 0) + _SKIP_STATISTICS + _through(netnsid),
        row_type=RTM_NEWLINK,
        row_minimum=_SIZE,
        read=_read_links,
        identity=_index_of,
        may_stall=True,
        attributes_at=_LINK.size,
        names=NAMES,
    )


def set_link(
    link: str | int, *, is_up: bool | None = None, mtu: int | None = None
) -> Request[None]:
    """Order a link up or down, or another MTU, in bytes; None leaves either as it is.

    ``link`` is as in ``link``; ``mtu`` is from 1 to 2**31 - 1, and the link knows what it can be:
    KernelError (EINVAL, ENODEV where there is no such link).
    Takes CAP_NET_ADMIN (``net/core/rtnetlink.c``: rtnetlink_rcv_msg): KernelError (EPERM).
    Raises LocalProtocolError for what can be no link and no MTU, and for ``is_up`` that is neither
    True nor False nor None.
    """
    index, named = _selected(link)
    if not isinstance(is_up, bool | None):
        raise LocalProtocolError(f"is_up={is_up!r} is neither True nor False nor None")
    flags, change = (0, 0) if is_up is None else (IFF_UP * is_up, IFF_UP)
    attributes = named + (b"" if mtu is None else build_u32(MTU, _checked_mtu(mtu)))
    payload = _LINK.pack(0, 0, index, flags, change) + attributes
    return _order(f"a change of the link {link}", RTM_NEWLINK, payload)


def delete_link_unguarded(index: int) -> Request[None]:
    """Order a link deleted, whatever hangs on it; ``delete_link`` is what looks first."""
    return _order(f"the deletion of the link {index}", RTM_DELLINK, _LINK.pack(0, 0, index, 0, 0))


def namespace_number(descriptor: int) -> Request[int]:
    """Ask which number a network namespace has here, -1 for none, by an open descriptor of it."""
    about = build_u32(NETNSA_FD, descriptor)
    return _number_request("the number of a network namespace", 0, about)


def namespace_numbers() -> Request[int]:
    """Ask for the numbers of all network namespaces that have one here, by dump."""
    return _number_request("the numbers of network namespaces", NLM_F_DUMP, b"")


def _number_request(name: str, flags: int, attributes: bytes) -> Request[int]:
    return Request(
        name=name,
        protocol=NETLINK_ROUTE,
        type=RTM_GETNSID,
        flags=flags,
        payload=_GENERIC.pack(0) + attributes,
        row_type=RTM_NEWNSID,
        row_minimum=HEADER.size + _GENERIC.size,
        read=_read_numbers,
        may_stall=True,
    )


def _order(name: str, kind: int, payload: bytes) -> Request[None]:
    return Request(
        name=name,
        protocol=NETLINK_ROUTE,
        type=kind,
        flags=0,
        payload=payload,
        row_type=RTM_NEWLINK,
        row_minimum=_SIZE,
        read=_read_nothing,
        idempotent=False,
        may_stall=True,
        is_order=True,
        advice=_REFUSED,
        attributes_at=_LINK.size,
        names=NAMES,
    )


def _index_of(row: Link) -> int:
    return row.index


def _selected(link: str | int) -> tuple[int, bytes]:
    if is_name(link, LONGEST_ALTERNATIVE):
        return 0, build_text(IFNAME if is_name(link, LONGEST) else ALT_IFNAME, link)
    if isinstance(link, int) and not isinstance(link, bool) and 0 < link < 1 << 31:
        return link, b""
    raise LocalProtocolError(
        f"link={link!r} is neither a name of 1 to {LONGEST_ALTERNATIVE} bytes nor an index"
    )


def _through(netnsid: int | None) -> bytes:
    if netnsid is None:
        return b""
    if isinstance(netnsid, bool) or not isinstance(netnsid, int) or not -1 <= netnsid < 1 << 31:
        raise LocalProtocolError(
            f"netnsid={netnsid!r} is no number of a network namespace; a link's .peer_netnsid is"
        )
    return build_attribute(TARGET_NETNSID, _S32.pack(netnsid))


def _checked_mtu(mtu: int) -> int:
    if isinstance(mtu, bool) or not isinstance(mtu, int) or not 0 < mtu < 1 << 31:
        raise LocalProtocolError(f"mtu={mtu!r} is no number of bytes")
    return mtu


def _read_links(data: bytes, offset: int, strides: Strides, rows: list[Link]) -> int:
    offsets, end = row_offsets(data, offset, strides)
    for start in offsets:
        (length, *_) = HEADER.unpack_from(data, start)
        _, _, index, flags, _ = _LINK.unpack_from(data, start + HEADER.size)
        said = Attributes(data, start + _SIZE, start + length)
        info = said.nested(LINKINFO)
        name = said.text(IFNAME)
        if name is None:
            raise DecodeError("a link without a name", start)
        rows.append(
            Link(
                index=index,
                name=name,
                kind=None if info is None else info.text(INFO_KIND),
                is_up=bool(flags & IFF_UP),
                operational_state=said.u8(OPERSTATE),
                mtu=said.u32(MTU),
                address=said.raw(ADDRESS),
                master=said.u32(MASTER),
                slave_kind=None if info is None else info.text(INFO_SLAVE_KIND),
                peer=_peer(said, info),
                peer_netnsid=said.s32(LINK_NETNSID),
                netnsid=said.s32(TARGET_NETNSID),
            )
        )
    return end


def _peer(said: Attributes, info: Attributes | None) -> int | None:
    own = None if info is None else LINK_OF_KIND.get(info.text(INFO_KIND) or "")
    if info is None or own is None:
        return said.u32(LINK)
    data = info.nested(INFO_DATA)
    return None if data is None else data.u32(own)


def _read_numbers(data: bytes, offset: int, strides: Strides, rows: list[int]) -> int:
    offsets, end = row_offsets(data, offset, strides)
    for start in offsets:
        (length, *_) = HEADER.unpack_from(data, start)
        said = Attributes(data, start + HEADER.size + _GENERIC.size, start + length)
        number = said.s32(NETNSA_NSID)
        rows.append(-1 if number is None else number)
    return end


def _read_nothing(data: bytes, offset: int, strides: Strides, _rows: list[None]) -> int:
    return row_offsets(data, offset, strides)[1]
