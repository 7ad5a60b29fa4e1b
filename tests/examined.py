"""What the doctor finds in this namespace."""

from __future__ import annotations

import os
import pathlib
import threading
from typing import TYPE_CHECKING, Any

from netlink_safe.doctor import Finding, FindingKind, Report

if TYPE_CHECKING:
    from surfaces import Surface


KINDS = FindingKind


def here() -> str:
    """The path of this thread's network namespace, for any thread."""
    return f"/proc/{os.getpid()}/task/{threading.get_native_id()}/ns/net"


async def look(surface: Surface, **options: Any) -> Report:
    """A quick examination of the test's own namespace."""
    return await surface.examine(**{"interval": 0.05, "netns": here(), **options})


def only(report: Report, kind: FindingKind) -> Finding:
    """The one finding of a kind, in a report."""
    (found,) = [finding for finding in report if finding.kind is kind]
    return found


def sleeps_in(tid: int, place: str) -> bool:
    """Whether a thread sleeps in a function of the kernel."""
    return pathlib.Path(f"/proc/{tid}/wchan").read_text("ascii").startswith(place)
