"""One exchange to the byte: what is sent, what each message does, and what an error carries."""

from __future__ import annotations

import struct
from collections import Counter
from typing import Any

import attrs
import pytest

from netlink_safe.errors import DecodeError, ExtendedAck, KernelError, NotSupported, OverrunError
from netlink_safe.protocol.exchange import Exchange, State
from netlink_safe.protocol.request import Lookup, Request
from netlink_safe.wire import constants
from netlink_safe.wire.attributes import build_attribute, build_nested, build_u32
from netlink_safe.wire.header import HEADER, Strides, build_message, row_offsets

pytestmark = pytest.mark.anywhere

SEQUENCE, PORT_ID, ROW_TYPE = 41, 4242, 20
DUMP, TLVS, INTERRUPTED = constants.NLM_F_DUMP, constants.NLM_F_ACK_TLVS, constants.NLM_F_DUMP_INTR


def read(data: bytes, offset: int, strides: Strides, rows: list[int]) -> int:
    offsets, end = row_offsets(data, offset, strides)
    rows += offsets
    return end


REQUEST: Request[int] = Request(
    name="the question",
    protocol=4,
    type=18,
    flags=constants.NLM_F_ECHO,
    payload=b"\1\2\3\4",
    row_type=ROW_TYPE,
    row_minimum=24,
    read=read,
)


class Conversation:
    """An exchange, where its rows stood, and what it rejected."""

    def __init__(self, **changed: Any) -> None:
        self.rejected: Counter[str] = Counter()
        self.rows: list[int] = []
        self.request = attrs.evolve(REQUEST, **changed)
        self.exchange = Exchange(self.request, SEQUENCE, PORT_ID, self.rejected)

    def hear(self, *messages: bytes) -> State:
        def reader(data: bytes, offset: int, strides: Strides) -> int:
            return self.request.read(data, offset, strides, self.rows)

        self.exchange.receive(b"".join(messages), reader)
        return self.exchange.state


def message(type_: int, payload: bytes, flags: int = 0) -> bytes:
    return build_message(type_, flags, SEQUENCE, PORT_ID, payload)


ROW = message(ROW_TYPE, bytes(8))


def done(errno: int = 0, flags: int = 0, extack: bytes = b"") -> bytes:
    return message(3, struct.pack("=i", -errno) + extack, flags)


def error(errno: int = 0, flags: int = 0, extack: bytes = b"") -> bytes:
    header = HEADER.pack(16, 18, 0, SEQUENCE, 0)
    return message(2, struct.pack("=i", -errno) + header + extack, flags)


def test_a_request_goes_out_stamped_and_asks_for_its_ack() -> None:
    """A dump asks for none; whatever else the flags say stays."""
    assert Conversation().exchange.data_to_send() == (
        struct.pack("=LHHLL", 20, 18, 0x0D, SEQUENCE, PORT_ID) + b"\1\2\3\4"
    )
    assert Conversation(flags=DUMP).exchange.data_to_send() == (
        struct.pack("=LHHLL", 20, 18, 0x301, SEQUENCE, PORT_ID) + b"\1\2\3\4"
    )


def test_a_dump_is_one_by_both_of_its_bits() -> None:
    """NLM_F_ROOT or NLM_F_MATCH alone make none."""
    assert [attrs.evolve(REQUEST, flags=flags).is_dump for flags in (0x300, 0x100, 0x200, 0)] == [
        True, False, False, False,
    ]  # fmt: skip


def test_a_request_is_a_question_about_itself_unless_said() -> None:
    """It may be asked again, is no order, does not stall and repeats nothing."""
    assert (REQUEST.idempotent, REQUEST.repeats, REQUEST.may_stall) == (True, False, False)
    assert (REQUEST.is_order, REQUEST.instead, REQUEST.instead_on) == (False, (), frozenset())
    assert (REQUEST.feature, REQUEST.since, REQUEST.missing) == ("this request", None, frozenset())
    assert (REQUEST.lookups, REQUEST.advice, REQUEST.attributes_at) == ((), (), None)
    lookup = Lookup(8, "interface", "lo")
    assert (lookup.offset, lookup.kind, lookup.name) == (8, "interface", "lo")


#: (is a dump, messages, the state behind them); as the drawing in the room's head has it.
COURSES: list[tuple[bool, list[bytes], State]] = [
    (True, [], State.WAITING),
    (True, [ROW], State.ANSWERING),
    (True, [ROW, ROW], State.ANSWERING),
    (True, [done()], State.COMPLETE),
    (True, [ROW, done()], State.COMPLETE),
    (True, [error()], State.WAITING),
    (True, [ROW, error()], State.ANSWERING),
    (True, [done(5)], State.FAILED),
    (True, [ROW, done(5)], State.FAILED),
    (True, [error(5)], State.FAILED),
    (True, [ROW, error(5)], State.FAILED),
    (True, [message(1, b"")], State.WAITING),
    (False, [ROW], State.ANSWERING),
    (False, [ROW, ROW], State.ANSWERING),
    (False, [error()], State.COMPLETE),
    (False, [ROW, error()], State.COMPLETE),
    (False, [done()], State.ANSWERING),
    (False, [ROW, done()], State.ANSWERING),
    (False, [done(), error()], State.COMPLETE),
    (False, [error(5)], State.FAILED),
    (False, [ROW, error(5)], State.FAILED),
    (False, [done(5)], State.FAILED),
]


@pytest.mark.parametrize("number", range(len(COURSES)))
def test_messages_lead_from_state_to_state(number: int) -> None:
    """In one datagram as in several; what is over takes nothing more."""
    is_dump, messages, state = COURSES[number]
    apart, together = (Conversation(flags=DUMP * is_dump) for _ in range(2))
    for one in messages:
        apart.hear(one)
    together.hear(*messages)
    is_over = state in {State.COMPLETE, State.FAILED}
    for conversation in (apart, together):
        assert conversation.exchange.state is state
        assert conversation.exchange.finished is is_over
        assert (conversation.exchange.error is not None) is (state is State.FAILED)
        assert len(conversation.rows) == messages.count(ROW)
        assert conversation.rejected == {}
        if is_over:
            conversation.hear(done(), ROW)
            assert conversation.rejected == {"after_end": 2}


def test_states_and_events_have_names() -> None:
    """As errors and logs show them."""
    assert [state.value for state in State] == ["waiting", "answering", "complete", "failed"]


def test_what_is_foreign_is_counted_each_time_and_passed_over() -> None:
    """The sequence is looked at first, then the port ID; what is behind them is read."""
    dump = Conversation(flags=DUMP)
    sequence = build_message(ROW_TYPE, 0, SEQUENCE + 1, PORT_ID + 1, b"abc") + b"\0"
    port_id = build_message(3, 0, SEQUENCE, PORT_ID - 1, bytes(4))
    assert dump.hear(sequence, sequence, port_id, port_id, ROW) is State.ANSWERING
    assert dump.rejected == {"sequence": 2, "port_id": 2}
    assert dump.rows == [80]
    dump.hear(done(), ROW, ROW)
    assert dump.rejected == {"sequence": 2, "port_id": 2, "after_end": 2}


@pytest.mark.parametrize(
    ("messages", "interrupted"),
    [
        ([ROW, done()], False),
        ([ROW, done(flags=INTERRUPTED)], True),
        ([message(ROW_TYPE, bytes(8), INTERRUPTED), done()], True),
        ([ROW, done(flags=constants.NLM_F_MULTI)], False),
    ],
)
def test_a_table_that_changed_is_told_by_a_row_or_by_the_end(
    messages: list[bytes], interrupted: bool
) -> None:
    """NLM_F_DUMP_INTR, and no other flag."""
    dump = Conversation(flags=DUMP)
    assert dump.exchange.interrupted is False
    dump.hear(*messages)
    assert dump.exchange.interrupted is interrupted


def test_what_cannot_be_read_says_where_it_stands() -> None:
    """A row that is too short, and a message that may hide rows; behind those that were read."""
    short = message(ROW_TYPE, bytes(4))
    assert Conversation(row_minimum=20).hear(short) is State.ANSWERING
    with pytest.raises(DecodeError) as failed:
        Conversation().hear(message(1, b""), short)
    assert (failed.value.reason, failed.value.offset) == ("a row shorter than its fixed part", 16)
    with pytest.raises(DecodeError) as failed:
        Conversation().hear(message(1, b""), message(99, b""))
    assert failed.value.reason == "a message of type 99 in a reply of type 20"
    assert failed.value.offset == 16


def test_a_reply_that_was_cut_off_says_whose_it_is() -> None:
    """NLMSG_OVERRUN tells of a loss, and not how large it was."""
    with pytest.raises(OverrunError) as lost:
        Conversation().hear(message(4, b""))
    assert lost.value.args == ("the kernel cut off the reply to the question", 0)
    assert lost.value.drops == 0


EXTACK = build_attribute(1, b"no such thing\0") + build_u32(2, 28)


def test_a_refusal_carries_all_that_the_kernel_said() -> None:
    """And the advice for its errno; without attributes of its own it means none."""
    conversation = Conversation(advice=((5, "plug it in"), (22, "say it otherwise")))
    assert conversation.hear(error(22, TLVS, EXTACK)) is State.FAILED
    refused = conversation.exchange.error
    assert type(refused) is KernelError
    assert (refused.errno, refused.request) == (22, "the question")
    assert refused.extack == ExtendedAck("no such thing", 28)
    assert (refused.path, refused.attribute, refused.advice) == ((), None, "say it otherwise")
    other = Conversation(advice=((5, "plug it in"),))
    other.hear(error(22))
    assert other.exchange.error is not None
    assert (other.exchange.error.extack, other.exchange.error.advice) == (None, None)


@pytest.mark.parametrize(
    ("extack", "path", "attribute"),
    [
        (build_u32(2, 24), (1,), "OUTER"),
        (build_u32(2, 28), (1, 2), "OUTER.2"),
        (build_u32(5, 7), (7,), "7"),
        (build_attribute(1, b"words\0"), (), None),
    ],
)
def test_a_refusal_names_the_attribute_that_it_means(
    extack: bytes, path: tuple[int, ...], attribute: str | None
) -> None:
    """By the offset from the header of what was sent, in the request's own names."""
    conversation = Conversation(
        payload=bytes(8) + build_nested(1, build_u32(2, 0)),
        attributes_at=8,
        names={1: ("OUTER", None)},
    )
    conversation.hear(error(22, TLVS, extack))
    assert conversation.exchange.error is not None
    assert conversation.exchange.error.path == path
    assert conversation.exchange.error.attribute == attribute


def test_what_a_kernel_lacks_is_not_supported() -> None:
    """By the errnos that say so, with the release that brought it; by another it is refused."""
    lacking = Conversation(missing=frozenset({2, 95}), feature="the feature", since="9.9")
    lacking.hear(error(95, TLVS, EXTACK))
    missing = lacking.exchange.error
    assert isinstance(missing, NotSupported)
    assert (missing.errno, missing.feature, missing.since) == (95, "the feature", "9.9")
    assert missing.extack == ExtendedAck("no such thing", 28)
    refused = Conversation(missing=frozenset({2, 95}))
    refused.hear(error(5))
    assert not isinstance(refused.exchange.error, NotSupported)
