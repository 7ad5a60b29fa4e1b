"""A scrape as a file, for node_exporter's textfile collector, once or again and again.

May call ``cli.sd_notify``, ``collectors.prometheus.exposition``, click and prometheus_client.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import time
from typing import TYPE_CHECKING, Final

import attrs
import click
from prometheus_client import write_to_textfile

from netlink_safe.cli import sd_notify
from netlink_safe.collectors.prometheus.exposition import Scrape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prometheus_client.metrics_core import Metric

    from netlink_safe.collectors.prometheus.exposition import TimedCollector

ERRORS: Final = "netlink_safe_collector_errors_total"
SUCCESS: Final = "netlink_safe_collector_success"
FAILED: Final = 1
#: As timeout(1) has it.
TIMED_OUT: Final = 124


@attrs.frozen(slots=True)
class Gathered:
    """Metrics as prometheus_client wants them to write them: from what looks like a registry."""

    metrics: list[Metric]

    def collect(self) -> list[Metric]:
        """All of them."""
        return self.metrics


def write(path: str, collectors: Sequence[TimedCollector], every: float | None) -> int:
    """Write the file, at a steady pace until SIGTERM if ``every`` is given in seconds.

    What has read it sees the old one whole or the new one whole.  Returns the exit status: of a
    single scrape that failed, 124 for the deadline and 1 for all else.  Raises ClickException for
    a first file that cannot be written; a later one is told of, once, and tried again.
    """
    # No Event: a handler that sets one may interrupt wait() while that holds the lock of it.
    signals: queue.SimpleQueue[int] = queue.SimpleQueue()
    before = signal.signal(signal.SIGTERM, lambda number, _: signals.put(number))
    try:
        path = _regular(path)
        due = time.monotonic()
        status = _write_once(path, collectors)
        trouble = ""
        sd_notify.notify(sd_notify.READY)
        while every is not None:
            due = max(due + every, time.monotonic())
            if _is_ended(signals, due):
                sd_notify.notify(sd_notify.STOPPING)
                return 0
            trouble = _write_again(path, collectors, trouble)
            sd_notify.notify(sd_notify.ALIVE)
        return status
    finally:
        signal.signal(signal.SIGTERM, before)


def _regular(path: str) -> str:
    """The file itself behind any links, which would else be replaced by one, as would a device.

    Raises ClickException for what is there and is no regular file.
    """
    target = os.path.realpath(path)
    if os.path.exists(target) and not os.path.isfile(target):
        raise click.ClickException(f"cannot write {path}: it is no regular file")
    return target


def _is_ended(signals: queue.SimpleQueue[int], due: float) -> bool:
    """Wait until something is due, telling systemd meanwhile that one lives; whether SIGTERM came.

    A file may be written less often than systemd wants to hear.
    """
    watched = sd_notify.watchdog_seconds()
    at_most = None if watched is None else watched / sd_notify.MARGIN
    while (left := due - time.monotonic()) > 0:
        with contextlib.suppress(queue.Empty):
            signals.get(timeout=left if at_most is None else min(left, at_most))
            return True
        sd_notify.notify(sd_notify.ALIVE)
    return not signals.empty()


def _write_again(path: str, collectors: Sequence[TimedCollector], before: str) -> str:
    """What is the matter with the file, told if it is not what was the matter ``before``."""
    try:
        _write_once(path, collectors)
    except click.ClickException as error:
        trouble = error.format_message()
    else:
        trouble = ""
    if trouble != before:
        with contextlib.suppress(OSError):  # a log on the same full disk
            click.echo(f"netlink-safe: {trouble or f'writing {path} again'}", err=True)
    return trouble


def _write_once(path: str, collectors: Sequence[TimedCollector]) -> int:
    metrics = list(Scrape(collectors).collect())
    try:
        write_to_textfile(path, Gathered(metrics))
    except OSError as error:
        raise click.ClickException(f"cannot write {path}: {error.strerror or error}") from error
    samples = [sample for metric in metrics for sample in metric.samples]
    if all(each.value for each in samples if each.name == SUCCESS):
        return 0
    errors = {each.labels["error"] for each in samples if each.name == ERRORS}
    return TIMED_OUT if errors == {"NetlinkTimeout"} else FAILED
