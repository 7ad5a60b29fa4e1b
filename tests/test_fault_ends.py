"""When a fault is over it is over, for those too who were in the middle of a call."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from netlink_safe import testing
from netlink_safe.transport.kernel import foremost
from netlink_safe.wire.constants import NETLINK_SOCK_DIAG
from netlink_safe.wire.header import build_message

if TYPE_CHECKING:
    from netlink_safe.transport.kernel import End, Kernel

#: NLMSG_NOOP, of which the kernel only acknowledges that it was there.
NOTHING = build_message(1, 0x05, 1, 0, b"")
FAULTS = {"deaf": testing.deaf, "lose_after": lambda: testing.lose_after(1)}


def asked(kernel: Kernel, end: End) -> bool:
    """Whether a question is answered; the kernel does so while it is asked."""
    kernel.send(end, NOTHING)
    with contextlib.suppress(BlockingIOError):
        return bool(kernel.receive(end, 65536)[0])
    return False


@pytest.mark.parametrize("fault", FAULTS)
def test_a_socket_that_is_used_as_a_fault_ends_is_not_left_deaf(fault: str) -> None:
    """A thread that was let in front of the kernel comes out of it when all sockets are mended."""
    with contextlib.closing(foremost().open(NETLINK_SOCK_DIAG)) as end:
        with FAULTS[fault]():
            late = foremost()
            if fault == "lose_after":
                late.send(end, NOTHING)
        if fault == "lose_after":
            assert late.receive(end, 65536)[0]
        assert [asked(late, end) for _ in range(3)] == [True] * 3
