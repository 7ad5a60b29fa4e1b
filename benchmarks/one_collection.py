"""One collection in a process that imports nothing else, which prints the peak of its memory.

Started by ``processes``, told what by its argument.  May call nothing of the others.
"""

from __future__ import annotations

import contextlib
import sys
from functools import partial
from typing import TYPE_CHECKING, Final

from netlink_safe.blocking.sock_diag import open_sock_diag
from netlink_safe.collectors.tcpstat import collect_blocking
from netlink_safe.families.tcp import tcp_sockets

if TYPE_CHECKING:
    from collections.abc import Callable

DUMP: Final = "dump"
ROWS: Final = "rows with tcp_info"
#: Seconds; far beyond what any of it takes.
TIMEOUT: Final = 60.0
#: What /proc/self/clear_refs takes for VmHWM to start again.
RESET_PEAK: Final = "5"


def rows() -> None:
    """Every row, asked for with tcp_info, and none looked at."""
    with open_sock_diag(timeout=TIMEOUT) as diag:
        for _ in diag.dump(tcp_sockets(extensions=["info"])):
            pass


#: What may be asked for.
COLLECTIONS: Final[dict[str, Callable[[], object]]] = {
    DUMP: partial(collect_blocking, TIMEOUT, "dump"),
    ROWS: rows,
}


def _own_peak() -> int:
    """VmHWM in bytes; ru_maxrss would have the parent's in it from before the exec."""
    with open("/proc/self/status", encoding="ascii") as file:
        line = next(line for line in file if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def main() -> None:
    """Forget the peak of the imports, which would hide a growth below it, and collect."""
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write(RESET_PEAK)
    COLLECTIONS[sys.argv[1]]()
    print(_own_peak())


if __name__ == "__main__":
    main()
