"""What a scripted kernel says: messages for a script to yield, one or several to a datagram.

Each is bytes, padded, so that messages of one datagram are joined by ``b"".join``.  Sequence and
port ID are those of the request unless they are said: with others a reply comes late, or is
somebody else's.

May call ``wire``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, TypeAlias

import attrs

from netlink_safe.wire.attributes import build_text, build_u32
from netlink_safe.wire.constants import (
    NLM_F_ACK_TLVS,
    NLM_F_CAPPED,
    NLM_F_DUMP,
    NLM_F_MULTI,
    NLMSG_DONE,
    NLMSG_ERROR,
    NLMSG_OVERRUN,
    NLMSGERR_ATTR_MSG,
    NLMSGERR_ATTR_OFFS,
)
from netlink_safe.wire.header import HEADER, align, build_message

if TYPE_CHECKING:
    from netlink_safe.wire.header import Message

_ERRNO: Final = struct.Struct("=i")


@attrs.frozen(slots=True)
class Asked:
    """A request as a scripted kernel got it.

    ``protocol`` is the socket's; the others stand in its header, ``payload`` behind that.
    """

    protocol: int
    type: int
    flags: int
    sequence: int
    port_id: int
    payload: bytes = attrs.field(repr=False)

    @property
    def is_dump(self) -> bool:
        """Whether it asks for a table."""
        return self.flags & NLM_F_DUMP == NLM_F_DUMP


@attrs.frozen(slots=True)
class Sent:
    """A datagram with what is not in its bytes.

    ``sender`` is the port ID that the receiver sees, 0 for the kernel.  One that is ``held`` comes
    when the scripted kernel is told to ``release`` it.
    """

    data: bytes
    sender: int = 0
    held: bool = False


@attrs.frozen(slots=True)
class Loss:
    """ENOBUFS: ``drops`` messages were dropped, or memory for a chunk was not to be had."""

    drops: int = 1


#: Called with each request; what it yields is queued in this order.  A datagram of a dump is made
#: when there is room for it, as the kernel does, and what a script leaves out never comes.
Script: TypeAlias = Callable[[Asked], Iterable[bytes | Sent | Loss]]


def asked_of(protocol: int, data: bytes, message: Message) -> Asked:
    """A message of a datagram that was sent."""
    return Asked(
        protocol,
        message.type,
        message.flags,
        message.sequence,
        message.port_id,
        data[message.payload : message.end],
    )


def reply(
    asked: Asked,
    type_: int,
    payload: bytes,
    *,
    flags: int = 0,
    sequence: int | None = None,
    port_id: int | None = None,
) -> bytes:
    """Any message; ``sequence`` and ``port_id`` are the request's unless they are said.

    ``type_`` and ``flags`` have 16 bits, these 32.  Raises struct.error for what does not fit.
    """
    message = build_message(
        type_,
        flags,
        asked.sequence if sequence is None else sequence,
        asked.port_id if port_id is None else port_id,
        payload,
    )
    return message + bytes(align(len(message)) - len(message))


def row(asked: Asked, payload: bytes, *, type_: int | None = None, flags: int = 0) -> bytes:
    """A row of the reply, of the request's own type unless said; of a dump it says NLM_F_MULTI."""
    multi = NLM_F_MULTI if asked.is_dump else 0
    return reply(asked, asked.type if type_ is None else type_, payload, flags=flags | multi)


def done(asked: Asked, errno: int = 0, *, text: str | None = None, flags: int = 0) -> bytes:
    """The end of a dump, with an errno where it failed; ``text`` is the kernel's explanation.

    (``net/netlink/af_netlink.c``: netlink_dump_done.)  ``errno`` is above 0 where it failed.
    Raises ValueError for a text with a NUL in it, struct.error as ``reply`` does.
    """
    explained = b"" if text is None else build_text(NLMSGERR_ATTR_MSG, text)
    flags |= NLM_F_MULTI | (NLM_F_ACK_TLVS if explained else 0)
    return reply(asked, NLMSG_DONE, _ERRNO.pack(-errno) + explained, flags=flags)


def ack(asked: Asked, *, size: int | None = None) -> bytes:
    """A success; with ``size`` it is cut short to so many bytes of payload."""
    return refusal(asked, 0, size=size)


def refusal(
    asked: Asked,
    errno: int,
    *,
    text: str | None = None,
    offset: int | None = None,
    size: int | None = None,
) -> bytes:
    """An errno, with the header that it answers (``net/netlink/af_netlink.c``: netlink_ack).

    ``text`` is the kernel's explanation, ``offset`` where in the request the error lies, in bytes
    from its header on.  With ``size`` it is cut short to so many bytes of payload.
    Raises ValueError for a text with a NUL in it, struct.error as ``reply`` does.
    """
    header = HEADER.pack(
        HEADER.size + len(asked.payload), asked.type, asked.flags, asked.sequence, asked.port_id
    )
    explained = b"" if text is None else build_text(NLMSGERR_ATTR_MSG, text)
    explained += b"" if offset is None else build_u32(NLMSGERR_ATTR_OFFS, offset)
    flags = NLM_F_CAPPED | (NLM_F_ACK_TLVS if explained else 0)
    payload = (_ERRNO.pack(-errno) + header + explained)[:size]
    return reply(asked, NLMSG_ERROR, payload, flags=flags)


def cut_off(asked: Asked) -> bytes:
    """NLMSG_OVERRUN: data is lost.  It is defined, and no kernel sends it."""
    return reply(asked, NLMSG_OVERRUN, b"")
