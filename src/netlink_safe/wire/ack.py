"""Acknowledgements and errors: NLMSG_ERROR, the errno inside NLMSG_DONE, and the extended ack.

``net/netlink/af_netlink.c``: netlink_ack copies the request behind the errno unless NLM_F_CAPPED
says that only its header follows; netlink_dump_done copies nothing at all, so that the extended
ack's attributes of a DONE start right behind the errno.

May call ``errors`` and ``wire``.
"""

from __future__ import annotations

import struct
from typing import Final

import attrs

from netlink_safe.errors import DecodeError, ExtendedAck
from netlink_safe.wire.attributes import iterate_attributes
from netlink_safe.wire.constants import (
    NLM_F_ACK_TLVS,
    NLM_F_CAPPED,
    NLMSGERR_ATTR_COOKIE,
    NLMSGERR_ATTR_MISS_NEST,
    NLMSGERR_ATTR_MISS_TYPE,
    NLMSGERR_ATTR_MSG,
    NLMSGERR_ATTR_OFFS,
    NLMSGERR_ATTR_POLICY,
)
from netlink_safe.wire.header import HEADER, Message, align

_ERRNO: Final = struct.Struct("=i")
_U32: Final = struct.Struct("=I")
#: MAX_ERRNO (``include/linux/err.h``): no errno of the kernel's is larger.
_MOST: Final = 4095


@attrs.frozen(slots=True)
class Ack:
    """The end of an exchange: ``errno`` 0 is success, otherwise a positive errno."""

    errno: int
    extack: ExtendedAck | None = None


def parse_error(data: bytes, message: Message) -> Ack:
    """Read NLMSG_ERROR, which with errno 0 is an ack.  Raises DecodeError when cut short."""
    errno = _read_errno(data, message)
    start = message.payload + _ERRNO.size
    if message.end - start < HEADER.size:
        raise DecodeError("an acknowledgement without the header it answers", start)
    copied = HEADER.size
    if not message.flags & NLM_F_CAPPED:
        copied = max(align(HEADER.unpack_from(data, start)[0]), HEADER.size)
    return Ack(errno, _read_extack(data, message, start + copied))


def parse_done(data: bytes, message: Message) -> Ack:
    """Read NLMSG_DONE, whose errno is an error of the dump.  Raises DecodeError when cut short."""
    return Ack(
        _read_errno(data, message), _read_extack(data, message, message.payload + _ERRNO.size)
    )


def _read_errno(data: bytes, message: Message) -> int:
    if message.end - message.payload < _ERRNO.size:
        raise DecodeError("an acknowledgement without an errno", message.payload)
    (errno,) = _ERRNO.unpack_from(data, message.payload)
    if errno < -_MOST:
        raise DecodeError(f"an acknowledgement with {errno}, which is no errno", message.payload)
    return max(-int(errno), 0)


def _read_extack(data: bytes, message: Message, start: int) -> ExtendedAck | None:
    if not message.flags & NLM_F_ACK_TLVS:
        return None
    text: str | None = None
    blobs: dict[int, bytes] = {}
    numbers: dict[int, int] = {}
    for type_, first, end in iterate_attributes(data, start, message.end):
        if type_ == NLMSGERR_ATTR_MSG:
            text = data[first:end].rstrip(b"\0").decode("utf-8", "replace")
        elif type_ in {NLMSGERR_ATTR_COOKIE, NLMSGERR_ATTR_POLICY}:
            blobs[type_] = data[first:end]
        elif end - first == _U32.size:
            (numbers[type_],) = _U32.unpack_from(data, first)
    return ExtendedAck(
        text,
        numbers.get(NLMSGERR_ATTR_OFFS),
        blobs.get(NLMSGERR_ATTR_COOKIE),
        blobs.get(NLMSGERR_ATTR_POLICY),
        numbers.get(NLMSGERR_ATTR_MISS_TYPE),
        numbers.get(NLMSGERR_ATTR_MISS_NEST),
    )
