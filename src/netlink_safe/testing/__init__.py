"""What you need to test your own code against netlink: faults, a scripted kernel, recordings.

::

    faults       real ones, made by the running kernel: lost replies, overruns, calls held up
    peers        who does not read, who is full, who lies about who he is
    scripted     a kernel that says what a test has it say, for what no real one does on demand
    recording    the datagrams of a live run in a file, and a kernel that answers from it

``netlink_safe.testing.plugin`` is a plugin for pytest: ``-p netlink_safe.testing.plugin``.

May call ``transport``, ``families``, ``protocol``, ``wire`` and ``errors``.
"""

from __future__ import annotations

from netlink_safe.testing.faults import (
    Stall,
    blocked_allocation,
    deaf,
    filtered,
    held_up,
    lose,
    lose_after,
    overrun,
)
from netlink_safe.testing.peers import (
    QuietPeer,
    full_peer,
    slow_reader,
    spoof,
    spoof_multicast,
)
from netlink_safe.testing.recording import record, replay
from netlink_safe.testing.replies import (
    Asked,
    Loss,
    Script,
    Sent,
    ack,
    cut_off,
    done,
    refusal,
    reply,
    row,
)
from netlink_safe.testing.scripted import ScriptedKernel
from netlink_safe.testing.scripted_tcp import TcpFigure, chunks

__all__ = [
    "Asked",
    "Loss",
    "QuietPeer",
    "Script",
    "ScriptedKernel",
    "Sent",
    "Stall",
    "TcpFigure",
    "ack",
    "blocked_allocation",
    "chunks",
    "cut_off",
    "deaf",
    "done",
    "filtered",
    "full_peer",
    "held_up",
    "lose",
    "lose_after",
    "overrun",
    "record",
    "refusal",
    "replay",
    "reply",
    "row",
    "slow_reader",
    "spoof",
    "spoof_multicast",
]
