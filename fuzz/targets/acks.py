"""Acknowledgements: why the kernel refuses a request, and which of its attributes it means.

The first byte chooses a request and NLMSG_DONE or NLMSG_ERROR, the next two are the message's
flags, the next two the offset that an ack of our own making points at; all behind them is the
message's payload.
"""

from __future__ import annotations

from typing import Final

from fuzz.common import Bytes, answered, check_error, check_refusal, message
from netlink_safe.errors import DecodeError, ExtendedAck, KernelError
from netlink_safe.families import ctrl, ethtool, link
from netlink_safe.families.tcp import tcp_socket, tcp_sockets
from netlink_safe.families.unix import unix_socket
from netlink_safe.wire.ack import parse_done, parse_error
from netlink_safe.wire.attribute_path import path_at, path_meant, spelled
from netlink_safe.wire.attributes import DEEPEST
from netlink_safe.wire.constants import NLMSG_DONE, NLMSG_ERROR
from netlink_safe.wire.header import HEADER, parse_message

_ETHTOOL: Final = ctrl.FamilyRecord("ethtool", 0x15, 1, 0, 0, (), {})
REQUESTS: Final = (
    ctrl.get_family("nlctrl"),
    ctrl.get_policy("nlctrl", 3),
    ethtool.link_info("lo").bound(_ETHTOOL, None, is_dump=False),
    link.set_link("lo", mtu=1),
    tcp_sockets()[0],
    tcp_socket(("127.0.0.1", 80)),
    unix_socket(1),
)


def one_input(data: bytes) -> None:
    """Read it alone, and as the answer to a request."""
    given = Bytes(data)
    which = given.byte()
    flags = int.from_bytes(given.some(2), "little")
    offset = int.from_bytes(given.some(2), "little")
    payload = given.rest()
    request = REQUESTS[(which >> 1) % len(REQUESTS)]
    type_ = (NLMSG_DONE, NLMSG_ERROR)[which & 1]
    datagram = message(type_, flags, payload)
    reply = answered(request, [datagram])
    assert not reply.rows
    assert not reply.rejected
    for meant in (ExtendedAck(offset=offset), ExtendedAck(missing_type=9, missing_nest=offset)):
        _check_path(payload, meant)
    assert path_at(payload, HEADER.size, HEADER.size - 1) == ()
    try:
        one = parse_message(datagram, 0)
        ack = (parse_done if type_ == NLMSG_DONE else parse_error)(datagram, one)
    except DecodeError as refusal:
        check_refusal(refusal, datagram)
        assert reply.refusal is not None
        return
    assert reply.refusal is None
    assert ack.errno >= 0
    error = reply.exchange.error
    assert (error is None) == (ack.errno == 0)
    if error is not None:
        assert error.errno == ack.errno
        assert error.extack == ack.extack
    _check_path(payload, ack.extack)


def _check_path(payload: bytes, extack: ExtendedAck | None) -> None:
    """The same bytes as the request that is meant; whatever it is, the path is inside it."""
    request = HEADER.pack(0, 0, 0, 0, 0) + payload
    path = path_meant(request, HEADER.size, extack)
    assert len(path) <= DEEPEST + 2
    if path:
        attribute = spelled(path, ctrl.NAMES)
        assert attribute.count(".") == len(path) - 1
        check_error(KernelError(22, "the request", extack, path, attribute))
