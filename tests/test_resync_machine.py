"""A listener beside a kernel that loses, delays and is lied about: driven by a machine.

The listener is the library's own (``transport.following``) on a scripted kernel whose queues
overrun as real ones do.  The devices are the machine's; a look at them may fail.

What holds, whatever happens:

- nothing is told twice, and nothing of what nobody knows;
- every datagram is told, or counted as lost, or rejected with its reason;
- once all is quiet the picture is what is so;
- what is rejected changes nothing.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, rule

import netlink_safe as nls
import uevents
from netlink_safe.blocking.waiting import Poll, carried
from netlink_safe.families.uevents import uevents as wanted_uevents
from netlink_safe.protocol.sighting import Look, Sighting
from netlink_safe.testing import ScriptedKernel
from netlink_safe.transport import following
from netlink_safe.transport.following import Follower, Listening
from netlink_safe.transport.terms import Wait
from netlink_safe.wire.datagram import Credentials
from test_deadline import Clock
from worlds import UEVENT

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator

    from netlink_safe.protocol.subscription import SightedReader
    from netlink_safe.protocol.trust import Roots

PATHS = ("/devices/a", "/devices/a/b", "/devices/c")
COVERED = frozenset({b"net"})
HEARTBEAT = 30.0
#: Room for about a dozen events.
BUFFER = 32 * 1024
STORM = 60


@contextlib.contextmanager
def clock_of(module: Any, clock: Clock) -> Iterator[None]:
    """Have a module ask a clock that the test moves."""

    class Time:
        monotonic = staticmethod(clock)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "time", Time)
        yield


class World:
    """The devices that there are: a source to listen to."""

    kind = "uevents"
    name = "devices of a test"
    takes = None
    why_no_look = None

    def __init__(self) -> None:
        self.devices: dict[str, int] = {}
        self.seqnum = 0
        self.made = 0
        self.is_blind = False
        # Told of the beginning, too: who is not hears of everything until the first look behind it.
        self._subscription = wanted_uevents(subsystem="net", coldplug=True)

    def groups(self, _terms: Any) -> Iterator[Any]:
        return (UEVENT, [1])  # type: ignore[return-value]  # it is a generator
        yield []

    def new_reader(self, trusted: Roots, rejected: Counter[str]) -> SightedReader:
        return self._subscription.new_reader(trusted, rejected)

    def look(
        self, _sock: Any, _namespace: Any, compare: Callable[[Any], Any], _terms: Any
    ) -> Iterator[Any]:
        if self.is_blind:
            raise OSError(5, "sysfs is blind today")
        seen = {
            path.encode(): Sighting(b"net", b"IFINDEX=%d\n" % index, index, True)
            for path, index in self.devices.items()
        }
        return compare(Look(seen, self.seqnum, COVERED))  # type: ignore[no-any-return]
        yield []

    def close(self) -> None:
        """Nothing to give back."""


class Resyncs(RuleBasedStateMachine):
    """One listener; devices come and go, events are lost, strangers speak."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.entered = contextlib.ExitStack()
        self.kernel = self.entered.enter_context(ScriptedKernel())
        self.world = World()
        listening = Listening(
            netns=None,
            timeout=5.0,
            heartbeat=HEARTBEAT,
            idle_timeout=None,
            receive_buffer=BUFFER,
        )
        self.follower = Follower(self.world, listening)  # type: ignore[arg-type]
        self.entered.callback(self.follower.release)
        self.entered.enter_context(clock_of(following, self.clock))
        carried(self.follower.open(), Poll())
        self.steps = self.follower.follow()
        self.belief = uevents.Belief()
        self.sent = self.heard = self.lied = 0

    def teardown(self) -> None:
        self.steps.close()
        self.follower.end()
        self.entered.close()
        assert self.kernel.open_sockets == 0

    @rule(path=st.sampled_from(PATHS))
    def come_or_go(self, path: str) -> None:
        """A device appears or disappears, and its event is sent."""
        index = self.world.devices.pop(path, None)
        action = "remove"
        if index is None:
            action = "add"
            self.world.made += 1
            index = self.world.devices[path] = self.world.made
        self.send(uevents.text(action, path, "net", IFINDEX=index))

    @rule()
    def storm(self) -> None:
        """More events of what does not matter than there is room for."""
        for _ in range(STORM):
            self.send(uevents.text("change", "/devices/z", "net"))

    @rule(
        path=st.sampled_from(PATHS),
        kind=st.sampled_from(["sender", "uid", "garbage"]),
        action=st.sampled_from(["add", "remove"]),
    )
    def lie(self, path: str, kind: str, action: str) -> None:
        """Somebody who is not the kernel says what is not so."""
        text = uevents.text(action, path, "net", IFINDEX=999_999, SEQNUM=10**9)
        if kind == "garbage":
            text = b"no event at all"
        sender = 4711 if kind == "sender" else 0
        uid = 12345 if kind == "uid" else 0
        self.kernel.multicast(UEVENT, 1, text, sender=sender, credentials=Credentials(0, uid, 0))
        self.lied += 1

    @rule()
    def read_some(self) -> None:
        """One step of the listener."""
        self.step()

    @rule()
    def read_all(self) -> None:
        """Steps until it would wait."""
        while self.step():
            pass

    @rule(blind=st.booleans())
    def blind(self, blind: bool) -> None:
        """From now on a look fails, or does not."""
        self.world.is_blind = blind

    @rule(seconds=st.sampled_from([1.0, HEARTBEAT, 2 * HEARTBEAT]))
    def pass_time(self, seconds: float) -> None:
        """The heartbeat may be due."""
        self.clock.now += seconds

    @rule()
    def be_quiet(self) -> None:
        """No more events, and sysfs can be seen: the picture is what is so."""
        self.world.is_blind = False
        for _ in range(3):
            self.clock.now += 2 * HEARTBEAT
            self.read_all()
        believed = {path: int(index or 0) for path, index in self.belief.devices.items()}
        assert believed == self.world.devices
        told = self.follower.counted()
        assert self.belief.drops == told["drops"]
        assert self.sent + self.lied == told["datagrams"] + told["drops"]
        assert sum(told["rejected"].values()) <= self.lied

    def send(self, text: bytes) -> None:
        self.world.seqnum += 1
        self.kernel.multicast(UEVENT, 1, text + b"SEQNUM=%d\0" % self.world.seqnum)
        self.sent += 1

    def step(self) -> bool:
        """Whether it had something to do; what it tells is believed."""
        step = next(self.steps)
        if isinstance(step, Wait):
            assert step.seconds <= HEARTBEAT
            return False
        for item in step:
            self.take(item)
        return True

    def take(self, item: Any) -> None:
        if isinstance(item, nls.Overrun):
            self.belief.drops += item.drops
        elif not isinstance(item, nls.Resynced):
            assert item.properties.get("IFINDEX") != "999999"
            self.belief.take(item)


TestResyncs = Resyncs.TestCase
TestResyncs.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
