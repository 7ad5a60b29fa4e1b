"""Follow the ports of an Open vSwitch datapath, through whatever is lost on the way.

Run as: python examples/ovs_ports.py ovs-system.
"""

import argparse
import sys

import trio

import netlink_safe as nls
from netlink_safe.families import ovs


async def main(name: str) -> None:
    async with nls.open_generic() as genl:
        datapath = await genl.request(ovs.datapath(name))
        async with genl.subscribe(snapshot=ovs.vports(datapath)) as changes:
            async for change in changes:
                match change:
                    case nls.Added(row=port):
                        print(f"+ {port.number} {port.name}", flush=True)
                    case nls.Changed(row=port):
                        print(f"~ {port.number} {port.name}", flush=True)
                    case nls.Removed(row=port):
                        print(f"- {port.number} {port.name}", flush=True)
                    case nls.Overrun(drops=drops):
                        print(f"! {drops} were lost; here is what they hid:", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("datapath", help="its name, such as ovs-system")
    options = parser.parse_args()
    try:
        trio.run(main, options.datapath)
    except nls.KernelError as error:
        sys.exit(str(error))
