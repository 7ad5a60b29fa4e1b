"""USB devices as they are plugged and unplugged, by vendor, product and serial number.

Run as anybody.  What is plugged in already is told first; what is lost, if ever, is found again.
"""

import contextlib

from netlink_safe.blocking import Overrun, Resynced, Uevent, open_uevents


def serial_of(device: Uevent) -> str:
    """Its serial number; empty for a device that has none, or is gone already."""
    try:
        with open(f"/sys{device.devpath}/serial", encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""


def main() -> None:
    """Listen until interrupted."""
    serials: dict[str, str] = {}  # the directory of a device is gone when its removal is told
    with open_uevents(subsystem="usb", devtype="usb_device", coldplug=True) as events:
        for event in events:
            match event:
                case Overrun(drops=drops):
                    print(f"! {drops} events were lost; here is what they hid:", flush=True)
                case Resynced(added=added, removed=removed):
                    print(f"! {added} added and {removed} removed", flush=True)
                case Uevent(action="add" | "remove", devpath=path):
                    if event.action == "add":
                        serials[path] = serial_of(event)
                    vendor, product, _ = event.properties.get("PRODUCT", "//").split("/")
                    sign = "+" if event.action == "add" else "-"
                    print(f"{sign} {vendor:0>4}:{product:0>4} {serials.get(path)}", flush=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
