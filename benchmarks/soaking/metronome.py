"""Whether the machine itself was late: a process of its own that asks for little, and times it.

A call that is late while that one stalls says nothing of the library.

May call ``soaking.faults``.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from soaking.faults import Weather

#: Seconds that it sleeps, that it works behind that, and that it is late by when it says so.
SLEEP: Final = 0.05
WORK: Final = 0.005
STALL: Final = 0.25
PROGRAM: Final = f"""
import time
while True:
    began = time.monotonic()
    time.sleep({SLEEP})
    worked = time.thread_time() + {WORK}
    while time.thread_time() < worked:
        pass
    ended = time.monotonic()
    if ended - began > {SLEEP + WORK + STALL}:
        print(began, ended, flush=True)
"""


@contextlib.contextmanager
def ticking(weather: Weather) -> Iterator[None]:
    """Have the weather know when the machine stalls."""
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE) as process:
        listener = threading.Thread(target=_listen, args=(process, weather), daemon=True)
        listener.start()
        try:
            yield
        finally:
            process.kill()
            listener.join()


def _listen(process: subprocess.Popen[bytes], weather: Weather) -> None:
    for line in process.stdout or ():
        weather.stalled(*map(float, line.split()))
