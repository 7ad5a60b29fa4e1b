"""netlink_safe: Linux netlink with a deadline on every wait.

This is the async surface, for trio and for asyncio (by anyio); ``netlink_safe.blocking`` has the
same names without ``async``.  Nothing is imported before it is used.

====================  ==========================================================================
``netlink_safe``      ``open_sock_diag`` and the requests for it, ``open_uevents``, ``open_user``,
                      ``Outbox``, ``watch_lock``, ``open_generic``, ``open_route``, ``delete_link``,
                      errors
``.families``         typed families: ``ethtool``, ``ovs``, ``link``
``.blocking``         the same for blocking code, without an event loop
``.collectors``       ``tcpstat``: TCP sockets counted by state, the example of correct use
``.doctor``           ``examine``: what is wrong with everyone's netlink sockets
``.lowlevel``         engines, datagrams and sockets, for who builds something of their own
``.errors``           every error, on one screen
====================  ==========================================================================

Behind them, each calling only what stands to its right::

    cli -> collectors, doctor -> aio | blocking -> transport, families -> protocol -> wire -> errors
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from netlink_safe._names import HOME_OF, load
from netlink_safe._version import __version__

if TYPE_CHECKING:
    from netlink_safe.aio.generic import Family as Family
    from netlink_safe.aio.generic import GenericNetlink as GenericNetlink
    from netlink_safe.aio.generic import open_generic as open_generic
    from netlink_safe.aio.outbox import Outbox as Outbox
    from netlink_safe.aio.requests import Dump as Dump
    from netlink_safe.aio.route import Route as Route
    from netlink_safe.aio.route import delete_link as delete_link
    from netlink_safe.aio.route import open_route as open_route
    from netlink_safe.aio.sock_diag import SockDiag as SockDiag
    from netlink_safe.aio.sock_diag import open_sock_diag as open_sock_diag
    from netlink_safe.aio.streams import Subscription as Subscription
    from netlink_safe.aio.uevents import Uevents as Uevents
    from netlink_safe.aio.uevents import open_uevents as open_uevents
    from netlink_safe.aio.user import User as User
    from netlink_safe.aio.user import open_user as open_user
    from netlink_safe.errors import BusyError as BusyError
    from netlink_safe.errors import ClosedError as ClosedError
    from netlink_safe.errors import DecodeError as DecodeError
    from netlink_safe.errors import DumpInterrupted as DumpInterrupted
    from netlink_safe.errors import ExtendedAck as ExtendedAck
    from netlink_safe.errors import FamilyNotFound as FamilyNotFound
    from netlink_safe.errors import FilterSyntaxError as FilterSyntaxError
    from netlink_safe.errors import InconsistentError as InconsistentError
    from netlink_safe.errors import KernelError as KernelError
    from netlink_safe.errors import LinkInUseError as LinkInUseError
    from netlink_safe.errors import LocalProtocolError as LocalProtocolError
    from netlink_safe.errors import LockHeldError as LockHeldError
    from netlink_safe.errors import NetlinkError as NetlinkError
    from netlink_safe.errors import NetlinkTimeout as NetlinkTimeout
    from netlink_safe.errors import NoSuchPeer as NoSuchPeer
    from netlink_safe.errors import NotSupported as NotSupported
    from netlink_safe.errors import OutboxFull as OutboxFull
    from netlink_safe.errors import OverrunError as OverrunError
    from netlink_safe.errors import PeerQueueFull as PeerQueueFull
    from netlink_safe.errors import RemoteProtocolError as RemoteProtocolError
    from netlink_safe.errors import TruncatedError as TruncatedError
    from netlink_safe.families.ctrl import Operation as Operation
    from netlink_safe.families.filter_conditions import Address as Address
    from netlink_safe.families.filter_conditions import Cgroup as Cgroup
    from netlink_safe.families.filter_conditions import Interface as Interface
    from netlink_safe.families.filter_conditions import Mark as Mark
    from netlink_safe.families.filter_conditions import Port as Port
    from netlink_safe.families.filter_text import parse_filter as parse_filter
    from netlink_safe.families.filters import AllOf as AllOf
    from netlink_safe.families.filters import AnyOf as AnyOf
    from netlink_safe.families.filters import Filter as Filter
    from netlink_safe.families.filters import Not as Not
    from netlink_safe.families.generic import coded_request as coded_request
    from netlink_safe.families.generic import generic_request as generic_request
    from netlink_safe.families.inet_diag import AddressFamily as AddressFamily
    from netlink_safe.families.inet_diag import Extension as Extension
    from netlink_safe.families.inet_diag import SctpState as SctpState
    from netlink_safe.families.inet_diag import Shutdown as Shutdown
    from netlink_safe.families.inet_diag import TcpState as TcpState
    from netlink_safe.families.inet_diag import Timer as Timer
    from netlink_safe.families.inet_rows import MptcpSocket as MptcpSocket
    from netlink_safe.families.inet_rows import RawSocket as RawSocket
    from netlink_safe.families.inet_rows import SctpSocket as SctpSocket
    from netlink_safe.families.inet_rows import TcpSocket as TcpSocket
    from netlink_safe.families.inet_rows import UdpliteSocket as UdpliteSocket
    from netlink_safe.families.inet_rows import UdpSocket as UdpSocket
    from netlink_safe.families.inet_socket import Endpoint as Endpoint
    from netlink_safe.families.inet_socket import InetSocket as InetSocket
    from netlink_safe.families.link import Link as Link
    from netlink_safe.families.link import link as link
    from netlink_safe.families.link import links as links
    from netlink_safe.families.link import set_link as set_link
    from netlink_safe.families.mptcp import mptcp_sockets as mptcp_sockets
    from netlink_safe.families.mptcp_info import MptcpFlags as MptcpFlags
    from netlink_safe.families.mptcp_info import MptcpInfo as MptcpInfo
    from netlink_safe.families.mptcp_info import MptcpSubflow as MptcpSubflow
    from netlink_safe.families.mptcp_info import SubflowFlags as SubflowFlags
    from netlink_safe.families.netlink import NetlinkFlags as NetlinkFlags
    from netlink_safe.families.netlink import NetlinkProtocol as NetlinkProtocol
    from netlink_safe.families.netlink import NetlinkSocket as NetlinkSocket
    from netlink_safe.families.netlink import netlink_sockets as netlink_sockets
    from netlink_safe.families.packet import FanoutType as FanoutType
    from netlink_safe.families.packet import MembershipType as MembershipType
    from netlink_safe.families.packet import PacketFanout as PacketFanout
    from netlink_safe.families.packet import PacketFlags as PacketFlags
    from netlink_safe.families.packet import PacketMembership as PacketMembership
    from netlink_safe.families.packet import PacketRing as PacketRing
    from netlink_safe.families.packet import PacketSocket as PacketSocket
    from netlink_safe.families.packet import TpacketVersion as TpacketVersion
    from netlink_safe.families.packet import packet_sockets as packet_sockets
    from netlink_safe.families.raw import raw_sockets as raw_sockets
    from netlink_safe.families.sctp import sctp_sockets as sctp_sockets
    from netlink_safe.families.sock_diag import AcceptQueue as AcceptQueue
    from netlink_safe.families.sock_diag import SocketMemory as SocketMemory
    from netlink_safe.families.sock_diag import SocketType as SocketType
    from netlink_safe.families.tcp import tcp_socket as tcp_socket
    from netlink_safe.families.tcp import tcp_sockets as tcp_sockets
    from netlink_safe.families.tcp_info import TcpInfo as TcpInfo
    from netlink_safe.families.udp import udp_socket as udp_socket
    from netlink_safe.families.udp import udp_sockets as udp_sockets
    from netlink_safe.families.udp import udplite_sockets as udplite_sockets
    from netlink_safe.families.uevent import Origin as Origin
    from netlink_safe.families.uevent import Uevent as Uevent
    from netlink_safe.families.uevent_match import UeventMatch as UeventMatch
    from netlink_safe.families.unix import UnixFile as UnixFile
    from netlink_safe.families.unix import UnixSocket as UnixSocket
    from netlink_safe.families.unix import unix_socket as unix_socket
    from netlink_safe.families.unix import unix_sockets as unix_sockets
    from netlink_safe.families.vsock import VsockEndpoint as VsockEndpoint
    from netlink_safe.families.vsock import VsockSocket as VsockSocket
    from netlink_safe.families.vsock import vsock_sockets as vsock_sockets
    from netlink_safe.protocol.codec import CodedMessage as CodedMessage
    from netlink_safe.protocol.codec import MessageCodec as MessageCodec
    from netlink_safe.protocol.figures import NotificationStatistics as NotificationStatistics
    from netlink_safe.protocol.figures import OutboxStatistics as OutboxStatistics
    from netlink_safe.protocol.figures import UeventStatistics as UeventStatistics
    from netlink_safe.protocol.figures import UserStatistics as UserStatistics
    from netlink_safe.protocol.generic import AnsweredRequest as AnsweredRequest
    from netlink_safe.protocol.generic import GenericReply as GenericReply
    from netlink_safe.protocol.generic import GenericRequest as GenericRequest
    from netlink_safe.protocol.generic import RowsOf as RowsOf
    from netlink_safe.protocol.message import Undelivered as Undelivered
    from netlink_safe.protocol.message import UserMessage as UserMessage
    from netlink_safe.protocol.message import message as message
    from netlink_safe.protocol.notices import Added as Added
    from netlink_safe.protocol.notices import Changed as Changed
    from netlink_safe.protocol.notices import Overrun as Overrun
    from netlink_safe.protocol.notices import Removed as Removed
    from netlink_safe.protocol.notices import Resynced as Resynced
    from netlink_safe.protocol.statistics import SocketStatistics as SocketStatistics
    from netlink_safe.transport.locks import LockHeldWarning as LockHeldWarning
    from netlink_safe.transport.locks import no_waiting as no_waiting
    from netlink_safe.transport.watched import watch_lock as watch_lock
    from netlink_safe.wire.generic import GenericMessage as GenericMessage
    from netlink_safe.wire.policy import AttributeKind as AttributeKind
    from netlink_safe.wire.policy import AttributePolicy as AttributePolicy
    from netlink_safe.wire.policy import OperationPolicy as OperationPolicy
    from netlink_safe.wire.policy import Policy as Policy
    from netlink_safe.wire.pyroute2 import pyroute2_codec as pyroute2_codec

_HOME_OF = {
    **HOME_OF,
    "Dump": "aio.requests",
    "Family": "aio.generic",
    "GenericNetlink": "aio.generic",
    "Subscription": "aio.streams",
    "open_generic": "aio.generic",
    "Outbox": "aio.outbox",
    "Route": "aio.route",
    "delete_link": "aio.route",
    "open_route": "aio.route",
    "SockDiag": "aio.sock_diag",
    "Uevents": "aio.uevents",
    "open_sock_diag": "aio.sock_diag",
    "User": "aio.user",
    "open_uevents": "aio.uevents",
    "open_user": "aio.user",
}

__all__ = ["__version__", *sorted(_HOME_OF)]


def __getattr__(name: str) -> object:
    value = globals()[name] = load(name, _HOME_OF, __name__)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF})
