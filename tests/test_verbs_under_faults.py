"""Every verb under every fault that concerns it: the promised outcome, in time, and it works again.

The table is in ``fault_table``, and the docs show it.
"""

from __future__ import annotations

import contextlib
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest

import kernel
import netlink_safe as nls
from fault_table import FAULTS, TIMEOUT, Fault, table
from metrics_told import succeeded
from netlink_safe.collectors.prometheus import TcpStatCollector
from netlink_safe.testing import deaf
from patience import patiently
from surfaces import SURFACES, Surface, on_every_surface, taking_at_most
from verbs import VERBS, opened, verbs_of

if TYPE_CHECKING:
    from verbs import Opened

PAGE = Path(__file__).parent.parent / "docs/reference/testing.md"
#: Those that are made here; the others name a test that shows them.
MADE = [fault for fault in FAULTS if fault.make is not None]
#: Seconds in which a call has ended: far above what it is given.
ENDED = 10.0
#: What an unharmed call ends in where it does not end well: nobody says anything, nobody is there.
UNHARMED: dict[str, type[Exception]] = {
    **dict.fromkeys(("uevents.receive", "user.receive", "heard.receive"), nls.NetlinkTimeout),
    **dict.fromkeys(("request", "delete_link"), nls.KernelError),
}
#: What is over for good when it has been idle too long.
STREAMS = ("uevents.next", "heard.next", "outbox.close")


async def unharmed(it: Opened, name: str) -> None:
    """Call it where nothing is wrong, with time enough."""
    there = attrs.evolve(it, timeout=TIMEOUT if name.endswith(".receive") else 10)
    with pytest.raises(UNHARMED[name]) if name in UNHARMED else contextlib.nullcontext():
        await there.verbs[name]()


async def check(it: Opened, fault: Fault, verb: str) -> None:
    """The outcome is the promised one, in bounded time, and then the verb does what it is for."""
    it.genl._families._policies.clear()  # what is known need not be asked for
    with fault.make(it), taking_at_most(ENDED):
        if fault.outcome is None:
            await it.verbs[verb]()
        else:
            with pytest.raises(fault.outcome):
                await it.verbs[verb]()
    if verb not in STREAMS:
        await unharmed(it, verb)


async def check_patiently(it: Opened, fault: Fault, verb: str) -> None:
    """The same; a slow machine has more time where it is not promised that it comes too late."""

    async def check_within(seconds: float) -> None:
        await check(attrs.evolve(it, timeout=seconds), fault, verb)

    if fault.outcome is nls.NetlinkTimeout:
        await check(it, fault, verb)
    else:
        await patiently(check_within, TIMEOUT)


@pytest.mark.parametrize("fault", MADE, ids=[f"{each.name}, {each.verbs[0]}" for each in MADE])
@on_every_surface
async def test_the_outcome_is_the_promised_one(surface: Surface, fault: Fault) -> None:
    """Of each verb, one after the other on the same objects, which go on working."""
    before = kernel.descriptors()
    async with opened(surface, TIMEOUT) as it:
        for verb in fault.verbs:
            try:
                await check_patiently(it, fault, verb)
            except BaseException as error:
                error.add_note(f"the verb was {verb}")
                raise
    kernel.until(lambda: kernel.descriptors() <= before)  # a thread that is let go closes up


@pytest.mark.parametrize("surface", SURFACES, ids=lambda surface: surface.name)
def test_every_verb_that_may_wait_has_a_fault(surface: Surface) -> None:
    """One that is new and in no row of the table is missed here."""
    concerned = {verb for fault in FAULTS for verb in fault.verbs}
    # the first has a test of its own, the second cannot be held up by anybody, and the third waits
    # for ever as it says
    alone = {"TcpStatCollector.collect", "Outbox", "user.next"}
    assert set(verbs_of(surface)) - concerned == alone & set(verbs_of(surface))
    assert concerned <= set(VERBS)


def test_a_scrape_under_a_fault_says_that_it_failed() -> None:
    """It never raises, for the other collectors' sake."""
    with deaf(), taking_at_most(ENDED):
        metrics = TcpStatCollector(timeout=TIMEOUT).collect()
    assert succeeded(metrics) == 0
    assert succeeded(TcpStatCollector().collect()) == 1


def test_what_is_shown_elsewhere_is_shown_there() -> None:
    """The rows without a fault of their own name a test that is there."""
    for fault in FAULTS:
        if fault.make is None:
            assert fault.shown_by is not None
            room, _, name = fault.shown_by.partition(".")
            assert callable(getattr(import_module(room), name))


def test_the_page_has_the_table() -> None:
    """As ``python tests/fault_table.py`` prints it."""
    assert table() in PAGE.read_text("utf-8")
