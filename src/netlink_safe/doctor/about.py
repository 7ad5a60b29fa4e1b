"""What every rule says of a socket and its owner, in the same words.

May call ``doctor.observation`` and ``doctor.report``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from netlink_safe.doctor.report import Finding

if TYPE_CHECKING:
    from netlink_safe.doctor.observation import SeenSocket, SeenThread


_INTERPRETER: Final = re.compile(r"(python|perl|ruby|node|bash|sh|dash)[\d.]*")


def finding(one: SeenSocket, **fields: Any) -> Finding:
    """A finding about a socket."""
    return Finding(
        **{
            "netns": one.netns,
            "protocol": str(one.row.protocol),
            "port_id": one.row.port_id,
            "inode": one.row.inode,
            "owner_pid": one.owner,
            "pids": one.pids,
            **fields,
        }
    )


def named(one: SeenSocket) -> str:
    """A socket, for a sentence."""
    where = "" if one.netns is None else f" in the network namespace {one.netns}"
    return f"the {one.row.protocol} socket {one.row.port_id} of {holder(one)}{where}"


def holder(one: SeenSocket) -> str:
    """Who holds a socket, for a sentence."""
    if not one.pids:
        return "a process that is not to be seen"
    others = f" and {len(one.pids) - 1} more" if len(one.pids) > 1 else ""
    return f"{process(one.owner, one.commands[0])}{others}"


def process(pid: int, command: str) -> str:
    """A process, for a sentence: by the name of its program and its pid."""
    return f"{short(command)} (pid {pid})"


def short(command: str) -> str:
    """The name of a program, of a command line; of an interpreter's, that of its script."""
    first, *rest = command.split(" ") if command else ["a process"]
    name = first.rpartition("/")[2]
    if _INTERPRETER.fullmatch(name):
        script = next((word for word in rest if word), "-")
        return name if script.startswith("-") else script.rpartition("/")[2]
    return name or first


def thread(one: SeenThread) -> str:
    """A thread, for a sentence."""
    return f"thread {one.tid} of {process(one.pid, one.command)}"


def fill(one: SeenSocket) -> str:
    """How full its receive queue is, for a sentence."""
    return f"{one.queued:,} of {one.receive_buffer:,} bytes are queued"
