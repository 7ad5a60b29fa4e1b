"""pyroute2's codecs of families that need a module: carried by us, and by its own sockets."""

from __future__ import annotations

import socket
import sys
from base64 import b64encode
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import kernel
import netlink_safe as nls
from codecs_told import plain
from surfaces import Surface, on_every_surface
from vm.guest.shell import run

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLE = Path(__file__).parents[3] / "examples" / "wireguard_peers.py"

WIREGUARD_GET, WIREGUARD_SET = 0, 1
TUNNELS, SESSIONS = 4, 8
PHYS, INTERFACES = 1, 5

SECRET, FIRST, SECOND = (b64encode(bytes([number]) * 32).decode() for number in (0x48, 2, 3))


def network(address: str) -> dict[str, Any]:
    """A /24 or /64 that a peer may use."""
    family, prefix = (socket.AF_INET6, 64) if ":" in address else (socket.AF_INET, 24)
    return {
        "attrs": [
            ("WGALLOWEDIP_A_FAMILY", family),
            ("WGALLOWEDIP_A_IPADDR", socket.inet_pton(family, address)),
            ("WGALLOWEDIP_A_CIDR_MASK", prefix),
        ]
    }


#: A device with two peers, one of which has an endpoint.
DEVICE = {
    "WGDEVICE_A_IFNAME": "wg0",
    "WGDEVICE_A_PRIVATE_KEY": SECRET,
    "WGDEVICE_A_LISTEN_PORT": 4711,
    "WGDEVICE_A_PEERS": [
        {
            "attrs": [
                ("WGPEER_A_PUBLIC_KEY", FIRST),
                ("WGPEER_A_ENDPOINT", {"addr": "127.0.0.1", "port": 4712}),
                ("WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL", 25),
                ("WGPEER_A_ALLOWEDIPS", [network("10.1.2.0"), network("fd00:1::")]),
            ]
        },
        {
            "attrs": [
                ("WGPEER_A_PUBLIC_KEY", SECOND),
                ("WGPEER_A_ALLOWEDIPS", [network("10.1.3.0")]),
            ]
        },
    ],
}


def coded(family: str, command: int, attributes: Any = ()) -> Any:
    """A request in pyroute2's words."""
    return nls.coded_request(family, command, attributes, codec=nls.pyroute2_codec(family, command))


@pytest.mark.usefixtures("network")
@on_every_surface
async def test_wireguard_answers_as_it_answers_pyroute2(surface: Surface) -> None:
    """A device is set up, read, and refused, in the codec's words; the example lists its peers."""
    from pyroute2 import WireGuard

    run("ip link add wg0 type wireguard")
    question = coded("wireguard", WIREGUARD_GET, {"WGDEVICE_A_IFNAME": "wg0"})

    def theirs() -> Any:
        with WireGuard() as sock:
            return [plain(one) for one in sock.info("wg0")]

    async with surface.open_generic() as genl:
        await genl.request(coded("wireguard", WIREGUARD_SET, DEVICE))
        ours = [plain(one) async for one in genl.dump(question)]
        assert ours == kernel.in_thread(theirs)
        nothing = coded("wireguard", WIREGUARD_GET, {"WGDEVICE_A_IFNAME": "nothing"})
        with pytest.raises(nls.KernelError, match="ENODEV"):
            async for _ in genl.dump(nothing):
                pass
    assert sorted(run(f"{sys.executable} {EXAMPLE} wg0").splitlines()) == [
        f"{FIRST} 10.1.2.0/24 fd00:1::/64",
        f"{SECOND} 10.1.3.0/24",
    ]


@pytest.mark.usefixtures("network")
@on_every_surface
async def test_l2tp_answers_as_it_answers_pyroute2(surface: Surface) -> None:
    """A tunnel, and a session in it: one of each, and all of them."""
    from pyroute2 import L2tp

    run("modprobe -a l2tp_netlink l2tp_eth")
    run(
        "ip l2tp add tunnel tunnel_id 7 peer_tunnel_id 8 encap udp "
        "local 127.0.0.1 remote 127.0.0.1 udp_sport 5000 udp_dport 5001"
    )
    run("ip l2tp add session tunnel_id 7 session_id 70 peer_session_id 80")

    def theirs() -> Any:
        with L2tp() as sock:
            return [
                plain(sock.get_tunnel(7)),
                plain(sock.get_session(7, 70)),
                [plain(one) for one in sock.dump_sessions()],
            ]

    session = {"L2TP_ATTR_CONN_ID": 7, "L2TP_ATTR_SESSION_ID": 70}
    async with surface.open_generic() as genl:
        ours = [
            plain(await genl.request(coded("l2tp", TUNNELS, {"L2TP_ATTR_CONN_ID": 7}))),
            plain(await genl.request(coded("l2tp", SESSIONS, session))),
            [plain(one) async for one in genl.dump(coded("l2tp", SESSIONS))],
        ]
        assert ours == kernel.in_thread(theirs)
        assert len(ours[2]) == 1
        # pyroute2's own dump of tunnels wants an argument that it does not pass on
        assert [plain(one) async for one in genl.dump(coded("l2tp", TUNNELS))] == ours[:1]
        with pytest.raises(nls.KernelError, match="ENODEV"):
            await genl.request(coded("l2tp", TUNNELS, {"L2TP_ATTR_CONN_ID": 9}))
        # operation 0 is one of its own, and not what newer kernels mean by 0
        policies = await genl.policies("l2tp")
        assert policies.keys() == {one.command for one in (await genl.family("l2tp")).operations}
        assert policies[0].do is not None
        assert policies[0].dump is None


@pytest.fixture(scope="module")
def _radios() -> Iterator[None]:
    """Two radios of the kernel's own."""
    run("modprobe mac80211_hwsim radios=2")
    yield
    run("modprobe -r mac80211_hwsim")


@pytest.mark.usefixtures("_radios")
@on_every_surface
async def test_nl80211_answers_as_it_answers_pyroute2(surface: Surface) -> None:
    """Two radios, whose descriptions are the largest messages that generic netlink has."""
    from pyroute2 import IW

    def theirs() -> Any:
        with IW() as sock:
            return [
                [plain(one) for one in sock.list_wiphy()],
                [plain(one) for one in sock.get_interfaces_dump()],
            ]

    async with surface.open_generic(netns=kernel.FIRST_NAMESPACE) as genl:
        ours = [
            [plain(one) async for one in genl.dump(coded("nl80211", PHYS))],
            [plain(one) async for one in genl.dump(coded("nl80211", INTERFACES))],
        ]
    assert ours == kernel.in_namespace(kernel.FIRST_NAMESPACE, theirs)
    assert len(ours[0]) == len(ours[1]) == 2
