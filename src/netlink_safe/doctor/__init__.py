"""What is wrong with netlink on this machine: everyone's sockets, looked at from outside.

``examine`` looks several times, and gives findings: each with its severity, the evidence, what it
leads to, and what mends it.

May call ``aio``, ``blocking``, ``transport``, ``families``, ``protocol``, ``wire`` and ``errors``.
"""

from netlink_safe.doctor.examination import examine, examine_blocking
from netlink_safe.doctor.observation import LOOKS, SeenSocket
from netlink_safe.doctor.report import Finding, FindingKind, Report, Severity

__all__ = [
    "LOOKS",
    "Finding",
    "FindingKind",
    "Report",
    "SeenSocket",
    "Severity",
    "examine",
    "examine_blocking",
]
