"""Any bytes in a listener: events, or rejections that are counted, and nothing else.

::

    pip install atheris
    python fuzz/uevents.py [-max_total_time=600] [a directory that keeps what was found]

The first byte says who sent the datagram and which group it was heard in.
"""

from __future__ import annotations

import sys
from collections import Counter

import atheris

with atheris.instrument_imports():
    from netlink_safe.families.uevent import Uevent
    from netlink_safe.families.uevents import uevents
    from netlink_safe.protocol.trust import Roots
    from netlink_safe.wire.datagram import Burst, Credentials, Sender

KERNEL = Sender(0, 1, Credentials(0, 0, 0), False)
INJECTOR = KERNEL._replace(credentials=Credentials(7, 0, 0))
UDEVD = Sender(7, 2, Credentials(7, 0, 0), False)
HEARD = (("kernel", KERNEL), ("kernel", INJECTOR), ("udev", UDEVD))

SAID = [name for name in dir(Uevent) if name[0] != "_" and name not in {"resynced", "moved"}]


def one_input(data: bytes) -> None:
    """Read it, and look at all that was read."""
    source, sender = HEARD[data[0] % len(HEARD)] if data else HEARD[0]
    rejected: Counter[str] = Counter()
    reader = uevents(source=source).new_reader(Roots(frozenset({0})), rejected)
    items = reader.read([Burst(sender, [data[1:]])])
    if len(items) + rejected.total() + reader.duplicates != 1:
        raise AssertionError("a datagram is unaccounted for")
    for event in items:
        for name in SAID:
            getattr(event, name)
        if event.resynced(b"remove").devpath != event.devpath:
            raise AssertionError("another device")


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
