"""A listener that sleeps while more happens on the bus than its buffer can hold."""

from __future__ import annotations

from pathlib import Path

from netlink_safe import Overrun, Resynced, Uevent
from netlink_safe.families.uevent import Origin
from vm.guest.listeners import Surface, on_every_surface
from vm.guest.usb import KEYBOARD, STICK, TABLET, Bus, believed, present

FLOOR = 32 * 1024
ENOUGH_PLUGS = 50


@on_every_surface
def test_whoever_wakes_after_an_overrun_believes_what_is_so(bus: Bus, surface: Surface) -> None:
    """The loss is told, then the difference; a successor at the same port is no old friend."""
    replaced = bus.plug(TABLET, port=1)
    bus.plug(STICK, port=2)
    with surface.listen(coldplug=True, subsystem="usb", receive_buffer=FLOOR) as listener:
        items = listener.until(bus.mark().is_heard)
        plugs = 0
        while listener.statistics().drops == 0:
            assert plugs < ENOUGH_PLUGS, "it does not overrun"
            bus.plug(TABLET, port=3)
            bus.unplug(port=3)
            plugs += 1
        bus.unplug(port=1)
        assert bus.plug(KEYBOARD, port=1) == replaced
        bus.unplug(port=2)
        bus.plug(TABLET, port=4)
        drops = listener.statistics().drops

        items += (woken := listener.until(lambda item: isinstance(item, Resynced)))
        assert believed(items) == present()

        (overrun,) = [item for item in woken if isinstance(item, Overrun)]
        assert overrun == Overrun(drops)
        difference = woken[woken.index(overrun) + 1 : -1]
        actions = [event.action for event in difference if isinstance(event, Uevent)]
        assert woken[-1] == Resynced(actions.count("add"), actions.count("remove"))
        assert {event.origin for event in difference if isinstance(event, Uevent)} == {
            Origin.RESYNC
        }
        of_port = [
            event for event in difference if isinstance(event, Uevent) and event.devpath == replaced
        ]
        assert [event.action for event in of_port] == ["remove", "add"]
        number = Path(f"/sys{replaced}/devnum").read_text().strip()
        assert int(of_port[1].properties["DEVNUM"]) == int(number)

        # From there on it hears again what the kernel says.
        bus.unplug(port=4)
        items += listener.until(bus.mark().is_heard)
        assert believed(items) == present()
        assert sum(isinstance(item, Overrun) for item in items) == 1
