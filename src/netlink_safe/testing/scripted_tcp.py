"""TCP sockets as a scripted kernel has them: rows of inet_diag, and who is asked for.

It answers dumps by address family, states and ports, in either form of the request, and questions
for one socket; bytecode it does not run, and a question that has some is refused with EOPNOTSUPP.

May call ``testing.replies``, ``families``, ``wire`` and ``errors``.
"""

from __future__ import annotations

import errno
import ipaddress
import struct
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

import attrs

from netlink_safe.families.inet_diag import (
    IPPROTO_TCP,
    TCPDIAG_GETSOCK,
    AddressFamily,
    TcpState,
)
from netlink_safe.families.inet_request import REQUEST, REQUEST_SIZE
from netlink_safe.families.members import members
from netlink_safe.families.sock_diag import COOKIE, NO_COOKIE, SOCK_DIAG_BY_FAMILY
from netlink_safe.testing.replies import ack, done, refusal, row

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from netlink_safe.testing.replies import Asked, Script

#: struct inet_diag_msg.
_FIXED: Final = struct.Struct("=BBBB")
_ENDPOINTS: Final = struct.Struct("!HH16s16s")
_REST: Final = struct.Struct("=I8sIIIII")
#: struct inet_diag_req, before and behind its struct inet_diag_sockid.
_OLD_REQUEST: Final = struct.Struct("=BBBB48sII")
_PORTS: Final = struct.Struct("!HH")
_ID_AT: Final = REQUEST.size
_COOKIE_AT: Final = REQUEST_SIZE - COOKIE.size
#: The bytes of the first chunk of a dump, and of later ones (``net/netlink/af_netlink.c``:
#: netlink_dump), as seen.
FIRST_CHUNK: Final = 3672
CHUNK: Final = 32_448


def _state(value: TcpState | int | str) -> TcpState:
    (state,) = members(TcpState, value, "state")
    return state


@attrs.frozen(slots=True, kw_only=True)
class TcpFigure:
    """One TCP socket; addresses as text, sizes in bytes.

    Without a ``destination`` the other end is all zeros, as a listener's is.
    ``receive_queue`` and ``send_queue`` of a listener are its accept queue and that one's limit.
    ``interface`` is an index; ``cookie`` has 64 bits, and 0 has one given; all else has 32, ports
    have 16.
    ``attributes`` stand behind the row, built by ``wire.attributes``.
    Raises LocalProtocolError for what is no state; ValueError for what is no address, and
    struct.error for a number that is too large, when it is encoded, as ``ScriptedKernel.tcp`` does.
    """

    state: TcpState = attrs.field(default=TcpState.ESTABLISHED, converter=_state)
    source: tuple[str, int] = ("127.0.0.1", 80)
    destination: tuple[str, int] | None = None
    receive_queue: int = 0
    send_queue: int = 0
    uid: int = 0
    inode: int = 0
    interface: int = 0
    cookie: int = 0
    attributes: bytes = b""

    @property
    def family(self) -> AddressFamily:
        """By the source's address."""
        version = ipaddress.ip_address(self.source[0]).version
        return AddressFamily.INET if version == 4 else AddressFamily.INET6

    @property
    def socket_id(self) -> bytes:
        """struct inet_diag_sockid."""
        address, port = self.destination or ("0.0.0.0", 0)  # noqa: S104  # nobody's, and not bound
        endpoints = _ENDPOINTS.pack(self.source[1], port, _packed(self.source[0]), _packed(address))
        return endpoints + struct.pack("=I", self.interface) + _cookie(self.cookie)

    def encoded(self) -> bytes:
        """The row without its message header."""
        figures = (0, self.receive_queue, self.send_queue, self.uid, self.inode)
        head = _FIXED.pack(self.family, self.state, 0, 0)
        return head + self.socket_id + struct.pack("=5I", *figures) + self.attributes


class _Row(NamedTuple):
    """A figure, encoded once and not for each dump."""

    family: int
    state: int
    ports: tuple[int, int]
    socket_id: bytes
    cookie: bytes
    payload: bytes


def tcp_script(figures: Sequence[TcpFigure]) -> dict[int, Script]:
    """The scripts that answer questions about these sockets, by the request's type."""
    rows = [
        _row_of(each if each.cookie else attrs.evolve(each, cookie=number))
        for number, each in enumerate(figures, 1)
    ]
    return {
        SOCK_DIAG_BY_FAMILY: partial(_by_family, rows),
        TCPDIAG_GETSOCK: partial(_of_both_families, rows),
    }


def _row_of(figure: TcpFigure) -> _Row:
    source, destination = _PORTS.unpack_from(figure.socket_id)
    return _Row(
        figure.family,
        figure.state,
        (source, destination),
        figure.socket_id,
        _cookie(figure.cookie),
        figure.encoded(),
    )


def chunks(rows: Sequence[bytes]) -> Iterator[bytes]:
    """Rows as datagrams of a dump, as many to each as the kernel has room for.

    That is 3,672 bytes in the first and 32,448 in each later one, as seen
    (``net/netlink/af_netlink.c``: netlink_dump).
    """
    datagram, room = b"", FIRST_CHUNK
    for each in rows:
        if datagram and len(datagram) + len(each) > room:
            yield datagram
            datagram, room = b"", CHUNK
        datagram += each
    if datagram:
        yield datagram


def _by_family(rows: Sequence[_Row], asked: Asked) -> Iterator[bytes]:
    if len(asked.payload) < REQUEST_SIZE:
        yield refusal(asked, errno.EINVAL)
        return
    family, protocol, _, states = REQUEST.unpack_from(asked.payload)
    if protocol != IPPROTO_TCP or family not in set(AddressFamily):
        yield refusal(asked, errno.ENOENT)
    elif len(asked.payload) > REQUEST_SIZE:
        yield refusal(asked, errno.EOPNOTSUPP)
    elif asked.is_dump:
        found = [each for each in rows if each.family == family]
        yield from _table(asked, found, states, asked.payload[_ID_AT : _ID_AT + _PORTS.size])
    else:
        yield from _one(asked, [each for each in rows if each.family == family])


def _of_both_families(rows: Sequence[_Row], asked: Asked) -> Iterator[bytes]:
    if len(asked.payload) != _OLD_REQUEST.size:
        yield refusal(asked, errno.EOPNOTSUPP)
        return
    *_, socket_id, states, _ = _OLD_REQUEST.unpack(asked.payload)
    yield from _table(asked, rows, states, socket_id[: _PORTS.size])


def _table(asked: Asked, rows: Sequence[_Row], states: int, ports: bytes) -> Iterator[bytes]:
    source, destination = _PORTS.unpack(ports)
    yield from chunks(
        [
            row(asked, each.payload)
            for each in rows
            if states >> each.state & 1
            and source in {0, each.ports[0]}
            and destination in {0, each.ports[1]}
        ]
    )
    yield done(asked)


def _one(asked: Asked, rows: Sequence[_Row]) -> Iterator[bytes]:
    """By its addresses, and by its cookie where the question has one."""
    wanted, cookie = asked.payload[_ID_AT:_COOKIE_AT], asked.payload[_COOKIE_AT:]
    for each in rows:
        if each.socket_id.startswith(wanted) and cookie in {NO_COOKIE, each.cookie}:
            yield row(asked, each.payload)
            yield ack(asked)
            return
    yield refusal(asked, errno.ENOENT)


def _packed(address: str) -> bytes:
    return ipaddress.ip_address(address).packed.ljust(16, b"\0")


def _cookie(cookie: int) -> bytes:
    return COOKIE.pack(cookie & 0xFFFFFFFF, cookie >> 32)
