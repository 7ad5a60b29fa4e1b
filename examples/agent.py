"""What a monitoring agent does: TCP sockets by state, every ten seconds, and never a hang."""

from __future__ import annotations

import sys
import time

from netlink_safe.collectors import tcpstat
from netlink_safe.errors import NetlinkError


def main(samples: int, seconds: float) -> None:
    """Take samples; one that fails is told, and the next one starts afresh."""
    for _ in range(samples):
        try:
            stats = tcpstat.collect_blocking(timeout=5.0)
        except (NetlinkError, OSError) as error:
            print(f"no sample: {error}", file=sys.stderr)
        else:
            print({state.name.lower(): count for state, count in stats.states.items()})
        time.sleep(seconds)


if __name__ == "__main__":
    main(samples=6, seconds=10)
