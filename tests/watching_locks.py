"""What tests of watched locks share: verbs that have something to do, and what a refusal says."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import trio

import netlink_safe as nls
from netlink_safe.transport import locks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from surfaces import Surface


#: Verbs that have something to do, or to hear, in this order.
WORKING = (
    "dump",
    "fold",
    "read_proc_net",
    "destroy",
    "subscribe_destroyed",
    "collect",
    "user.send",
    "user.receive",
    "Outbox",
    "outbox.flush",
    "outbox.close",
    "open_generic",
    "family",
    "families",
    "policy",
    "policies",
    "Family.policy",
    "genl.request",
    "genl.dump",
    "subscribe",
    "open_route",
    "examine",
)


HERE = "netlink_safe."


@pytest.fixture
def nothing_held_at_the_end() -> Iterator[None]:
    """Whatever a test took, it has released."""
    yield
    left = dict(locks.held)
    locks.held.clear()  # that one failure does not become all of them
    assert left == {}


async def refused(verb: Callable[[], Awaitable[object]], name: str) -> nls.LockHeldError:
    with pytest.raises(nls.LockHeldError, match="may wait, and") as caught:
        await verb()
    assert caught.value.lock == name
    assert "test_locks" in caught.value.where
    return caught.value


def lock_of(surface: Surface) -> Any:
    """The lock of the event loop that a surface runs on."""
    return trio.Lock() if surface.backend == "trio" else asyncio.Lock()


def free(lock: Any) -> bool:
    return not (lock._is_owned() if hasattr(lock, "_is_owned") else lock.locked())
