"""Messages of generic netlink, struct genlmsghdr: a command, a header of the family's, attributes.

May call ``errors`` and ``wire``.
"""

from __future__ import annotations

import struct
from typing import Final

import attrs

from netlink_safe.errors import DecodeError
from netlink_safe.wire.attributes import Attributes
from netlink_safe.wire.header import HEADER, align

GENERIC: Final = struct.Struct("=BBxx")


@attrs.frozen(slots=True)
class GenericMessage:
    """One message of a family, as it came; ``header`` is the family's own, often empty.

    ``command`` and ``version`` are bytes of struct genlmsghdr, 0 to 255.
    """

    command: int
    version: int
    header: bytes
    attributes: Attributes = attrs.field(eq=False, repr=False)
    _datagram: bytes = attrs.field(repr=False)
    _start: int = attrs.field(eq=False, repr=False)
    _end: int = attrs.field(eq=False, repr=False)

    @property
    def data(self) -> bytes:
        """The whole message, with netlink's header."""
        return self._datagram[self._start : self._end]


def build_generic(command: int, version: int, header: bytes, attributes: bytes) -> bytes:
    """The payload of a netlink message."""
    padding = bytes(align(len(header)) - len(header))
    return GENERIC.pack(command, version) + header + padding + attributes


def attributes_at(header_size: int) -> int:
    """Where attributes begin in a payload, in bytes."""
    return GENERIC.size + align(header_size)


def parse_generic(datagram: bytes, start: int, end: int, header_size: int) -> GenericMessage:
    """Read the message between two offsets.  Raises DecodeError, where it is too short, too."""
    payload = start + HEADER.size
    first = payload + attributes_at(header_size)
    if first > end:
        raise DecodeError("a message shorter than the headers of its family", start)
    command, version = GENERIC.unpack_from(datagram, payload)
    header = datagram[payload + GENERIC.size : payload + GENERIC.size + header_size]
    attributes = Attributes(datagram, first, end)
    return GenericMessage(command, version, header, attributes, datagram, start, end)
