"""Which attribute of a request the kernel means when it points at a byte.

An extended ack points at the header of an attribute, by its offset from the header of the message
(``include/uapi/linux/netlink.h``: NLMSGERR_ATTR_OFFS), or says which type is missing in which nest.

May call ``errors`` and ``wire``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from netlink_safe.errors import DecodeError
from netlink_safe.wire.attributes import ATTRIBUTE, DEEPEST, iterate_attributes

if TYPE_CHECKING:
    from netlink_safe.errors import ExtendedAck

#: By type: a name, and the names of what is inside, or None.
Names: TypeAlias = Mapping[int, tuple[str, "Names | None"]]


def path_meant(message: bytes, start: int, extack: ExtendedAck | None) -> tuple[int, ...]:
    """The types that lead to the attribute that is meant; none where none is.

    ``message`` is the request with its header, whose attributes begin at ``start``.
    """
    if extack is None:
        return ()
    if extack.missing_type is not None:
        nest = extack.missing_nest
        return (*(() if nest is None else path_at(message, start, nest)), extack.missing_type)
    return () if extack.offset is None else path_at(message, start, extack.offset)


def path_at(message: bytes, start: int, offset: int) -> tuple[int, ...]:
    """The types that lead to the attribute whose header is at ``offset``.

    As far as they lead: the request may be broken, which is what the kernel says of it then.
    """
    path: tuple[int, ...] = ()
    end = len(message)
    with contextlib.suppress(DecodeError):
        while start <= offset and len(path) <= DEEPEST:
            for type_, first, after in iterate_attributes(message, start, end):
                if first - ATTRIBUTE.size <= offset < after:
                    path = (*path, type_)
                    start, end = first, after
                    break
            else:
                return path
    return path


def spelled(path: tuple[int, ...], names: Names | None) -> str:
    """The path as text: names where they are known, and numbers where nobody knows."""
    words = []
    known: Any = names
    for type_ in path:
        name, known = (known or {}).get(type_) or (str(type_), None)
        words.append(name)
    return ".".join(words)
