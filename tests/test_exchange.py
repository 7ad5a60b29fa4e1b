"""The engine of one exchange, without a kernel: what each message means to it."""

from __future__ import annotations

import contextlib
import struct
from collections import Counter
from typing import TYPE_CHECKING

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netlink_safe.errors import DecodeError, KernelError, NotSupported, OverrunError
from netlink_safe.families.tcp import tcp_socket, tcp_sockets
from netlink_safe.protocol.exchange import TRANSITIONS, Event, Exchange, State
from netlink_safe.wire.header import HEADER, Strides, build_message, parse_message

if TYPE_CHECKING:
    from netlink_safe.families.inet_rows import TcpSocket

pytestmark = pytest.mark.anywhere

SEQUENCE, PORT_ID = 41, 4242
DUMP = tcp_sockets(families="inet")[0]
REQUEST = tcp_socket(("127.0.0.1", 80))
ROW = build_message(20, 2, SEQUENCE, PORT_ID, bytes([2, 1]) + bytes(70))


def done(errno: int = 0, flags: int = 2) -> bytes:
    return build_message(3, flags, SEQUENCE, PORT_ID, struct.pack("=i", -errno))


def error(errno: int) -> bytes:
    payload = struct.pack("=i", -errno) + HEADER.pack(72, 20, 1, SEQUENCE, 0)
    return build_message(2, 0x100, SEQUENCE, PORT_ID, payload)


class Conversation:
    """An exchange, its rows, and what it rejected."""

    def __init__(self, request: object = DUMP) -> None:
        assert request in (DUMP, REQUEST)
        self.rejected: Counter[str] = Counter()
        self.rows: list[TcpSocket] = []
        self.request = DUMP if request is DUMP else REQUEST
        self.exchange = Exchange(self.request, SEQUENCE, PORT_ID, self.rejected)

    def receive(self, data: bytes) -> None:
        def read(data: bytes, offset: int, strides: Strides) -> int:
            return self.request.read(data, offset, strides, rows)

        rows: list[TcpSocket] = []
        self.exchange.receive(data, read)
        self.rows += rows  # after an error, no row of its datagram is handed out


def test_a_dump_asks_for_no_ack_and_a_request_does() -> None:
    """A dump ends in DONE; of anything else only the ack tells the end from a loss."""
    flags = [
        parse_message(Conversation(r).exchange.data_to_send(), 0).flags for r in (DUMP, REQUEST)
    ]
    assert flags == [0x301, 0x5]


def test_rows_and_done_complete_a_dump() -> None:
    """Rows may share a datagram with DONE, or not."""
    dump = Conversation()
    dump.receive(ROW + ROW)
    assert not dump.exchange.finished
    dump.receive(ROW + done())
    assert dump.exchange.state is State.COMPLETE
    assert len(dump.rows) == 3


def test_a_request_is_complete_with_its_ack() -> None:
    """The row alone is not the end."""
    request = Conversation(REQUEST)
    request.receive(ROW)
    assert not request.exchange.finished
    request.receive(error(0))
    assert request.exchange.state is State.COMPLETE
    assert len(request.rows) == 1


@pytest.mark.parametrize("last", [done(5), error(5)], ids=["done", "error"])
def test_an_errno_fails_the_dump_after_its_rows(last: bytes) -> None:
    """The errno inside DONE is an error like any other, and rows before it are kept."""
    dump = Conversation()
    dump.receive(ROW + last)
    assert dump.exchange.state is State.FAILED
    assert isinstance(dump.exchange.error, KernelError)
    assert dump.exchange.error.errno == 5
    assert dump.exchange.error.request == DUMP.name
    assert len(dump.rows) == 1


def test_the_errno_of_a_missing_module_is_not_supported() -> None:
    """A dump of TCP sockets answered with ENOENT says that the kernel has no tcp_diag."""
    dump = Conversation()
    dump.receive(error(2))
    assert isinstance(dump.exchange.error, NotSupported)
    assert "tcp_diag" in str(dump.exchange.error)


@pytest.mark.parametrize("flags", [2, 0x12], ids=["done", "row"])
def test_an_interrupted_dump_is_known_by_any_of_its_messages(flags: int) -> None:
    """NLM_F_DUMP_INTR may stand on a row or on DONE alone."""
    dump = Conversation()
    row = build_message(20, flags, SEQUENCE, PORT_ID, bytes(72))
    dump.receive(row + done(flags=0x12 if flags == 2 else 2))
    assert dump.exchange.finished
    assert dump.exchange.interrupted


def test_a_stranger_in_the_reply_is_counted_and_changes_nothing() -> None:
    """Other sequences and port IDs are rejected by reason, and so is what follows the end."""
    dump = Conversation()
    dump.receive(build_message(3, 2, SEQUENCE + 1, PORT_ID, bytes(4)))
    dump.receive(build_message(3, 2, SEQUENCE, PORT_ID + 1, bytes(4)))
    assert dump.exchange.state is State.WAITING
    dump.receive(ROW + done() + ROW)
    assert len(dump.rows) == 1
    assert dump.rejected == {"sequence": 1, "port_id": 1, "after_end": 1}


def test_a_message_of_another_type_inside_the_reply_is_an_error() -> None:
    """Rows might hide behind it, so it is not passed over."""
    with pytest.raises(DecodeError, match="type 99 in a reply of type 20"):
        Conversation().receive(build_message(99, 2, SEQUENCE, PORT_ID, bytes(72)))


def test_a_row_shorter_than_its_fixed_part_is_an_error() -> None:
    """A row of 71 bytes behind its header has no struct inet_diag_msg."""
    with pytest.raises(DecodeError, match="shorter than its fixed part") as caught:
        Conversation().receive(ROW + build_message(20, 2, SEQUENCE, PORT_ID, bytes(71)))
    assert caught.value.offset == len(ROW)


def test_noop_is_nothing_and_overrun_is_an_error() -> None:
    """NLMSG_NOOP is passed over; NLMSG_OVERRUN says that data was lost."""
    dump = Conversation()
    dump.receive(build_message(1, 0, SEQUENCE, PORT_ID, b""))
    assert dump.exchange.state is State.WAITING
    with pytest.raises(OverrunError):
        dump.receive(build_message(4, 0, SEQUENCE, PORT_ID, b""))


def test_the_table_says_for_every_state_that_is_not_an_end_what_each_event_does() -> None:
    """Nothing is out of place but what follows the end."""
    for transitions in TRANSITIONS.values():
        assert set(transitions) == {
            (state, event) for state in (State.WAITING, State.ANSWERING) for event in Event
        }


@given(st.lists(st.binary(max_size=200), max_size=4))
def test_any_bytes_are_followed_or_are_an_error_of_the_protocol(datagrams: list[bytes]) -> None:
    """Nothing but DecodeError and OverrunError comes of bytes, whatever they are."""
    dump = Conversation()
    try:
        for data in datagrams:
            dump.receive(data)
    except (DecodeError, OverrunError):
        pass


@given(st.data())
def test_cutting_or_changing_a_reply_never_makes_rows_of_its_own(data: st.DataObject) -> None:
    """A flipped byte gives rows that lie in the datagram, a rejection, or an error."""
    whole = bytearray(ROW + ROW + ROW + done())
    position = data.draw(st.integers(0, len(whole) - 1))
    whole[position] = data.draw(st.integers(0, 255))
    cut = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    dump = Conversation()
    with contextlib.suppress(DecodeError, OverrunError):
        dump.receive(cut)
    assert len(dump.rows) <= 3
    for row in dump.rows:
        assert len(row.raw) >= 88
    assert attrs.asdict(DUMP)["name"] == "the dump of inet TCP sockets"
