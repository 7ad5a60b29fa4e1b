"""What a call costs, counted: lines of Python, and bytes at the highest.

Both are the same on every machine and on every run, which seconds are not.
"""

from __future__ import annotations

import gc
import sys
import tracemalloc
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType


def steps(call: Callable[[], object]) -> int:
    """How many lines of Python a call runs, each turn of a comprehension for one more.

    What C does inside one is not seen.
    """
    count = 0

    def trace(_frame: FrameType, _event: str, _: Any) -> Any:
        nonlocal count
        count += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count


def peak(call: Callable[[], object]) -> int:
    """How many bytes more than before are in use at once."""
    gc.collect()
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
