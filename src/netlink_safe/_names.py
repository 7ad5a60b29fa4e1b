"""The public names that are of no one surface, and where each lives; loaded when asked for.

Imports nothing of ours but what it is asked for, so that naming an error loads no event loop.
"""

from __future__ import annotations

from typing import Final

_HOMES: Final[dict[str, tuple[str, ...]]] = {
    "errors": (
        "BusyError",
        "ClosedError",
        "DecodeError",
        "DumpInterrupted",
        "ExtendedAck",
        "FamilyNotFound",
        "FilterSyntaxError",
        "InconsistentError",
        "KernelError",
        "LinkInUseError",
        "LocalProtocolError",
        "LockHeldError",
        "NetlinkError",
        "NetlinkTimeout",
        "NoSuchPeer",
        "NotSupported",
        "OutboxFull",
        "OverrunError",
        "PeerQueueFull",
        "RemoteProtocolError",
        "TruncatedError",
    ),
    "families.ctrl": ("Operation",),
    "families.filter_text": ("parse_filter",),
    "families.filter_conditions": ("Address", "Cgroup", "Interface", "Mark", "Port"),
    "families.filters": ("AllOf", "AnyOf", "Filter", "Not"),
    "families.generic": ("coded_request", "generic_request"),
    "families.inet_diag": (
        "AddressFamily",
        "Extension",
        "SctpState",
        "Shutdown",
        "TcpState",
        "Timer",
    ),
    "families.inet_rows": (
        "MptcpSocket",
        "RawSocket",
        "SctpSocket",
        "TcpSocket",
        "UdpSocket",
        "UdpliteSocket",
    ),
    "families.inet_socket": ("Endpoint", "InetSocket"),
    "families.link": ("Link", "link", "links", "set_link"),
    "families.netlink": ("NetlinkFlags", "NetlinkProtocol", "NetlinkSocket", "netlink_sockets"),
    "families.packet": (
        "FanoutType",
        "MembershipType",
        "PacketFanout",
        "PacketFlags",
        "PacketMembership",
        "PacketRing",
        "PacketSocket",
        "TpacketVersion",
        "packet_sockets",
    ),
    "families.sock_diag": ("AcceptQueue", "SocketMemory", "SocketType"),
    "families.mptcp": ("mptcp_sockets",),
    "families.mptcp_info": ("MptcpFlags", "MptcpInfo", "MptcpSubflow", "SubflowFlags"),
    "families.raw": ("raw_sockets",),
    "families.sctp": ("sctp_sockets",),
    "families.tcp": ("tcp_socket", "tcp_sockets"),
    "families.tcp_info": ("TcpInfo",),
    "families.udp": ("udp_socket", "udp_sockets", "udplite_sockets"),
    "families.uevent": ("Origin", "Uevent"),
    "families.uevent_match": ("UeventMatch",),
    "families.unix": ("UnixFile", "UnixSocket", "unix_socket", "unix_sockets"),
    "families.vsock": ("VsockEndpoint", "VsockSocket", "vsock_sockets"),
    "protocol.codec": ("CodedMessage", "MessageCodec"),
    "protocol.generic": ("AnsweredRequest", "GenericReply", "GenericRequest", "RowsOf"),
    "protocol.message": ("Undelivered", "UserMessage", "message"),
    "protocol.notices": ("Added", "Changed", "Overrun", "Removed", "Resynced"),
    "transport.locks": ("LockHeldWarning", "no_waiting"),
    "transport.watched": ("watch_lock",),
    "wire.generic": ("GenericMessage",),
    "wire.policy": ("AttributeKind", "AttributePolicy", "OperationPolicy", "Policy"),
    "wire.pyroute2": ("pyroute2_codec",),
    "protocol.figures": (
        "NotificationStatistics",
        "OutboxStatistics",
        "UeventStatistics",
        "UserStatistics",
    ),
    "protocol.statistics": ("SocketStatistics",),
}

HOME_OF: Final[dict[str, str]] = {name: home for home, names in _HOMES.items() for name in names}


def load(name: str, home_of: dict[str, str], asker: str) -> object:
    """What a module of the table holds under the name, for the ``__getattr__`` of a package."""
    from importlib import import_module

    if name not in home_of:
        raise AttributeError(f"module {asker!r} has no attribute {name!r}")
    return getattr(import_module(f"netlink_safe.{home_of[name]}"), name)
