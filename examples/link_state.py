"""Watch whether network devices have a link, by ethtool, and say what changes.

The kernel tells no change of a link's state by ethtool, so that it is asked for at a steady pace,
and at once when ethtool tells anything else of a device.

Run as: python examples/link_state.py [SECONDS].
"""

import argparse
import contextlib
import time

from netlink_safe.blocking import GenericNetlink, NetlinkTimeout, open_generic
from netlink_safe.families import ethtool

WORDS = {True: "up", False: "down", None: "unknown"}


def states(genl: GenericNetlink) -> dict[str, bool | None]:
    """Every device that can tell, by name."""
    return {row.device.name: row.is_up for row in genl.dump(ethtool.link_state())}


def main(seconds: float) -> None:
    known: dict[str, bool | None] = {}
    with open_generic() as genl, genl.subscribe("ethtool") as told:
        while True:
            now = states(genl)
            for name in sorted(now.keys() | known.keys()):
                if name not in now:
                    print(f"{name} is gone", flush=True)
                elif name not in known or known[name] != now[name]:
                    print(f"{name} is {WORDS[now[name]]}", flush=True)
            known = now
            end = time.monotonic() + seconds
            with contextlib.suppress(NetlinkTimeout):
                told.receive(timeout=max(end - time.monotonic(), 0.001))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("seconds", type=float, nargs="?", default=1.0, help="from look to look")
    options = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        main(options.seconds)
