"""A question to a family by its name: what it becomes once the family's number is known."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from netlink_safe.errors import DecodeError, LocalProtocolError
from netlink_safe.protocol.generic import (
    AnsweredRequest,
    GenericReply,
    GenericRequest,
    Ground,
    RowsOf,
    checked_request,
    checked_table,
    reader,
)
from netlink_safe.wire.attributes import build_attribute, build_text, build_u32
from netlink_safe.wire.generic import GenericMessage, build_generic, parse_generic
from netlink_safe.wire.header import Strides, build_message
from netlink_safe.wire.policy import AttributeKind, AttributePolicy, Policy
from resolved import Known

pytestmark = pytest.mark.anywhere

POLICY = Policy(0, {0: {1: AttributePolicy(AttributeKind.U32, maximum=9)}})


def read(message: GenericMessage, policy: Policy | None) -> Any:
    return message.command, message.header, message.attributes.u32(1), policy


QUESTION: GenericRequest[Any] = GenericRequest(
    name="the question",
    family="test",
    command=7,
    attributes={1: 5},
    header=b"ab",
    read=read,
    names={1: ("A_NUMBER", None)},
)


def test_a_question_is_bound_to_the_familys_number() -> None:
    """With the family's version, its header filled up, and its values in the policy's widths."""
    request = QUESTION.bound(Known(), POLICY, False)
    assert request.payload == build_generic(7, 3, b"ab\0\0\0", build_u32(1, 5))
    assert (request.name, request.protocol, request.type) == ("the question", 16, 99)
    assert (request.flags, request.is_dump, request.row_type) == (0, False, 99)
    assert request.row_minimum == 16 + 4 + 8
    assert request.attributes_at == 4 + 8
    assert (request.idempotent, request.may_stall, request.identity) == (False, True, None)
    assert request.feature == "operation 7 of test"
    assert request.names == {1: ("A_NUMBER", None)}


def test_no_memory_is_asked_for_because_a_family_claims_a_long_header() -> None:
    """Nor is a version put where a byte says it: what the controller tells has 32 bits."""
    longest = QUESTION.bound(Known(version=0xFF, header_size=0xFFFB), POLICY, False)
    assert longest.payload[:2] == b"\7\xff"
    assert len(longest.payload) == 4 + 0xFFFC + 8
    for version, header_size in ((0x100, 4), (3, 0xFFFC), (3, 0xFFFFFFFF)):
        said = f"test claims version {version} and {header_size} bytes of header"
        with pytest.raises(LocalProtocolError, match=said):
            QUESTION.bound(Known(version=version, header_size=header_size), POLICY, False)


def test_a_dump_may_always_be_asked_for_again() -> None:
    """It has the flags of one, and asks for no echo."""
    request = attrs.evolve(QUESTION, echo=True).bound(Known(), POLICY, True)
    assert (request.flags, request.is_dump, request.idempotent) == (0x300, True, True)


def test_what_is_said_goes_before_what_the_family_says() -> None:
    """The version, bytes for attributes, an echo, and that it may be asked again."""
    changed = attrs.evolve(QUESTION, version=0, attributes=b"raw!", echo=True, idempotent=True)
    request = changed.bound(Known(), None, False)
    assert request.payload == build_generic(7, 0, b"ab\0\0\0", b"raw!")
    assert (request.flags, request.idempotent) == (8, True)


def test_rows_are_the_same_by_what_a_table_says_of_them() -> None:
    """By its key, or by an identity where nothing tells of rows."""
    by_identity = attrs.evolve(QUESTION, identity=hash)
    assert by_identity.bound(Known(), POLICY, True).identity is hash
    by_key = attrs.evolve(by_identity, rows=RowsOf(key=id))
    assert by_key.bound(Known(), POLICY, True).identity is id


def test_a_header_fills_the_familys_and_is_no_longer() -> None:
    """What does not fit is refused before anything is sent, and so is a value."""
    whole = attrs.evolve(QUESTION, header=b"abcde").bound(Known(), POLICY, False)
    assert whole.payload == build_generic(7, 3, b"abcde", build_u32(1, 5))
    with pytest.raises(LocalProtocolError) as error:
        attrs.evolve(QUESTION, header=b"abcdef").bound(Known(), POLICY, False)
    assert str(error.value) == "the header of test has 5 bytes, not 6"
    with pytest.raises(LocalProtocolError, match="10 is above the 9"):
        attrs.evolve(QUESTION, attributes={1: 10}).bound(Known(), POLICY, False)


def row(number: int, port_id: int = 8) -> bytes:
    generic = build_generic(2, 1, b"hello", build_u32(1, number))
    return build_message(99, 0, 7, port_id, generic)


def test_rows_are_read_with_the_policy_of_the_question() -> None:
    """Until a message that is none of them, whose offset is told."""
    request = QUESTION.bound(Known(), POLICY, True)
    rows: list[Any] = []
    data = b"\0" * 4 + row(1) + row(2) + row(3, port_id=9)
    strides = Strides(request.row_type, request.row_minimum, 7, 8)
    assert request.read(data, 4, strides, rows) == 4 + 2 * len(row(1))
    assert rows == [(2, b"hello", 1, POLICY), (2, b"hello", 2, POLICY)]
    assert rows[0][3] is POLICY


def test_a_row_ends_with_its_own_length() -> None:
    """What follows it in the datagram is not read as its own."""
    rows: list[Any] = []
    odd = build_message(99, 0, 7, 8, build_generic(2, 1, b"", build_attribute(1, b"abcde")[:9]))
    parse = reader(lambda message: message.data, 0)
    padded = odd + bytes(3)
    assert parse(padded + odd, 0, Strides(99, 20, 7, 8), rows) == 2 * len(padded)
    assert rows == [odd, odd]


def test_a_row_that_cannot_be_read_is_an_error() -> None:
    """And none of its datagram is handed out by whoever sees it."""
    request = QUESTION.bound(Known(), POLICY, True)
    broken = build_message(99, 0, 7, 8, build_generic(2, 1, b"hello", build_attribute(1, b"")))
    with pytest.raises(DecodeError, match="a number of 0 bytes where 4 are needed"):
        request.read(broken, 0, Strides(99, 28, 7, 8), [])


def reply(command: int) -> GenericReply:
    attributes = build_u32(1, 5) + build_text(2, "lo")
    data = build_message(99, 0, 0, 0, build_generic(command, 2, b"head", attributes))
    return GenericReply.read(parse_generic(data, 0, len(data), 4), POLICY)


def test_a_reply_that_nobody_described_has_plain_values() -> None:
    """By the policy, and bytes where it says nothing; the command alone makes no difference."""
    assert reply(7) == GenericReply(7, 2, b"head", {1: 5, 2: b"lo\0"})
    assert (reply(7).command, reply(8).command) == (7, 8)
    assert reply(7) == reply(8)


@pytest.mark.parametrize("nonsense", [None, 5, "ethtool", {}, GenericRequest])
def test_what_is_no_request_is_refused(nonsense: Any) -> None:
    """With what makes some."""
    words = (
        f"{nonsense!r} is no request to a generic family; generic_request(), coded_request(), "
        "families.ethtool and families.ovs make some"
    )
    for check in (checked_request, checked_table):
        with pytest.raises(LocalProtocolError) as error:
            check(nonsense)
        assert str(error.value) == words


def test_a_table_is_of_more_than_one_thing() -> None:
    """A request for one is given back by the one check, and refused by the other."""
    assert checked_request(QUESTION) is QUESTION
    assert checked_table(QUESTION) is QUESTION
    of_one = attrs.evolve(QUESTION, of_one=True)
    assert checked_request(of_one) is of_one
    with pytest.raises(LocalProtocolError) as error:
        checked_table(of_one)
    assert str(error.value) == "the question is about one thing; give it to request()"


def test_a_question_asks_for_nothing_unless_said() -> None:
    """No echo, no policy, no rows; and all notifications tell of rows, unless said."""
    bare: AnsweredRequest[Any] = AnsweredRequest(name="bare", family="test", command=1, read=read)
    assert (bare.attributes, bare.header, bare.version) == (b"", b"", None)
    assert (bare.idempotent, bare.echo, bare.wants_policy) == (False, False, False)
    assert (bare.names, bare.rows, bare.untold, bare.identity) == (None, None, None, None)
    assert bare.of_one is False
    rows: RowsOf[Any] = RowsOf(key=id)
    assert (rows.removals, rows.commands, rows.concerns, rows.ground) == (
        frozenset(), None, None, None,
    )  # fmt: skip
    ground = Ground(family="test", tells=bool, is_gone=19)
    assert (ground.family, ground.tells, ground.is_gone) == ("test", bool, 19)
