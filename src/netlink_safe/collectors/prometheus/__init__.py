"""Collectors for prometheus_client: TCP sockets, and what the library's own sockets have seen.

May call ``blocking``, ``collectors``, ``transport``, ``families``, ``protocol``, ``errors`` and
prometheus_client.
"""

from netlink_safe.collectors.prometheus.own import NetlinkSelfCollector
from netlink_safe.collectors.prometheus.tcp import TcpStatCollector

__all__ = ["NetlinkSelfCollector", "TcpStatCollector"]
