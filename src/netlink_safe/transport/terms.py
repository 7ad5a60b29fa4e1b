"""What an operation is, to those who carry it: steps, what it waits for, and on what terms it runs.

May call ``protocol``, ``wire`` and ``errors``.
"""

from __future__ import annotations

from collections.abc import Generator, Hashable
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypeVar

import attrs

from netlink_safe.errors import NetlinkTimeout
from netlink_safe.protocol.request import Row

if TYPE_CHECKING:
    from netlink_safe.protocol.deadline import Deadline
    from netlink_safe.protocol.statistics import Tally
    from netlink_safe.wire.header import Strides

#: What to do when the kernel says that a table changed under its dump: ask again where no row was
#: handed out (and raise otherwise), raise, or take the rows as they are.
WhenInterrupted: TypeAlias = Literal["retry", "raise", "accept"]

Result = TypeVar("Result")


class NoLookError(Exception):
    """There is nothing to look at that would show what is so now; the text says why."""


class Collector(Protocol):
    """What becomes of an attempt's rows.

    Once it has handed some out, the attempt cannot be made again.
    """

    handed_out: bool

    @property
    def rows(self) -> int:
        """How many were seen, for an error to tell."""

    def read(self, data: bytes, offset: int, strides: Strides, /) -> int: ...

    def take(self) -> list[Any]: ...


@attrs.frozen(slots=True)
class Wait:
    """Nothing is to be had now: wait until the descriptor is readable, at most ``seconds``.

    Without a descriptor it is a pause.  ``math.inf`` seconds are for ever.
    """

    descriptor: int | None
    seconds: float


#: What an operation is: steps, and a result at the end.
Steps: TypeAlias = Generator[Wait | list[Row], None, Result]


@attrs.define(slots=True)
class Terms:
    """On what terms an operation runs, what it is at, and what it has seen so far.

    ``deadline`` is its limit; ``tally`` is where it counts for statistics.
    ``when_interrupted`` is ``"retry"``, ``"raise"`` or ``"accept"``, and ``distinct`` leaves rows
    out that were seen, both as in ``dump``; nothing checks them here.
    ``doing`` is what it is at, ``attempts`` how often something was sent, ``datagrams`` how many
    were received, ``collectors`` what has the rows of each attempt, all for an error to tell.
    ``may_stall`` says that the kernel may hold up the next step, ``outcome`` what NetlinkTimeout is
    to say of the request; ``seen`` are the rows that a distinct dump has given already.
    ``done`` is what an operation of several steps has done so far, for an error to tell; ``over``
    says that its timeout was counted.
    """

    deadline: Deadline
    tally: Tally
    when_interrupted: WhenInterrupted = "retry"
    distinct: bool = False
    doing: str = "the request"
    may_stall: bool = True
    outcome: Literal["none", "unknown"] = "none"
    attempts: int = 0
    datagrams: int = 0
    collectors: list[Collector] = attrs.field(factory=list)
    seen: set[Hashable] = attrs.field(factory=set)
    done: list[str] = attrs.field(factory=list)
    over: bool = False

    def tell(self, error: BaseException | None, told: int = 0) -> None:
        """Say in an error's notes what was done, beyond the first ``told`` that it says itself."""
        if error is not None and self.done[told:]:
            when = "since" if told else "before that"
            error.add_note(f"done {when}: {', '.join(self.done[told:])}")

    def timed_out(
        self, waiting_for: str, *, drops: int = 0, queue_fill: int = 0, detail: str = ""
    ) -> NetlinkTimeout:
        """The error at the deadline, counted once, whoever of caller and thread comes first."""
        if not self.over:
            self.over = True
            self.tally.timeouts += 1
        if self.done:
            detail = f"{detail}; " * bool(detail) + f"done before that: {', '.join(self.done)}"
        return NetlinkTimeout(
            waiting_for,
            self.deadline.timeout,
            attempts=self.attempts,
            datagrams=self.datagrams,
            rows=sum(collector.rows for collector in self.collectors),
            drops=drops,
            queue_fill=queue_fill,
            outcome=self.outcome,
            detail=detail,
        )
