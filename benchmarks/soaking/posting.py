"""Outboxes to a peer that reads, one that never does and one that is gone: each message's end.

What was posted is what was received, what lies in the queue of who does not read, what was told as
undelivered, and what was dropped for want of room: each message in one of them, and none in two.

May call ``soaking.stage`` and ``netlink_safe``.
"""

from __future__ import annotations

import itertools
import random
import threading
import time
from typing import TYPE_CHECKING, Any, Final

import anyio
import attrs

from netlink_safe import blocking, testing
from netlink_safe.errors import ClosedError, NetlinkTimeout, OutboxFull
from soaking.stage import CANCELLED_SHARE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from netlink_safe.protocol.figures import OutboxStatistics
    from netlink_safe.protocol.message import Undelivered
    from soaking.stage import Stage
    from surfaces import Surface

#: A port ID that nobody has.
NOBODY: Final = 4_000_000_000
POSTERS: Final = 2
CAPACITIES: Final = (16, 256, 4096)
DEADLINES: Final = (0.05, 0.5, 30.0)
#: Seconds that closing may take, of which a second is for a pump that was told to give up.
CLOSING: Final = 0.3
CLOSING_LIMIT: Final = CLOSING + 1.0
#: Seconds between two handfuls of posts at most, and that a peer waits for a message.
PACE: Final = 0.1
IDLE: Final = 0.1


@attrs.define
class Story:
    """What became of the messages of one outbox, by their numbers."""

    posted: list[int] = attrs.field(factory=list)
    refused: int = 0
    received: list[int] = attrs.field(factory=list)
    queued: list[int] = attrs.field(factory=list)
    undelivered: list[int] = attrs.field(factory=list)
    numbers: Iterator[int] = attrs.field(factory=itertools.count)

    def tell(self, one: Undelivered) -> None:
        """Take an undelivered message down."""
        self.undelivered.append(number_of(one.payload))


def number_of(payload: bytes) -> int:
    """Which message it is."""
    return int(payload.split()[1])


async def turn(stage: Stage, surface: Surface, draws: random.Random) -> None:
    """One outbox, posted to by threads until it is closed, and its accounts."""
    story = Story()
    over = threading.Event()
    with testing.slow_reader() as stuck, blocking.open_user() as user:
        box = surface.outbox(
            capacity=draws.choice(CAPACITIES),
            when_full=draws.choice(["drop_oldest", "drop_newest", "raise"]),
            deadline=draws.choice(DEADLINES),
            on_undelivered=story.tell,
        )
        ports = (user.port_id, stuck.port_id, NOBODY)
        lock = blocking.watch_lock(threading.Lock(), name="the posters' lock")
        threads = [
            _thread(_post, box, lock, story, ports, draws.getrandbits(32)) for _ in range(POSTERS)
        ]
        for thread in threads:
            thread.start()
        reader = _thread(_read, stage, user, story, over)
        reader.start()
        try:
            await _open_for_a_while(stage, surface, draws, box)
        finally:
            await anyio.to_thread.run_sync(_joined, threads)  # who posts is told that it is closed
            over.set()
            await anyio.to_thread.run_sync(reader.join)
        story.queued += map(number_of, stuck.read_all())
    _account(stage, surface.name, story, box.statistics())


async def _open_for_a_while(stage: Stage, surface: Surface, draws: random.Random, box: Any) -> None:
    """Entered, flushed, and closed; or cancelled in the end."""
    is_cancelled = surface.name != "blocking" and draws.random() < CANCELLED_SHARE
    with anyio.CancelScope() as scope:
        async with box:
            await anyio.sleep(draws.uniform(0.1, 1) * stage.round)
            with stage.ledger.call(surface.name, "outbox.flush", CLOSING, NetlinkTimeout):
                await box.flush(CLOSING)
            if is_cancelled:
                scope.cancel()
            with stage.ledger.call(surface.name, "outbox.aclose", CLOSING_LIMIT):
                await box.aclose(CLOSING)


def _post(box: Any, lock: Any, story: Story, ports: tuple[int, ...], seed: int) -> None:
    draws = random.Random(seed)
    while True:
        for _ in range(draws.randrange(50)):
            with lock:
                number = next(story.numbers)
                try:
                    box.post(f"message {number} ".encode(), port_id=draws.choice(ports))
                except OutboxFull:
                    story.refused += 1
                except ClosedError:
                    return
                else:
                    story.posted.append(number)
        time.sleep(draws.uniform(0, PACE))


def _read(stage: Stage, user: blocking.User, story: Story, over: threading.Event) -> None:
    while True:
        is_last = over.is_set()
        with stage.ledger.call("blocking", "a peer's user.receive", IDLE, NetlinkTimeout) as call:
            story.received.append(number_of(user.receive(IDLE).payload))
        if is_last and not call.is_done:
            return


def _thread(target: Callable[..., None], *arguments: object) -> threading.Thread:
    return threading.Thread(target=target, args=arguments, daemon=True)


def _joined(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.join()


def _account(stage: Stage, surface: str, story: Story, told: OutboxStatistics) -> None:
    """Hold what the outbox says against what has become of each message."""
    dropped = sum(told.dropped.values())
    ends = [*story.received, *story.queued, *story.undelivered]
    said = (told.posted, told.sent, told.undelivered, told.refused, told.held)
    seen = (
        len(story.posted),
        len(story.received) + len(story.queued),
        len(story.undelivered),
        story.refused,
        0,
    )
    check = stage.ledger.check
    check(said == seen, f"{surface} outbox: it says {said}, and what was seen is {seen}: {told}")
    check(len(ends) == len(set(ends)), f"{surface} outbox: a message has ended twice: {told}")
    lost = len(set(story.posted) - set(ends)) - dropped
    check(lost == 0, f"{surface} outbox: {lost} messages are nowhere: {told}")
    stage.ledger.count(
        **{
            "messages posted": told.posted,
            "messages delivered": len(story.received) + len(story.queued),
            "messages told as undelivered": len(story.undelivered),
            "messages dropped, counted": dropped,
            "posts refused": story.refused,
        }
    )
