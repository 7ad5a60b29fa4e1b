"""A daemon that keeps alarms in a table under a lock, and is never stuck while it holds it.

    python examples/alarm_daemon.py [--port PORT] [--changes N]

Peers speak netlink messages over NETLINK_USERSOCK: they WATCH, RAISE and CLEAR, and who watches is
sent an ALARM for each change; examples/alarm_peer.c is one of them.  A peer that does not read
harms nobody: what it is too slow for is dropped, and counted.
"""

import argparse
import contextlib
import signal
import sys
import threading

from netlink_safe.blocking import (
    ClosedError,
    NetlinkError,
    NetlinkTimeout,
    Outbox,
    Undelivered,
    UserMessage,
    message,
    open_user,
    watch_lock,
)
from netlink_safe.lowlevel import parse_message

WATCH, RAISE, CLEAR, ALARM = range(0x10, 0x14)
SENSORS = 4


class Alarms:
    """The table, and who watches it; any thread may change it."""

    outbox: Outbox

    def __init__(self) -> None:
        self._lock = watch_lock(threading.Lock(), name="the table of alarms")
        self._raised: set[str] = set()
        self._watchers: set[int] = set()
        self._changes = 0

    def change(self, name: str, is_raised: bool) -> None:
        """Raise or clear one; whoever watches hears of changes in the order they were made in."""
        with self._lock:
            (self._raised.add if is_raised else self._raised.discard)(name)
            self._changes += 1
            text = f"{'raised' if is_raised else 'cleared'} {name}".encode()
            news = message(ALARM, text, sequence=self._changes & 0xFFFFFFFF)
            for port_id in self._watchers:
                self.outbox.post(news, port_id=port_id)  # never waits: allowed under the lock

    def watch(self, port_id: int) -> None:
        """Tell a peer of what is raised, and of every change from now on."""
        with self._lock:
            self._watchers.add(port_id)
            for name in sorted(self._raised):
                self.outbox.post(message(ALARM, f"raised {name}".encode()), port_id=port_id)

    def forget(self, lost: Undelivered) -> None:
        """A peer that is gone watches no more; of others it is enough that they are counted."""
        if lost.reason == "no_such_peer":
            with self._lock:
                self._watchers.discard(lost.port_id)

    def obey(self, order: UserMessage) -> None:
        """Do what a peer says.  Raises NetlinkError for what is no netlink message."""
        header = parse_message(order.payload, 0)
        text = order.payload[header.payload : header.end].rstrip(b"\0").decode("utf-8", "replace")
        if header.type == WATCH:
            self.watch(order.port_id)
        elif header.type in {RAISE, CLEAR}:
            self.change(text, header.type == RAISE)


def sense(alarms: Alarms, name: str, changes: int) -> None:
    """One of many threads that have something to report, until there is nobody to report to."""
    with contextlib.suppress(ClosedError):
        for number in range(changes):
            alarms.change(f"{name}, line {number % 10}", is_raised=number % 20 < 10)


def main() -> None:
    """Serve until interrupted or terminated; then say what became of every message."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, help="the port ID to listen at")
    parser.add_argument("--changes", type=int, default=0, help="that each sensor reports")
    options = parser.parse_args()
    alarms = Alarms()
    with (
        open_user(port_id=options.port) as user,
        Outbox(4096, deadline=5.0, on_undelivered=alarms.forget, user=user) as alarms.outbox,
        contextlib.suppress(KeyboardInterrupt),
    ):
        print(f"listening at port {user.port_id}", flush=True)
        for number in range(SENSORS):
            arguments = (alarms, f"sensor {number}", options.changes)
            threading.Thread(target=sense, args=arguments, daemon=True).start()
        while True:
            try:
                alarms.obey(user.receive(timeout=60.0))
            except NetlinkTimeout:
                continue
            except NetlinkError as error:
                print(f"passed over: {error}", file=sys.stderr, flush=True)
    print(alarms.outbox.statistics())


if __name__ == "__main__":
    main()
