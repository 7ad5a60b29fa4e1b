"""The doctor and ports of Open vSwitch that another network namespace would take along."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from netlink_safe.doctor import FindingKind, Severity
from netlink_safe.families import ovs
from surfaces import Surface, on_every_surface
from vm.guest.openvswitch import DATAPATH, datapath
from vm.guest.shell import run

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.usefixtures("network")


@pytest.fixture
def _blue() -> Iterator[None]:
    """A network namespace of this name, gone behind the test."""
    run("ip netns add blue")
    yield
    run("ip netns del blue")


@pytest.mark.usefixtures("_blue")
@on_every_surface
async def test_a_port_whose_peer_lives_elsewhere_is_found(surface: Surface) -> None:
    """With the datapath, the other namespace and the command that helps; one at home is none."""
    run("ip link add veth0 type veth peer name veth1 netns blue")
    run("ip link add veth2 type veth peer name veth3")
    async with datapath(surface) as (genl, made):
        for name in ("veth0", "veth2"):
            await genl.request(ovs.new_vport(made, name))
        report = await surface.examine(interval=0.05, timeout=60)
        (found,) = [one for one in report if one.kind is FindingKind.OPENVSWITCH_PORT]
        for name in ("veth0", "veth2"):
            await genl.request(ovs.delete_vport(name))
    assert found.severity is Severity.WARNING
    assert found.summary == (
        "veth0 is a port of Open vSwitch, and its other end lives in the network namespace blue"
    )
    assert "skb_tx_hash" in found.leads_to
    assert "netlink-safe link delete --detach veth0" in found.mend
    assert DATAPATH in found.evidence[0] or "ovs-system" in found.evidence[0]
    run("ip link del veth0")
    run("ip link del veth2")
