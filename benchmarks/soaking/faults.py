"""What goes wrong, at random: one fault after another, on all sockets of the library that ask.

The faults are those of ``netlink_safe.testing``, less what would take from a listener what no count
tells of: a socket filter loses silently, so that it is let loose on answers alone, never on
multicasts and messages.

May call ``netlink_safe``.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Final

from netlink_safe import testing
from netlink_safe.errors import NetlinkTimeout
from netlink_safe.testing.filters import (
    DROP,
    JUMP_EQUAL,
    LOAD_HALF_WORD,
    LOAD_LENGTH,
    PASS,
    RETURN,
)
from netlink_safe.transport import pool
from netlink_safe.transport.kernel import InFront, Kernel
from netlink_safe.wire.constants import (
    NETLINK_GENERIC,
    NETLINK_SOCK_DIAG,
    NETLINK_USERSOCK,
    NLMSG_DONE,
    NLMSG_ERROR,
)
from netlink_safe.wire.header import build_message, parse_message

if TYPE_CHECKING:
    import random
    import threading
    from collections.abc import Callable, Iterator

    from netlink_safe.testing.filters import Instruction, Program
    from netlink_safe.transport.kernel import End

LOAD_WORD: Final = 0x20
JUMP_GREATER_OR_EQUAL: Final = 0x35
#: Of a message's header: its size, and where the length's upper half, type and port ID are.
HEADER: Final = 16
UPPER_LENGTH: Final = 2 if sys.byteorder == "little" else 0
TYPE, PORT_ID = 4, 12
#: Seconds that a fault lasts, and that there is none.
FOUL: Final = (0.1, 0.6)
FAIR: Final = (0.5, 4.0)
#: Seconds for which the past is remembered: longer than any call takes.
MEMORY: Final = 120.0
#: The source port of rows that only a liar tells of.
LIE: Final = 0xBAD


def replies(message_type: int | None = None) -> Program:
    """Drop what answers somebody, of one type or all.

    An event is a text, whose third byte is not 0; a multicast is for port ID 0.
    """
    conditions: list[tuple[tuple[int, int], tuple[int, int], bool]] = [
        ((LOAD_LENGTH, 0), (JUMP_GREATER_OR_EQUAL, HEADER), True),
        ((LOAD_HALF_WORD, UPPER_LENGTH), (JUMP_EQUAL, 0), True),
        ((LOAD_WORD, PORT_ID), (JUMP_EQUAL, 0), False),
    ]
    if message_type is not None:
        as_loaded = int.from_bytes(message_type.to_bytes(2, sys.byteorder), "big")
        conditions.append(((LOAD_HALF_WORD, TYPE), (JUMP_EQUAL, as_loaded), True))
    program: list[Instruction] = []
    for left, ((load, at), (jump, value), wanted) in zip(
        range(len(conditions) - 1, -1, -1), conditions, strict=True
    ):
        away = 2 * left + 1  # over what is left, and over the drop
        program += [(load, 0, 0, at), (jump, *((0, away) if wanted else (away, 0)), value)]
    return (*program, (RETURN, 0, 0, DROP), (RETURN, 0, 0, PASS))


class _Lying(InFront):
    """Before each question a stranger answers it, with all that an answer has but the sender."""

    def send(self, end: End, data: bytes) -> None:
        if end.proto in {NETLINK_SOCK_DIAG, NETLINK_GENERIC}:
            port_id = end.getsockname()[0]
            asked = parse_message(data, 0)
            lie = bytes([2, 1, 0, 0]) + LIE.to_bytes(2, "big") + bytes(66)
            row = build_message(asked.type, 2, asked.sequence, port_id, lie)
            done = build_message(NLMSG_DONE, 2, asked.sequence, port_id, bytes(4))
            for datagram in (row, done):
                # in another namespace there is nobody of that port ID, or somebody else
                with contextlib.suppress(OSError):
                    testing.spoof(port_id, datagram, protocol=end.proto)
        super().send(end, data)


class _Sparing(InFront):
    """A socket for messages takes no module, so that nothing can hold its opening up."""

    def open(self, protocol: int) -> End:
        return Kernel().open(protocol) if protocol == NETLINK_USERSOCK else super().open(protocol)


@contextlib.contextmanager
def _held_up() -> Iterator[None]:
    pool.answered.clear()  # what has answered is not offloaded by blocking code: it cannot hang
    with testing.held_up(), _Sparing().in_place():
        yield


#: By name; those that are no excuse for a call that fails stand last.
FAULTS: Final[dict[str, Callable[[], contextlib.AbstractContextManager[object]]]] = {
    "DONE lost": partial(testing.filtered, replies(NLMSG_DONE)),
    "ERROR lost": partial(testing.filtered, replies(NLMSG_ERROR)),
    "deaf": partial(testing.filtered, replies()),
    "deaf, one socket": partial(testing.filtered, replies(), sockets=1),
    "dying behind one": partial(testing.lose_after, 1),
    "dying behind two": partial(testing.lose_after, 2),
    "held up": _held_up,
    "lied to": _Lying().in_place,
}
HARMLESS: Final = frozenset({"lied to"})
#: What no fault of ours is, and as good an excuse, for lateness too.
STALLED: Final = "the machine stalled"


class Weather:
    """Which fault is there now, and which were when; for any thread, but ``turn`` for one."""

    def __init__(self, draws: random.Random) -> None:
        self._draws = draws
        self._past: deque[tuple[str, float, float]] = deque()
        self._now: tuple[str, float] | None = None
        self.begun = dict.fromkeys((*FAULTS, STALLED), 0)

    @property
    def is_foul(self) -> bool:
        """Whether there is a fault now that may be an excuse."""
        now = self._now
        return now is not None and now[0] not in HARMLESS

    def turn(self, over: threading.Event) -> None:
        """A while without a fault, and a while with one."""
        if over.wait(self._draws.uniform(*FAIR)):
            return
        name = self._draws.choice(list(FAULTS))
        self.begun[name] += 1
        began = time.monotonic()
        self._now = name, began
        try:
            with FAULTS[name]():
                over.wait(self._draws.uniform(*FOUL))
        finally:
            ended = time.monotonic()
            self._past.append((name, began, ended))
            self._now = None
        while self._past[0][2] < ended - MEMORY:
            self._past.popleft()

    def stalled(self, began: float, ended: float) -> None:
        """The machine had no time for anybody meanwhile."""
        self.begun[STALLED] += 1
        self._past.append((STALLED, began, ended))

    def during(self, began: float, ended: float) -> list[str]:
        """The faults that were there meanwhile."""
        now = self._now  # asked for first: what ends meanwhile is in both, rather than in none
        past = [name for name, since, until in list(self._past) if since < ended and began < until]
        return past if now is None or now[1] > ended else [*past, now[0]]

    def excuse(self, error: BaseException, began: float, ended: float) -> bool:
        """Whether the faults that were there are a reason for that."""
        return isinstance(error, NetlinkTimeout) and not HARMLESS.issuperset(
            self.during(began, ended)
        )
