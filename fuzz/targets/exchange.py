"""The engine of an exchange, fed with any datagrams: it ends, or raises an error of the library's.

The first byte chooses the request, and whether the rest are datagrams as they are, each behind two
bytes of its length, or a script: a byte says what message follows, or that the datagram ends there.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from fuzz.common import (
    PORT_ID,
    SEQUENCE,
    Bytes,
    Reply,
    answered,
    message,
)
from netlink_safe.families import ctrl
from netlink_safe.families.link import set_link
from netlink_safe.families.tcp import tcp_socket, tcp_sockets
from netlink_safe.families.unix import unix_sockets
from netlink_safe.protocol.exchange import Exchange, State
from netlink_safe.wire.constants import (
    NLMSG_DONE,
    NLMSG_ERROR,
    NLMSG_NOOP,
    NLMSG_OVERRUN,
)
from netlink_safe.wire.header import HEADER, align, build_message, parse_message

if TYPE_CHECKING:
    from netlink_safe.protocol.request import Request

REQUESTS: Final[tuple[Request[Any], ...]] = (
    tcp_sockets(families="inet")[0],
    tcp_socket(("127.0.0.1", 80)),
    ctrl.get_families(),
    ctrl.get_family("nlctrl"),
    unix_sockets("close")[0],
    set_link("lo", mtu=1500),
)
SCRIPT: Final = 0x80
_ENDS_DATAGRAM: Final = 7
_CONTROLS: Final = frozenset({NLMSG_NOOP, NLMSG_ERROR, NLMSG_DONE})


def one_input(data: bytes) -> None:
    """Hand them to an engine; then the same without what it rejected, and one by one."""
    given = Bytes(data)
    which = given.byte()
    request = REQUESTS[(which & ~SCRIPT) % len(REQUESTS)]
    datagrams = _scripted(request, given) if which & SCRIPT else _pieces(given)
    reply = answered(request, datagrams)
    _check_counts(request, datagrams, reply)
    _check_request(request)
    own = [_without_strangers(datagram) for datagram in datagrams]
    alone = answered(request, own)
    assert alone.told == reply.told, "what was rejected has changed something"
    assert not alone.rejected["sequence"] + alone.rejected["port_id"]
    if reply.refusal is None:
        each = [one for datagram in datagrams for one in _cut(datagram)]
        assert answered(request, each).told == reply.told


def _pieces(given: Bytes) -> list[bytes]:
    pieces = []
    while given.is_left:
        pieces.append(given.piece())
    return pieces


def _scripted(request: Request[Any], given: Bytes) -> list[bytes]:
    datagrams = [b""]
    while given.is_left:
        what = given.byte()
        flags = given.byte() << 4
        payload = given.some(given.byte())
        row = bytes(request.row_minimum - HEADER.size)
        kinds = (
            message(request.row_type, flags, payload + row[len(payload) :]),
            message(NLMSG_DONE, flags, payload),
            message(NLMSG_ERROR, flags, payload),
            message((what >> 3) % 5, flags, payload),
            message(request.row_type, flags, payload),
            _stranger(what, payload),
            payload,
            b"",
        )
        datagrams[-1] += kinds[what & 7]
        if what & 7 == _ENDS_DATAGRAM:
            datagrams.append(b"")
    return datagrams


def _stranger(what: int, payload: bytes) -> bytes:
    """A message with another sequence or another port ID, or both."""
    by = (what >> 3) % 3
    data = build_message(
        NLMSG_DONE if what & 0x80 else NLMSG_ERROR,
        0,
        SEQUENCE + (by != 1),
        PORT_ID + (by != 0),
        payload,
    )
    return data + bytes(align(len(data)) - len(data))


def _check_request(request: Request[Any]) -> None:
    sent = Exchange(request, SEQUENCE, PORT_ID, Counter()).data_to_send()
    assert parse_message(sent, 0).end == len(sent)


def _check_counts(request: Request[Any], datagrams: list[bytes], reply: Reply) -> None:
    """Every message is a row, a control message, or rejected and counted."""
    if reply.refusal is not None:
        return
    messages = [parse_message(one, 0) for datagram in datagrams for one in _cut(datagram)]
    own = [one for one in messages if (one.sequence, one.port_id) == (SEQUENCE, PORT_ID)]
    strangers = reply.rejected["sequence"] + reply.rejected["port_id"]
    assert strangers == len(messages) - len(own)
    assert reply.rejected.total() == strangers + reply.rejected["after_end"]
    counted = own[: len(own) - reply.rejected["after_end"]]
    rows = [one for one in counted if one.type == request.row_type]
    assert len(reply.rows) == (0 if request.is_order else len(rows))
    assert all(one.type in _CONTROLS for one in counted if one not in rows)
    assert NLMSG_OVERRUN not in {one.type for one in counted}
    if reply.exchange.finished:
        assert counted
        assert counted[-1].type in {NLMSG_DONE, NLMSG_ERROR}
    else:
        assert not reply.rejected["after_end"]
        assert (reply.exchange.state is State.ANSWERING) >= bool(rows)


def _cut(datagram: bytes) -> list[bytes]:
    """The messages of a datagram, with their padding; what is broken in one piece."""
    cut = []
    while datagram:
        (length, *_) = HEADER.unpack_from(datagram.ljust(HEADER.size, b"\0"))
        if not HEADER.size <= length <= len(datagram):
            cut.append(datagram)
            break
        cut.append(datagram[: align(length)])
        datagram = datagram[align(length) :]
    return cut


def _without_strangers(datagram: bytes) -> bytes:
    """The same, with nothing in it that is well formed and another exchange's."""
    kept = []
    for one in _cut(datagram):
        (length, _, _, sequence, port_id) = HEADER.unpack_from(one.ljust(HEADER.size, b"\0"))
        is_broken = not HEADER.size <= length <= len(one)
        if is_broken or (sequence, port_id) == (SEQUENCE, PORT_ID):
            kept.append(one)
    return b"".join(kept)
