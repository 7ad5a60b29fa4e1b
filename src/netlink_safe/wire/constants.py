"""The kernel's numbers, under the kernel's names.

From include/uapi/linux/netlink.h and include/linux/socket.h.  Data only; imports nothing of ours.
"""

from __future__ import annotations

from typing import Final

NETLINK_ROUTE: Final = 0
NETLINK_USERSOCK: Final = 2
NETLINK_SOCK_DIAG: Final = 4
NETLINK_GENERIC: Final = 16

NLMSG_NOOP: Final = 1
NLMSG_ERROR: Final = 2
NLMSG_DONE: Final = 3
NLMSG_OVERRUN: Final = 4
NLMSG_MIN_TYPE: Final = 0x10

NLM_F_REQUEST: Final = 0x01
NLM_F_MULTI: Final = 0x02
NLM_F_ACK: Final = 0x04
NLM_F_ECHO: Final = 0x08
NLM_F_DUMP_INTR: Final = 0x10
NLM_F_DUMP: Final = 0x300
NLM_F_CAPPED: Final = 0x100
NLM_F_ACK_TLVS: Final = 0x200

NLMSGERR_ATTR_MSG: Final = 1
NLMSGERR_ATTR_OFFS: Final = 2
NLMSGERR_ATTR_COOKIE: Final = 3
NLMSGERR_ATTR_POLICY: Final = 4
NLMSGERR_ATTR_MISS_TYPE: Final = 5
NLMSGERR_ATTR_MISS_NEST: Final = 6

NLA_F_NESTED: Final = 0x8000
NLA_TYPE_MASK: Final = 0x3FFF

SOL_NETLINK: Final = 270
NETLINK_ADD_MEMBERSHIP: Final = 1
NETLINK_CAP_ACK: Final = 10
NETLINK_EXT_ACK: Final = 11
NETLINK_GET_STRICT_CHK: Final = 12

NETLINK_KOBJECT_UEVENT: Final = 15
