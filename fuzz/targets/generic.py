"""Generic netlink: the controller's rows, policies, and what is read and built by such a policy.

The first byte chooses what is read.  Of a policy two pieces follow, the attributes of its dump and
those of a message that is read by it; of everything else the attributes, or a whole datagram.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from fuzz.common import (
    PORT_ID,
    SEQUENCE,
    Bytes,
    answered,
    check_error,
    check_rows,
    look_at,
    message,
    refused,
)
from netlink_safe.errors import LocalProtocolError
from netlink_safe.families import ctrl, ethtool, ovs
from netlink_safe.families.generic import following, generic_request
from netlink_safe.protocol.exchange import Exchange
from netlink_safe.protocol.generic import GenericReply
from netlink_safe.wire.attributes import ATTRIBUTE, LARGEST, Attributes
from netlink_safe.wire.constants import NLMSG_DONE
from netlink_safe.wire.datagram import Burst, Sender
from netlink_safe.wire.generic import build_generic, parse_generic
from netlink_safe.wire.header import align
from netlink_safe.wire.policy import AttributeKind, AttributePolicy, Policy
from netlink_safe.wire.values import decode_values, encode_values

if TYPE_CHECKING:
    from collections.abc import Mapping

    from netlink_safe.protocol.generic import GenericRequest
    from netlink_safe.protocol.request import Request

_KERNEL: Final = Sender(0, 1, None, False)
_NUMBER: Final = 0x21
#: Policies are described by policies, and a nested one may be the one it is in.
_SELF: Final = 0


def _described(request: GenericRequest[Any], header_size: int = 0) -> Request[Any]:
    family = ctrl.FamilyRecord(request.family, _NUMBER, 1, header_size, 0, (), {})
    return request.bound(family, None, is_dump=True)


DESCRIBED: Final = (
    _described(ethtool.link_info()),
    _described(ethtool.link_state()),
    _described(ethtool.rings()),
    _described(ethtool.channels()),
    _described(ovs.datapaths(), 4),
    _described(ovs.vports(1), 4),
    _described(generic_request("plain", 1)),
)


def one_input(data: bytes) -> None:
    """Read it, look at it, and build from what was read."""
    given = Bytes(data)
    which = given.byte()
    (_family, _policies, _rows, _notifications)[which & 3](given, which >> 2)


def _family(given: Bytes, command: int) -> None:
    request = ctrl.get_families() if command & 1 else ctrl.get_family("any")
    row = message(ctrl.GENL_ID_CTRL, 2, build_generic(command, 2, b"", given.rest()))
    reply = answered(request, [row])
    check_rows(reply.rows)
    for family in reply.rows:
        assert all(family.operation(one.command) is not None for one in family.operations)
        asked = generic_request("any", 1, b"", header=b"\1")
        bound = refused(lambda: asked.bound(family, None, is_dump=False), LocalProtocolError)  # noqa: B023
        if bound is not None:
            sent = Exchange(bound, SEQUENCE, PORT_ID, Counter()).data_to_send()
            assert len(sent) <= 2 * LARGEST


def _policies(given: Bytes, command: int) -> None:
    said, read = given.piece(), given.rest()
    row = message(ctrl.GENL_ID_CTRL, 2, build_generic(ctrl.GETPOLICY, 2, b"", said))
    reply = answered(ctrl.get_policy("any"), [row, row])
    check_rows(reply.rows)
    found = ctrl.joined(reply.rows)
    policies: list[Policy | None] = [None, any_policy(command)]
    for one in list(found.values())[:2]:
        look_at(one)
        policies += [one.do, one.dump]
    for policy in policies:
        _check_values(read, policy)
    _check_nothing_is_lost(read)


def any_policy(kind: int) -> Policy:
    """A policy under which every type up to 16 is of another kind, and all nests are its own."""
    kinds = [*AttributeKind, AttributeKind(99)]
    each = {
        type_: AttributePolicy(kinds[(type_ + kind) % len(kinds)], policy=_SELF)
        for type_ in range(len(kinds))
    }
    return Policy(_SELF, {_SELF: each})


def _check_values(data: bytes, policy: Policy | None) -> None:
    """What was read is built again, and reads as the same then; or a bound is hit."""
    attributes = refused(lambda: Attributes(data, 0, len(data)))
    values = None if attributes is None else refused(lambda: decode_values(attributes, policy))
    if values is None:
        return
    try:
        built = encode_values(values, policy)
    except LocalProtocolError as refusal:
        check_error(refusal)
        return
    assert decode_values(Attributes(built, 0, len(built)), policy) == values


def _check_nothing_is_lost(data: bytes) -> None:
    """Without a policy what is built is as long as what was read, but for padding at the end."""
    attributes = refused(lambda: Attributes(data, 0, len(data)))
    values = None if attributes is None else refused(lambda: decode_values(attributes, None))
    if values is not None:
        sizes = [align(ATTRIBUTE.size + len(payload)) for _, payload in attributes]
        built = refused(lambda: encode_values(values, None), LocalProtocolError)
        assert built is None or len(built) == sum(sizes)


def _rows(given: Bytes, which: int) -> None:
    request = DESCRIBED[which % len(DESCRIBED)]
    payload = given.rest()
    row = message(request.row_type, 2, payload)
    end = message(NLMSG_DONE, 2, bytes(4))
    reply = answered(request, [row + row + end])
    assert reply.refusal is not None or len(reply.rows) == 2
    check_rows(reply.rows)
    for one in reply.rows:
        assert one == reply.rows[0]
        if request.identity is not None:
            hash(request.identity(one))
    for header_size in (0, 4, which):
        said = refused(lambda: parse_generic(row, 0, len(row), header_size))  # noqa: B023
        if said is not None:
            assert said.data == row
            assert len(said.header) == header_size
            plain = refused(lambda: GenericReply.read(said, None))  # noqa: B023
            assert plain is None or _are_plain(plain.values)


def _are_plain(values: Mapping[int, Any]) -> bool:
    return all(isinstance(value, bytes | dict | list) for value in values.values())


def _notifications(given: Bytes, which: int) -> None:
    """Whatever is multicast, each message is an item, or counted."""
    rejected: Counter[str] = Counter()
    followed = following("plain", None, generic_request("plain", 1), _key, {3}, None, {1, 2})
    family = ctrl.FamilyRecord("plain", _NUMBER, 1, which & 4, 0, (), {})
    reader = followed.new_reader(family, rejected)
    datagrams = []
    while given.is_left:
        command = given.byte()
        payload = build_generic(command & 3, 1, bytes(which & 4), given.piece())
        type_ = _NUMBER + (command >> 7) if command & 0x40 else ctrl.GENL_ID_CTRL
        datagrams.append(message(type_, 0, payload))
    items = reader.read([Burst(_KERNEL, datagrams)])
    assert reader.failure is None
    assert reader.delivered == len(items)
    assert len(items) + rejected.total() + reader.duplicates <= len(datagrams)
    reader.adopt(reader.begin([]), True)
    assert not reader.is_stale


def _key(row: GenericReply) -> bytes:
    return bytes(str(row.values.get(1)), "utf-8")
