"""Honest exits, for who builds something of their own on the same floor.

Engines without input or output, datagrams, kernel sockets that never wait, and the operations that
say what they wait for.  These names may change in a minor release; the public surface does not.

May call ``transport``, ``families``, ``protocol``, ``wire`` and ``errors``.
"""

from __future__ import annotations

from netlink_safe.protocol.deadline import Deadline
from netlink_safe.protocol.exchange import TRANSITIONS, Event, Exchange, State
from netlink_safe.protocol.request import Reader, Request, RowReader
from netlink_safe.protocol.trust import reject_reply
from netlink_safe.transport.gathering import RowFold
from netlink_safe.transport.namespace import Namespace
from netlink_safe.transport.pool import SocketPool
from netlink_safe.transport.socket import NetlinkSocket
from netlink_safe.transport.steps import ask, fold
from netlink_safe.transport.terms import Steps, Terms, Wait
from netlink_safe.transport.workers import offload
from netlink_safe.wire.datagram import Datagram
from netlink_safe.wire.header import Message, Strides, parse_message, row_offsets

__all__ = [
    "TRANSITIONS",
    "Datagram",
    "Deadline",
    "Event",
    "Exchange",
    "Message",
    "Namespace",
    "NetlinkSocket",
    "Reader",
    "Request",
    "RowFold",
    "RowReader",
    "SocketPool",
    "State",
    "Steps",
    "Strides",
    "Terms",
    "Wait",
    "ask",
    "fold",
    "offload",
    "parse_message",
    "reject_reply",
    "row_offsets",
]
