"""The same beside other tasks: a listener that hands devices to a worker, and a clock that ticks.

Run as anybody.  Nothing that the worker does can make the listener lose an event in silence.
"""

import trio

import netlink_safe as nls


async def listen(devices: trio.MemorySendChannel[nls.Uevent]) -> None:
    """Hand on what comes and goes."""
    async with devices, nls.open_uevents(subsystem="usb", coldplug=True) as events:
        async for event in events:
            if isinstance(event, nls.Overrun):
                print(f"! {event.drops} events were lost", flush=True)
            elif isinstance(event, nls.Uevent):
                await devices.send(event)


async def work(devices: trio.MemoryReceiveChannel[nls.Uevent]) -> None:
    """Take all the time that it needs: what waits meanwhile waits in the kernel."""
    async for device in devices:
        print(device.action, device.properties.get("PRODUCT", ""), device.devpath, flush=True)


async def tick(seconds: float) -> None:
    """Go on with everything else."""
    while True:
        await trio.sleep(seconds)
        print("still here", flush=True)


async def main() -> None:
    """Run all three until interrupted."""
    sender, receiver = trio.open_memory_channel[nls.Uevent](0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen, sender)
        nursery.start_soon(work, receiver)
        nursery.start_soon(tick, 60)


if __name__ == "__main__":
    try:
        trio.run(main)
    except* KeyboardInterrupt:
        print("stopped")
