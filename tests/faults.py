"""Faults that only the library's own tests make, beside those of ``netlink_safe.testing``."""

from __future__ import annotations

import contextlib
import struct
from typing import TYPE_CHECKING, Any, Final

from netlink_safe.testing import faults, peers
from netlink_safe.testing.filters import (
    DEAF,
    DROP,
    JUMP_GREATER,
    LOAD_HALF_WORD,
    LOAD_LENGTH,
    PASS,
    RETURN,
    Program,
    attach,
    losing,
    passing_only,
)
from netlink_safe.transport.kernel import InFront

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from netlink_safe.transport.kernel import End, Received

__all__ = [
    "DEAF",
    "DYING",
    "LOAD_HALF_WORD",
    "RETURN",
    "altered",
    "attach",
    "filtered",
    "losing",
    "on_open",
    "passing_only",
    "retyped",
    "spoof",
    "spoof_multicast",
    "spoof_or_miss",
    "stalled_sends",
]

#: Pass a dump's first chunk, which is made before any receive and is short, and nothing behind it,
#: not even the end (20 bytes).
DYING: Final[Program] = (
    (LOAD_LENGTH, 0, 0, 0),
    (JUMP_GREATER, 2, 0, 4096),
    (JUMP_GREATER, 0, 1, 64),
    (RETURN, 0, 0, PASS),
    (RETURN, 0, 0, DROP),
)

spoof = peers.spoof
spoof_multicast = peers.spoof_multicast
stalled_sends = faults.held_up
filtered = faults.filtered


class _OnOpen(InFront):
    def __init__(self, hook: Callable[[Any], object]) -> None:
        super().__init__()
        self._hook = hook

    def opened(self, end: End) -> None:
        super().opened(end)
        self._hook(end)


def on_open(hook: Callable[[Any], object]) -> AbstractContextManager[None]:
    """Do something to each kernel socket that the library opens meanwhile."""
    return _OnOpen(hook).in_place()


class _Altering(InFront):
    def __init__(self, change: Callable[[bytes], bytes]) -> None:
        super().__init__()
        self._change = change

    def receive(self, end: End, size: int) -> Received:
        data, *rest = super().receive(end, size)
        return (self._change(data), *rest)


def altered(change: Callable[[bytes], bytes]) -> AbstractContextManager[None]:
    """Have datagrams arrive as another text than the kernel's meanwhile."""
    return _Altering(change).in_place()


def retyped(message_type: int, other: int) -> AbstractContextManager[None]:
    """Have datagrams whose first message is of one type arrive as another one's meanwhile."""
    before, behind = (struct.pack("=H", one) for one in (message_type, other))

    def change(data: bytes) -> bytes:
        return data[:4] + behind + data[6:] if data[4:6] == before else data

    return altered(change)


def spoof_or_miss(port_id: int, data: bytes) -> None:
    """The same to somebody who may be gone, or whose queue may be full."""
    with contextlib.suppress(ConnectionRefusedError, BlockingIOError):
        spoof(port_id, data)
