"""Real USB devices are plugged and pulled out, and who listens to the kernel hears of it."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from netlink_safe import Uevent
from netlink_safe.families.uevent import Origin
from vm.guest.listeners import CopiedListener, Listener, Surface, on_every_surface
from vm.guest.usb import KINDS, TABLET, Bus, Kind, Mark

if TYPE_CHECKING:
    from collections.abc import Mapping

on_every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.driver)


def heard_until(listener: Listener, mark: Mark) -> list[Mapping[str, str]]:
    """The properties of what is heard before a mark, all of it events of the kernel itself."""
    *events, _ = listener.until(mark.is_heard)
    properties: list[Mapping[str, str]] = []
    for event in events:
        assert isinstance(event, Uevent)
        assert event.origin is Origin.KERNEL
        properties.append(dict(event.properties))
    return properties


@on_every_surface
def test_a_single_plug_is_too_much_for_the_copied_listener_and_not_for_this_one(
    bus: Bus, surface: Surface
) -> None:
    """The buffer of 1024 bytes overruns at one plug; as slow a reader here misses nothing."""
    with surface.listen() as listener:
        begin = bus.mark()
        with CopiedListener() as copied:
            bus.plug(TABLET)
            with pytest.raises(OSError, match="No buffer space") as caught:
                copied.receive()
            left = copied.rest()
        end = bus.mark()
        heard_until(listener, begin)
        heard = heard_until(listener, end)
        drops = listener.statistics().drops
    said = bus.said_between(begin, end)
    assert caught.value.errno == errno.ENOBUFS
    assert caught.value.errno == 105
    assert left == said[: len(left)]
    assert len(left) < len(said)
    assert heard == said
    assert drops == 0


@on_every_kind
@on_every_surface
def test_every_event_of_a_plug_and_of_an_unplug_is_heard(
    bus: Bus, surface: Surface, kind: Kind
) -> None:
    """All that the kernel says of a device comes, in order, with all its properties."""
    with surface.listen() as listener:
        begin = bus.mark()
        bus.plug(kind)
        plugged = bus.mark()
        bus.unplug()
        unplugged = bus.mark()
        heard_until(listener, begin)
        heard = heard_until(listener, plugged), heard_until(listener, unplugged)
    said = bus.said_between(begin, plugged), bus.said_between(plugged, unplugged)
    assert heard == said
    assert len(said[0]) >= kind.plug
    assert len(said[1]) >= kind.unplug
