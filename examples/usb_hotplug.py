"""USB devices as they are plugged and unplugged, by vendor, product and serial number.

Run as anybody.  What is plugged in already is told first; what is lost, if ever, is found again.
"""

import contextlib

from netlink_safe.blocking import Overrun, Uevent, open_uevents


def product_of(device: Uevent) -> str:
    """Vendor and product, as lsusb has them."""
    vendor, product, *_ = [*device.properties.get("PRODUCT", "").split("/"), ""]
    return f"{vendor:0>4}:{product:0>4}"


def serial_of(device: Uevent) -> str:
    """Its serial number as a literal, since a device may call itself anything."""
    with contextlib.suppress(OSError), open(f"/sys{device.devpath}/serial", "rb") as file:
        return ascii(file.read().strip())[1:]
    return "''"


def main() -> None:
    serials: dict[str, str] = {}  # the directory of a device is gone when its removal is told
    with open_uevents(subsystem="usb", devtype="usb_device", coldplug=True) as events:
        for event in events:
            match event:
                case Overrun(drops=drops):
                    print(f"! {drops} events were lost; here is what they hid:", flush=True)
                case Uevent(action="add", devpath=path):
                    serials[path] = serial_of(event)
                    print("+", product_of(event), serials[path], flush=True)
                case Uevent(action="remove", devpath=path):
                    print("-", product_of(event), serials.pop(path, ""), flush=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
