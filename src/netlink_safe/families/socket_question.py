"""Questions to sock_diag about other than inet sockets: unix, netlink, packet and vsock.

Each asks with struct sock_diag_req, then, for unix and vsock, a mask of states, then an inode, what
to show, and a cookie.

May call ``protocol``, ``wire``, ``families.sock_diag`` and ``errors``.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

import attrs

from netlink_safe.families.sock_diag import NO_COOKIE, SOCK_DIAG_BY_FAMILY
from netlink_safe.protocol.request import Request, RowReader
from netlink_safe.wire.constants import NETLINK_SOCK_DIAG, NLM_F_DUMP
from netlink_safe.wire.header import HEADER, row_offsets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from netlink_safe.wire.header import Strides

_HEAD: Final = struct.Struct("=BBxx")
_U32: Final = struct.Struct("=I")
_ENOENT: Final = 2


class _HasCookie(Protocol):
    @property
    def cookie(self) -> int: ...


Socket = TypeVar("Socket", bound=_HasCookie)


def question(
    family: int,
    *,
    show: int,
    protocol: int = 0,
    states: int | None = None,
    inode: int = 0,
    cookie: bytes = NO_COOKIE,
) -> bytes:
    """The payload of a question; ``states`` is a mask, None where the family has no such field."""
    mask = b"" if states is None else _U32.pack(states)
    return _HEAD.pack(family, protocol) + mask + _U32.pack(inode) + _U32.pack(show) + cookie


def states_mask(states: Iterable[int]) -> int:
    """A bit for each state."""
    return sum(1 << state for state in states)


def request_of(
    name: str,
    asked: bytes,
    row: Callable[[bytes, int, int], Socket],
    row_size: int,
    feature: str,
) -> Request[Socket]:
    """A request for one socket; ``row`` reads it from a datagram, between two offsets."""
    return Request(
        name=name,
        protocol=NETLINK_SOCK_DIAG,
        type=SOCK_DIAG_BY_FAMILY,
        flags=0,
        payload=asked,
        row_type=SOCK_DIAG_BY_FAMILY,
        row_minimum=HEADER.size + row_size,
        read=reader(row),
        identity=_cookie_of,
        feature=feature,
    )


def dump_of(
    name: str,
    asked: bytes,
    row: Callable[[bytes, int, int], Socket],
    row_size: int,
    feature: str,
    *,
    may_stall: bool,
) -> Request[Socket]:
    """A dump of many.

    The kernel says ENOENT where it lacks the module (``net/core/sock_diag.c``: __sock_diag_cmd).
    """
    return attrs.evolve(
        request_of(name, asked, row, row_size, feature),
        flags=NLM_F_DUMP,
        may_stall=may_stall,
        missing=frozenset({_ENOENT}),
    )


def reader(row: Callable[[bytes, int, int], Socket]) -> RowReader[Socket]:
    """The reader of a stretch of rows, each of them read by ``row`` from behind its header."""

    def read(data: bytes, offset: int, strides: Strides, rows: list[Socket]) -> int:
        offsets, end = row_offsets(data, offset, strides)
        for start in offsets:
            (length, *_) = HEADER.unpack_from(data, start)
            rows.append(row(data, start + HEADER.size, start + length))
        return end

    return read


def _cookie_of(row: _HasCookie) -> int:
    return row.cookie
