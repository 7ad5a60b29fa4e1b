"""Sockets as lines for people, each kind in its own words.

May call ``families``, ``cli.sockets_found`` and ``cli.tables``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from netlink_safe.cli.tables import table
from netlink_safe.families.inet_socket import Endpoint, InetSocket
from netlink_safe.families.mptcp_info import MptcpInfo
from netlink_safe.families.netlink import NetlinkSocket
from netlink_safe.families.packet import PacketSocket
from netlink_safe.families.tcp_info import TcpInfo
from netlink_safe.families.unix import UnixSocket

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from netlink_safe.cli.sockets_found import Shown

_ANY: Final = "*"
_SHORT_COMMAND: Final = 40
_ETHERTYPES: Final = {0x0003: "all", 0x0800: "ipv4", 0x0806: "arp", 0x86DD: "ipv6", 0: "none"}


def listing(found: Sequence[Shown], interfaces: Mapping[int, str], with_info: bool) -> str:
    """All of them, a line each, below a heading."""
    with_processes = any(one.processes is not None for one in found)
    return table(
        [
            heading(with_processes, with_info),
            *(cells(one, interfaces, with_processes, with_info) for one in found),
        ]
    )


def heading(with_processes: bool, with_info: bool) -> tuple[str, ...]:
    """The names of the columns."""
    more = ("PROCESS",) * with_processes + ("INFO",) * with_info
    return ("KIND", "STATE", "RECV-Q", "SEND-Q", "LOCAL", "PEER", *more)


def cells(
    one: Shown, interfaces: Mapping[int, str], with_processes: bool, with_info: bool
) -> tuple[object, ...]:
    """One socket's line."""
    row = one.row
    state = getattr(row, "state", None)  # once: a row of inet_diag reads it when it is asked
    named = "-" if state is None else str(state).lower()
    line: list[object] = [one.kind, named, *_queues(row), *_ends(row, interfaces)]
    if with_processes:
        line.append(_processes(one))
    if with_info:
        line.append(_info(row))
    return tuple(line)


def _queues(row: Any) -> tuple[object, object]:
    if isinstance(row, InetSocket | UnixSocket):
        return row.receive_queue, row.transmit_queue
    memory = getattr(row, "memory", None)
    return ("-", "-") if memory is None else (memory.receive, memory.transmit)


def _ends(row: Any, interfaces: Mapping[int, str]) -> tuple[str, str]:
    if isinstance(row, InetSocket):
        index = row.interface
        bound = f"%{_interface(index, interfaces)}" if index else ""
        return _endpoint(row.source, bound), _endpoint(row.destination)
    if isinstance(row, UnixSocket):
        return f"{row.path or _ANY} {row.inode}", _ANY if row.peer is None else f"{_ANY} {row.peer}"
    if isinstance(row, NetlinkSocket):
        groups = f" groups {','.join(map(str, sorted(row.groups)))}" if row.groups else ""
        own = "kernel" if row.is_kernel else str(row.port_id)
        peer = row.destination_port_id or row.destination_group
        return f"{row.protocol}:{own}{groups}", f"{row.destination_port_id}" if peer else _ANY
    if isinstance(row, PacketSocket):
        protocol = _ETHERTYPES.get(row.protocol, f"{row.protocol:#06x}")
        interface = _interface(row.interface, interfaces) if row.interface else _ANY
        return f"{protocol}:{interface}", _ANY
    return str(row.source), str(row.destination)


def _endpoint(end: Endpoint, bound: str = "") -> str:
    address = f"[{end.address}]" if ":" in end.address else end.address
    return f"{address}{bound}:{end.port or _ANY}"


def _interface(index: int, interfaces: Mapping[int, str]) -> str:
    return interfaces.get(index, str(index))


def _processes(one: Shown) -> str:
    held = one.processes or ()
    texts = [f"{pid} {command[:_SHORT_COMMAND]}" for pid, command in held[:1]]
    if len(held) > 1:
        texts.append(f"and {len(held) - 1} more")
    return " ".join(texts) or "-"


def _info(row: Any) -> str:
    info = getattr(row, "info", None)
    told: list[str] = []
    if isinstance(info, TcpInfo):
        told += _tcp(info)
    elif isinstance(info, MptcpInfo):
        told += _mptcp(info)
    memory = getattr(row, "socket_memory", None) or getattr(row, "memory", None)
    if memory is not None and hasattr(memory, "receive_buffer"):
        told.append(
            f"memory {memory.receive} of {memory.receive_buffer}, {memory.transmit} of "
            f"{memory.send_buffer}, drops {memory.drops}"
        )
    return ", ".join(told)


def _tcp(info: TcpInfo) -> list[str]:
    """Times in milliseconds, rates in bytes a second."""
    if not info.rtt:
        return []
    told = [
        f"rtt {info.rtt / 1000:.3g} ms",
        f"cwnd {info.snd_cwnd}",
        f"retransmitted {info.total_retrans}",
    ]
    if info.bytes_acked is not None:
        told.append(f"sent {info.bytes_acked}, received {info.bytes_received}")
    if info.delivery_rate:
        told.append(f"{info.delivery_rate} B/s")
    return told


def _mptcp(info: MptcpInfo) -> list[str]:
    """What there is of bytes and retransmissions, the kernel tells from Linux 6.5 on."""
    if not info.token:
        return []
    told = [f"token {info.token:#x}"]
    if info.subflows_total is not None:
        told.append(f"{info.subflows_total} subflows")
    if info.retransmits is not None:
        told.append(f"retransmitted {info.retransmits}")
        told.append(f"sent {info.bytes_acked}, received {info.bytes_received}")
    return told
