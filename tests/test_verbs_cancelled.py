"""Every verb that may wait, cancelled at every place where it awaits: nothing is left of it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import anyio
import attrs
import pytest

import kernel
import netlink_safe as nls
from awaits import Awaits
from netlink_safe.aio import waiting
from surfaces import ASYNC_SURFACES, Surface, on_surfaces
from test_verbs_under_faults import STREAMS, unharmed
from verbs import VERBS, opened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from verbs import Opened

#: Seconds for verbs that hear nothing.
TIMEOUT = 0.05


def awaits_to_try() -> Iterator[int]:
    """Each of the first eight, and ever fewer of many: an examination has some for each process."""
    number = 1
    while True:
        yield number
        number += max(1, number // 4)


async def called(verb: Any) -> None:
    """Call it; that there is nothing to be heard or found is no matter here."""
    with contextlib.suppress(nls.NetlinkTimeout, nls.KernelError):
        await verb()


@pytest.fixture(autouse=True)
def _as_many_awaits_as_there_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """A turn is given after each step."""
    monkeypatch.setattr(waiting, "TURN", 0)


async def cancelled_at(number: int, it: Opened, verb: str, awaits: Awaits) -> anyio.CancelScope:
    """Call a verb, and cancel it at the await of this number, if it comes so far."""
    with anyio.CancelScope() as scope:
        awaits.cancel_at(number, scope)
        await called(it.verbs[verb])
    awaits.cancel_at(0, scope)
    return scope


@pytest.mark.parametrize("verb", sorted(set(VERBS) - set(STREAMS)))
@on_surfaces(ASYNC_SURFACES)
async def test_cancelled_at_every_await_nothing_is_left(
    surface: Surface, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One run for each await; no descriptor stays, and the same object goes on working."""
    before = kernel.descriptors()
    awaits = Awaits(monkeypatch)
    async with opened(surface, TIMEOUT) as it:
        patient = attrs.evolve(it, timeout=TIMEOUT if verb.endswith(".receive") else 10)
        for number in awaits_to_try():
            scope = await cancelled_at(number, patient, verb, awaits)
            if not scope.cancel_called:
                break
            await unharmed(it, verb)
    assert number > 1, "it was cancelled nowhere"
    kernel.until(lambda: kernel.descriptors() <= before)


@pytest.mark.parametrize("verb", STREAMS)
@on_surfaces(ASYNC_SURFACES)
async def test_a_stream_that_is_cancelled_at_every_await_leaves_nothing(
    surface: Surface, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be over then, so that each run has a stream of its own."""
    before = kernel.descriptors()
    awaits = Awaits(monkeypatch)
    for number in awaits_to_try():
        async with opened(surface, TIMEOUT) as it:
            scope = await cancelled_at(number, attrs.evolve(it, timeout=10), verb, awaits)
        if not scope.cancel_called:
            break
    assert number > 1, "it was cancelled nowhere"
    kernel.until(lambda: kernel.descriptors() <= before)
