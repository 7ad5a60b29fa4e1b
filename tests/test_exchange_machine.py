"""Exchanges on one object, driven by a machine that loses, doubles, delays and lies.

The operations are the library's own (``transport.steps``) on a scripted kernel, which says nothing
by itself: each datagram is delivered when the machine says so, and time passes when it says so.

What holds, whatever happens:

- a call that is asked for its next step behind its deadline ends;
- no wait is longer than what is left;
- rows belong to the request that they are handed out for, each once and in order;
- what is rejected is counted, and changes nothing;
- at the end no socket is open.
"""

from __future__ import annotations

import contextlib
import errno
from typing import TYPE_CHECKING, Any

import attrs
import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

import netlink_safe as nls
from netlink_safe.errors import NetlinkError, NetlinkTimeout
from netlink_safe.protocol.deadline import Deadline
from netlink_safe.testing import ScriptedKernel, TcpFigure, ack, done, refusal, reply, row
from netlink_safe.transport.namespace import Namespace
from netlink_safe.transport.opening import new_terms
from netlink_safe.transport.pool import SocketPool
from netlink_safe.transport.steps import ask
from netlink_safe.transport.terms import Wait
from netlink_safe.wire.constants import NETLINK_SOCK_DIAG, NLM_F_DUMP_INTR
from test_deadline import Clock

if TYPE_CHECKING:
    from netlink_safe.testing import Asked

BY_FAMILY = 20
TIMEOUT = 8.0
#: The number of a row that answers nobody, and must reach nobody.
POISON = 60_000
#: Steps that one turn of a call may take at most; each is a datagram or a wait.
STEPS_AT_MOST = 200


@attrs.define
class Call:
    """One call, what the kernel said to its present attempt, and what it handed out."""

    tag: int
    is_dump: bool
    steps: Any
    terms: Any
    asked: Asked | None = None
    told: list[int] = attrs.field(factory=list)
    said_by: int = 0
    handed_out: list[int] = attrs.field(factory=list)
    waiting: bool = False
    may_interrupt: bool = False


class Exchanges(RuleBasedStateMachine):
    """Calls come and go on one pool of sockets."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.kernel = ScriptedKernel()
        self.kernel.answer(NETLINK_SOCK_DIAG, BY_FAMILY, self.note)
        self.entered = contextlib.ExitStack()
        self.entered.enter_context(self.kernel)
        self.pool = SocketPool(NETLINK_SOCK_DIAG, 1 << 20, Namespace(None))
        self.calls: dict[int, Call] = {}
        self.tags = 0
        self.poisoned = 0
        self.inode = 0

    def teardown(self) -> None:
        for call in list(self.calls.values()):
            call.steps.close()
        self.pool.close()
        assert self.kernel.open_sockets == 0
        self.entered.close()

    def note(self, asked: Asked) -> list[bytes]:
        """A request came: remember which call's, by the port that it asks for; answer nothing."""
        tag = int.from_bytes(asked.payload[8:10], "big")
        call = self.calls[tag]
        call.asked, call.told = asked, []
        return []

    def deliver(self, call: Call, data: bytes, sender: int = 0) -> bool:
        """Whether the socket of a call's present attempt is still there to get it."""
        if call.asked is None:
            return False
        try:
            self.kernel.spoof(call.asked.port_id, data, sender=sender)
        except ConnectionRefusedError:
            return False
        return True

    def next_row(self) -> tuple[int, bytes]:
        self.inode += 1
        return self.inode, TcpFigure(state="listen", inode=self.inode).encoded()

    def turn(self, call: Call) -> None:
        """Let a call go on until it waits or ends."""
        late = call.terms.deadline.remaining() <= 0
        for _ in range(STEPS_AT_MOST):
            left = call.terms.deadline.remaining()
            try:
                step = next(call.steps)
            except StopIteration:
                self.ended(call, None)
                return
            except NetlinkError as error:
                self.ended(call, error)
                return
            if isinstance(step, Wait):
                assert 0 <= step.seconds <= left
                assert not late, "it waits behind its deadline"
                return
            call.handed_out += [each.inode for each in step]
        raise AssertionError("it goes round without a wait")

    def ended(self, call: Call, error: NetlinkError | None) -> None:
        del self.calls[call.tag]
        if isinstance(error, NetlinkTimeout):
            assert error.timeout == TIMEOUT
            assert call.terms.deadline.remaining() == 0
        if error is None:
            assert call.handed_out == call.told

    @rule(is_dump=st.booleans(), when=st.sampled_from(["retry", "raise", "accept"]))
    def start(self, is_dump: bool, when: str) -> None:
        """A call for what listens on a port that no other call asks for."""
        self.tags += 1
        request: Any = (
            nls.tcp_sockets(states="listen", families="inet", source_port=self.tags)[0]
            if is_dump
            else nls.tcp_socket(("127.0.0.1", self.tags))
        )
        terms = new_terms(self.pool, Deadline(TIMEOUT, self.clock), when)  # type: ignore[arg-type]
        call = Call(self.tags, is_dump, ask(self.pool, [request], terms), terms)
        self.calls[call.tag] = call
        self.turn(call)

    @precondition(lambda self: self.calls)
    @rule(data=st.data(), rows=st.integers(1, 3), ends=st.booleans(), interrupted=st.booleans())
    def answer(self, data: Any, rows: int, ends: bool, interrupted: bool) -> None:
        """Rows, and perhaps the end, in one datagram."""
        call = self.chosen(data)
        if call.asked is None:
            return
        made = [self.next_row() for _ in range(rows if call.is_dump else 1)]
        flags = NLM_F_DUMP_INTR if interrupted and call.is_dump else 0
        text = b"".join(row(call.asked, each, flags=flags) for _, each in made)
        if ends or not call.is_dump:
            text += done(call.asked) if call.is_dump else ack(call.asked)
        if self.deliver(call, text):
            call.told += [number for number, _ in made]
            self.turn(call)

    @precondition(lambda self: self.calls)
    @rule(data=st.data(), kind=st.sampled_from(["sequence", "port", "stranger", "old end"]))
    def lie(self, data: Any, kind: str) -> None:
        """A datagram that looks like an answer to a call, and is none."""
        call = self.chosen(data)
        if call.asked is None:
            return
        poison = TcpFigure(state="listen", inode=POISON).encoded()
        asked, sender = call.asked, 0
        if kind == "sequence":
            text = reply(asked, BY_FAMILY, poison, sequence=asked.sequence - 1 & 0xFFFFFFFF)
        elif kind == "port":
            text = reply(asked, BY_FAMILY, poison, port_id=asked.port_id ^ 1)
        elif kind == "stranger":
            text, sender = row(asked, poison) + done(asked), 4711
        else:
            text = reply(asked, 3, bytes(4), sequence=asked.sequence ^ 1)
        if self.deliver(call, text, sender):
            self.poisoned += 1
            before = list(call.handed_out)
            self.turn(call)
            assert call.handed_out == before
            assert call.tag in self.calls or call.terms.deadline.remaining() == 0

    @precondition(lambda self: self.calls)
    @rule(data=st.data(), number=st.sampled_from([errno.EPERM, errno.ENOMEM, errno.EBUSY]))
    def refuse(self, data: Any, number: int) -> None:
        """The kernel's errno ends the call whose it is."""
        call = self.chosen(data)
        if call.asked is not None and self.deliver(call, refusal(call.asked, number)):
            self.turn(call)
            assert call.tag not in self.calls

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def double(self, data: Any) -> None:
        """An end that comes twice: the second one waits for whoever uses the socket next."""
        call = self.chosen(data)
        if call.asked is None:
            return
        end = done(call.asked) if call.is_dump else refusal(call.asked, errno.ENOENT)
        if self.deliver(call, end):
            self.deliver(call, end)
            self.poisoned += 1
            self.turn(call)

    @precondition(lambda self: self.calls)
    @rule(data=st.data(), seconds=st.sampled_from([0.1, 1.0, TIMEOUT / 2, TIMEOUT]))
    def pass_time(self, data: Any, seconds: float) -> None:
        """Time passes for all, and one of them is asked for its next step."""
        self.clock.now += seconds
        self.turn(self.chosen(data))

    @rule()
    def wake_everybody(self) -> None:
        """As a poll that times out does; who is late ends."""
        for call in list(self.calls.values()):
            self.turn(call)
            assert call.tag not in self.calls or call.terms.deadline.remaining() > 0

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def cancel(self, data: Any) -> None:
        """Giving up is closing the steps; the socket goes with them."""
        call = self.chosen(data)
        before = self.kernel.open_sockets
        call.steps.close()
        del self.calls[call.tag]
        assert self.kernel.open_sockets == before - 1

    @invariant()
    def nothing_of_anothers_is_handed_out(self) -> None:
        """Of the present attempt, each once and in order."""
        for call in self.calls.values():
            assert POISON not in call.handed_out
            assert call.handed_out == call.told[: len(call.handed_out)] or not call.told

    @invariant()
    def what_is_rejected_was_a_lie(self) -> None:
        """No more is counted than was told."""
        assert self.pool.tally.rejected.total() <= 2 * self.poisoned

    @invariant()
    def each_call_has_one_socket(self) -> None:
        """And a few are kept for the next ones."""
        assert len(self.pool._busy) == len(self.calls)
        assert self.kernel.open_sockets <= len(self.calls) + 4

    def chosen(self, data: Any) -> Call:
        return self.calls[data.draw(st.sampled_from(sorted(self.calls)))]


TestExchanges = Exchanges.TestCase
TestExchanges.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
