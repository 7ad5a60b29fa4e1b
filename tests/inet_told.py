"""Sockets of any protocol over IP, and what they and ss say of them."""

from __future__ import annotations

MPTCP, UDPLITE, SCTP = 262, 136, 132
