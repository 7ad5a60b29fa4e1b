"""What was called, how it ended, how late; and what went wrong, in full.

A call is to end within its own deadline and a grace, in a way that is allowed: by itself, or by the
faults that were there meanwhile.

A machine that has no time for anybody is no fault of the library: what is late with it is counted
apart, and not judged.

May call ``soaking.faults``.
"""

from __future__ import annotations

import contextlib
import threading
import time
import traceback
from collections import Counter
from typing import TYPE_CHECKING, Final, Protocol

import attrs

from soaking.faults import STALLED

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Failures that are kept in full; all are counted.
KEPT: Final = 40
DONE: Final = "done"
CANCELLED: Final = "cancelled"


class Excuses(Protocol):
    """Who knows what was wrong with the world meanwhile."""

    def during(self, began: float, ended: float) -> list[str]: ...

    def excuse(self, error: BaseException, began: float, ended: float) -> bool: ...


@attrs.define(slots=True)
class Verb:
    """What is known of a verb on a surface; ``worst`` is the latest end, in seconds."""

    outcomes: Counter[str] = attrs.field(factory=Counter)
    worst: float = 0.0

    @property
    def calls(self) -> int:
        """All of them."""
        return self.outcomes.total()


@attrs.define(slots=True)
class Call:
    """One call under way: ``limit`` is what it may take, in seconds; cancelled, less than that."""

    limit: float
    outcome: str = DONE
    error: Exception | None = None

    @property
    def is_done(self) -> bool:
        """Whether it did what it is for."""
        return self.outcome == DONE


class Ledger:
    """For any thread; ``grace`` is how late a call may end, in seconds."""

    def __init__(self, excuses: Excuses, grace: float) -> None:
        self._excuses = excuses
        self._grace = grace
        self._lock = threading.Lock()
        self._verbs: dict[tuple[str, str], Verb] = {}
        self._failures: list[str] = []
        self._counts: Counter[str] = Counter()
        self._failed = 0

    @contextlib.contextmanager
    def call(
        self, surface: str, verb: str, limit: float, *allowed: type[BaseException]
    ) -> Iterator[Call]:
        """Account for what the body does; an error of it ends here, whether allowed or not."""
        call = Call(limit)
        began = time.monotonic()
        try:
            yield call
        except Exception as error:
            call.outcome, call.error = type(error).__name__, error
            ended = time.monotonic()
            if not isinstance(error, allowed) and not self._excuses.excuse(error, began, ended):
                self.fail(f"{surface} {verb}: {self._told(error, began, ended)}")
        except BaseException:
            call.outcome = CANCELLED
            raise
        finally:
            self._enter(surface, verb, call, began, time.monotonic())

    def fail(self, text: str) -> None:
        """Write a failure down."""
        with self._lock:
            self._failed += 1
            if len(self._failures) < KEPT:
                self._failures.append(text)

    def check(self, is_so: bool, text: str) -> None:
        """Write down that something is not as it is to be."""
        if not is_so:
            self.fail(text)

    def count(self, **figures: int) -> None:
        """Add to what is counted beside calls."""
        with self._lock:
            self._counts.update(figures)

    @property
    def failed(self) -> int:
        """How many failures there were."""
        return self._failed

    @property
    def failures(self) -> list[str]:
        """The first of them."""
        return list(self._failures)

    @property
    def counts(self) -> dict[str, int]:
        """What was counted beside calls, by name."""
        return dict(sorted(self._counts.items()))

    def verbs(self) -> dict[tuple[str, str], Verb]:
        """By surface and name."""
        return dict(sorted(self._verbs.items(), key=lambda each: each[0][::-1]))

    def _enter(self, surface: str, verb: str, call: Call, began: float, ended: float) -> None:
        late = max(0.0, ended - began - call.limit)
        around = self._excuses.during(began, ended) if late > self._grace else []
        if STALLED in around:
            self.count(**{"calls late with the machine": 1})
            late = 0.0
        with self._lock:
            known = self._verbs.setdefault((surface, verb), Verb())
            known.outcomes[call.outcome] += 1
            known.worst = max(known.worst, late)
        if late > self._grace:
            self.fail(
                f"{surface} {verb}: {call.outcome} after {ended - began:.3f} s of {call.limit:g}; "
                f"faults meanwhile: {', '.join(around) or 'none'}"
            )

    def _told(self, error: Exception, began: float, ended: float) -> str:
        around = ", ".join(self._excuses.during(began, ended)) or "none"
        told = "".join(traceback.format_exception(error))
        return f"{error!r} after {ended - began:.3f} s; faults meanwhile: {around}\n{told}"
