"""List the peers of a WireGuard device, with pyroute2's codec carried by this library.

Run as: python examples/wireguard_peers.py wg0.
"""

import argparse
import sys

from pyroute2.netlink.generic.wireguard import wgmsg

from netlink_safe.blocking import FamilyNotFound, KernelError, coded_request, open_generic

WG_CMD_GET_DEVICE = 0


def main(device: str) -> int:
    request = coded_request(
        "wireguard", WG_CMD_GET_DEVICE, {"WGDEVICE_A_IFNAME": device}, codec=wgmsg
    )
    try:
        with open_generic() as genl:
            for part in genl.dump(request):  # a device with many peers comes in several
                for peer in part.get("WGDEVICE_A_PEERS") or ():
                    key = peer.get("WGPEER_A_PUBLIC_KEY").decode()
                    networks = [one["addr"] for one in peer.get("WGPEER_A_ALLOWEDIPS") or ()]
                    print(key, *networks)
    except (FamilyNotFound, KernelError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("device", help="its name, such as wg0")
    sys.exit(main(parser.parse_args().device))
