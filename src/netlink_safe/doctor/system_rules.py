"""What the machine is set up for: Open vSwitch ports with a far end, and the kernel's limits.

May call ``doctor.observation`` and ``doctor.report``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from netlink_safe.doctor.report import Finding, FindingKind, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from netlink_safe.doctor.observation import Observation

#: What the kernel itself begins with, in bytes (net/core/sock.c: SK_RMEM_MAX), and what
#: each limit decides.
USUAL: Final = 212_992
DECIDES: Final = {
    "net/core/rmem_max": "SO_RCVBUF is cut to it without a word",
    "net/core/rmem_default": "a netlink socket has it that does not ask for more",
}


def ports_with_a_far_end(seen: Observation) -> Iterator[Finding]:
    """Ports that go when somebody deletes another network namespace."""
    for port in seen.ports:
        where = "" if port.netns is None else f" in the network namespace {port.netns}"
        datapath = f" of {port.datapath}" if port.datapath else ""
        link = port.link
        what = f"{link.name} (index {link.index}) is a {link.kind} and a port{datapath}"
        yield Finding(
            kind=FindingKind.OPENVSWITCH_PORT,
            severity=Severity.WARNING,
            summary=(
                f"{port.link.name}{where} is a port of Open vSwitch, and its other end lives in "
                f"the network namespace {port.peer_netns}"
            ),
            evidence=(f"{what}; its peer is link {port.link.peer} of {port.peer_netns}",),
            leads_to=(
                "deleting that namespace deletes both ends and pulls the port: under traffic some "
                "kernels then spin in skb_tx_hash for ever"
            ),
            mend=(
                f"take the port out first: ovs-vsctl del-port {port.link.name}, or "
                f"netlink-safe link delete --detach {port.link.name}"
            ),
            netns=port.netns,
        )


def limits(seen: Observation) -> Iterator[Finding]:
    """Limits below what the kernel begins with."""
    for name, decides in DECIDES.items():
        value = seen.settings.get(name, USUAL)
        if value < USUAL:
            dotted = name.replace("/", ".")
            yield Finding(
                kind=FindingKind.KERNEL_LIMIT,
                severity=Severity.WARNING,
                summary=f"{dotted} is {value:,}, less than the kernel's own {USUAL:,}",
                evidence=(f"{dotted} = {value}: {decides}",),
                leads_to="sockets with less than they asked for lose events in a burst",
                mend=f"sysctl -w {dotted}={USUAL}, and the same in a file in /etc/sysctl.d",
            )
