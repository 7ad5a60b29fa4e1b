"""Notifications and other multicasts: what each comes to, and what is counted of the rest."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from netlink_safe.errors import DecodeError
from netlink_safe.protocol.generic import GenericRequest, Ground, RowsOf
from netlink_safe.protocol.keyed import KeyedPicture
from netlink_safe.protocol.multicasts import Multicasts
from netlink_safe.protocol.notices import Added, Changed, Overrun, Removed, Resynced
from netlink_safe.protocol.notifications import (
    FollowedFamily,
    NotificationReader,
    reject_notification,
)
from netlink_safe.wire.attributes import build_u32
from netlink_safe.wire.datagram import Burst, Sender
from netlink_safe.wire.generic import build_generic
from netlink_safe.wire.header import build_message
from netlink_safe.wire.policy import Policy
from resolved import Known

if TYPE_CHECKING:
    from netlink_safe.wire.generic import GenericMessage
    from netlink_safe.wire.header import Message

pytestmark = pytest.mark.anywhere

KERNEL = Sender(0, 0, None, False)
CONTROLLER = 16


def test_only_the_kernel_is_believed() -> None:
    """Of what arrived whole; the group says nothing."""
    for sender, reason in (
        (KERNEL, None),
        (Sender(0, 77, None, False), None),
        (Sender(1, 0, None, False), "foreign_sender"),
        (Sender(0, 0, None, True), "truncated"),
        (Sender(1, 0, None, True), "truncated"),
    ):
        assert reject_notification(sender) == reason


def text(data: bytes, message: Message) -> str | None:
    """An item of these tests: what a message of type 1 says."""
    if message.type == 3:
        raise DecodeError("a message that cannot be read", message.start)
    return data[message.payload : message.end].decode() if message.type == 1 else None


def multicasts() -> Multicasts:
    return Multicasts(name="words", protocol=4, groups=(1, 2), read=text, why_no_look="why")


def test_multicasts_are_handed_out_or_counted() -> None:
    """By the message, up to one that cannot be read; and of a stranger by the datagram."""
    rejected: Counter[str] = Counter()
    reader = multicasts().new_reader(rejected)
    one, other, broken = (build_message(type_, 0, 0, 0, b"abcd") for type_ in (1, 2, 3))
    assert (reader.delivered, reader.duplicates, reader.is_stale) == (0, 0, False)
    assert reader.failure is None
    bursts = [
        Burst(Sender(9, 0, None, False), [one, one]),
        Burst(KERNEL, [one + other + one, one + broken + one, one[:-1], b""]),
        Burst(Sender(9, 0, None, True), [one, one, one]),
        Burst(KERNEL, [one]),
    ]
    assert reader.read(bursts) == ["abcd"] * 4
    assert rejected == {"foreign_sender": 2, "unknown": 1, "malformed": 2, "truncated": 3}
    assert reader.delivered == 4
    assert reader.read(bursts[-1:] + bursts[:2] * 2) == ["abcd"] * 7
    assert rejected == {"foreign_sender": 6, "unknown": 3, "malformed": 6, "truncated": 3}
    assert reader.delivered == 11


def test_multicasts_know_no_look() -> None:
    """There is nothing that one could tell."""
    reader = multicasts().new_reader(Counter())
    for is_beginning in (True, False):
        assert reader.begin(None) is reader.resync(None) is None  # type: ignore[func-returns-value]
        assert reader.adopt(None, is_beginning) == []
    assert reader.delivered == 0


def row_of(message: GenericMessage, policy: Policy | None) -> Any:
    """A row of these tests: its key, its value, and the policy that it was read by."""
    number = message.attributes.u32(1)
    if number is None:
        raise DecodeError("a row without a number", 0)
    return number, message.header, policy


ROWS: RowsOf[Any] = RowsOf(
    key=lambda row: row[0],
    commands=frozenset({1}),
    removals=frozenset({2}),
    ground=Ground("ground", lambda message: message.command == 5, 19),
)
TABLE: GenericRequest[Any] = GenericRequest(
    name="numbers", family="test", command=1, read=row_of, rows=ROWS
)


def plain(message: GenericMessage) -> Any:
    return "plain", message.command, message.header


FAMILY = Known(header_size=4)


def reader_of(
    table: GenericRequest[Any] | None, family: Any = FAMILY
) -> tuple[NotificationReader, Counter[str]]:
    rejected: Counter[str] = Counter()
    followed = FollowedFamily(
        family="test",
        groups=None,
        controller_group=1,
        snapshot=table,
        new_reader=lambda family, rejected: NotificationReader(
            family,
            rejected,
            snapshot=table,
            read_plain=plain,
            controller_id=CONTROLLER,
            is_about=lambda message: message.command == 6,
        ),
    )
    assert followed.ground is (None if table is None or table.rows is None else table.rows.ground)
    return followed.new_reader(family, rejected), rejected


def said(
    command: int, number: int | None = None, header: bytes = b"head", type_: int = 99
) -> bytes:
    attributes = b"" if number is None else build_u32(1, number)
    return build_message(type_, 0, 0, 0, build_generic(command, 1, header, attributes))


def heard(reader: NotificationReader, *texts: bytes) -> list[Any]:
    return reader.read([Burst(KERNEL, list(texts))])


def test_what_tells_of_rows_becomes_news_and_the_rest_is_handed_out() -> None:
    """By the command; the rows are read by the dump's policy, with the family's own header."""
    reader, rejected = reader_of(TABLE)
    reader.policy = policy = Policy(0, {})
    one, two = (7, b"head", policy), (7, b"HEAD", policy)
    assert heard(reader, said(1, 7), said(1, 7)) == [Added(7, one)]
    assert heard(reader, said(1, 7, b"HEAD")) == [Changed(7, two, one)]
    assert heard(reader, said(3, 7)) == [("plain", 3, b"head")]
    assert heard(reader, said(2, 7), said(2, 7), said(2, 7)) == [Removed(7, two)]
    assert (reader.duplicates, reader.delivered, rejected) == (3, 4, {})
    assert (reader.is_stale, reader.failure) == (False, None)


def test_without_commands_every_notification_tells_of_a_row() -> None:
    """And without rows none does."""
    every = attrs.evolve(TABLE, rows=attrs.evolve(ROWS, commands=None))
    assert [type(item) for item in heard(reader_of(every)[0], said(3, 7))] == [Added]
    for table in (None, attrs.evolve(TABLE, rows=None)):
        reader, _ = reader_of(table)
        assert heard(reader, said(1, 7)) == [("plain", 1, b"head")]
        assert reader.begin([1]) is None
        assert reader.adopt(None, True) == []


def test_a_row_that_cannot_be_read_is_counted_and_looked_for() -> None:
    """What stands before it in the datagram is kept."""
    reader, rejected = reader_of(TABLE)
    assert len(heard(reader, said(1, 7) + said(1) + said(1, 8))) == 1
    assert rejected == {"malformed": 1}
    assert (reader.is_stale, reader.failure) == (True, None)


def test_the_controller_is_heard_about_the_family() -> None:
    """What says that it has come or gone stays said until there was a look."""
    reader, rejected = reader_of(TABLE)
    about, other = (said(command, 1, b"", CONTROLLER) for command in (6, 7))
    assert heard(reader, other) == []
    assert reader.is_stale is False
    assert heard(reader, about, other) == []
    assert reader.is_stale is True
    reader.adopt(reader.begin([]), True)
    assert reader.is_stale is False
    assert rejected == {}
    without, _ = reader_of(TABLE, None)
    heard(without, about)
    assert without.is_stale is True


def test_of_the_controller_itself_what_it_tells_is_handed_out() -> None:
    """It is the family that is listened to."""
    reader, _ = reader_of(None, Known(id=CONTROLLER, header_size=0))
    assert heard(reader, said(6, None, b"", CONTROLLER)) == [("plain", 6, b"")]
    assert reader.is_stale is False


def test_the_ground_of_a_table_is_heard() -> None:
    """Of a header of its own; and where none is known it is a stranger."""
    reader, rejected = reader_of(TABLE)
    shaking, calm = (said(command, 1, b"12345678", 98) for command in (5, 6))
    assert heard(reader, shaking) == []
    assert (reader.is_stale, rejected) == (False, {"foreign_family": 1})
    reader.ground = Known("ground", 98, header_size=8)
    assert heard(reader, calm) == []
    assert reader.is_stale is False
    assert heard(reader, shaking, calm) == []
    assert (reader.is_stale, rejected) == (True, {"foreign_family": 1})
    short = build_message(98, 0, 0, 0, build_generic(5, 1, b"1234", b""))
    assert heard(reader, short) == []
    assert rejected == {"foreign_family": 1, "malformed": 1}


def test_strangers_are_counted_by_the_datagram() -> None:
    """Families by the message; without a family everything is of another one."""
    reader, rejected = reader_of(None)
    reader.read([Burst(Sender(5, 0, None, False), [said(1, 1)] * 3)] * 2)
    assert rejected == {"foreign_sender": 6}
    heard(reader, said(1, 1, type_=98) * 2, b"x", b"y")
    assert rejected == {"foreign_sender": 6, "foreign_family": 2, "malformed": 2}
    nobody, rejected = reader_of(None, None)
    assert heard(nobody, said(1, 1)) == []
    assert rejected == {"foreign_family": 1}


def test_the_first_failure_of_the_callers_own_code_is_kept() -> None:
    """The rest of the datagrams is read all the same."""
    failures = [KeyError("first"), KeyError("second")]

    def key(row: Any) -> int:
        if row[0] < 2:
            raise failures[row[0]]
        return int(row[0])

    reader, rejected = reader_of(attrs.evolve(TABLE, rows=attrs.evolve(ROWS, key=key)))
    items = heard(reader, said(1, 0), said(1, 1), said(1, 7))
    assert [item.key for item in items] == [7]
    assert reader.failure is failures[0]
    assert (reader.is_stale, rejected) == (True, {})


def test_a_dump_is_told_as_a_difference_and_counted() -> None:
    """The first as every later one; without an answer the table is empty."""
    reader, _ = reader_of(TABLE)
    telling = reader.begin([(7, b"head", None)])
    assert reader.delivered == 0
    assert reader.adopt(telling, True) == [Added(7, (7, b"head", None)), Resynced(1, 0, 0)]
    assert reader.delivered == 2
    gone = reader.adopt(reader.resync(None), False)
    assert gone == [Removed(7, (7, b"head", None)), Resynced(0, 1, 0)]
    assert reader.delivered == 4


def test_a_family_that_came_back_is_told_once_where_there_is_no_table() -> None:
    """By its number; while it is gone it keeps the last one, and its first look tells nothing."""
    reader, _ = reader_of(None, None)
    reader.family = Known(id=99)
    assert reader.adopt(reader.begin(None), True) == []
    assert reader.adopt(reader.resync(None), False) == []
    reader.family = None
    assert reader.adopt(reader.resync(None), False) == []
    reader.family = Known(id=99)
    assert reader.adopt(reader.resync(None), False) == []
    reader.family = Known(id=100)
    told = [Overrun(0, "the family was gone and has come back")]
    assert reader.adopt(reader.resync(None), False) == told
    assert reader.delivered == 1
    assert reader.adopt(reader.resync(None), False) == []


def test_rows_that_do_not_concern_anybody_are_in_no_picture() -> None:
    """Neither by a dump nor by a notification; and a difference changes nothing by itself."""
    rows: RowsOf[int] = RowsOf(
        key=abs, removals=frozenset({2}), concerns=lambda number: number != 3
    )
    picture = KeyedPicture(rows)
    difference = picture.compare([1, 2, 3])
    assert len(picture) == 0
    assert difference.known == {1: 1, 2: 2}
    picture.adopt(difference)
    assert len(picture) == 2
    assert picture.news(1, 3) == picture.news(2, 3) == []
    assert picture.news(1, -1) == [Changed(1, -1, 1)]
    assert picture.news(1, -1) == []
    assert picture.news(2, 1) == [Removed(1, -1)]
    assert len(picture) == 1
