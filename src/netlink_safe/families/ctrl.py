"""The controller of generic netlink: which families there are, and what they take.

From ``include/uapi/linux/genetlink.h``; ``net/netlink/genetlink.c`` answers.

May call ``protocol`` and ``wire``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs

from netlink_safe.errors import DecodeError, LocalProtocolError
from netlink_safe.protocol.generic import reader
from netlink_safe.protocol.request import Request
from netlink_safe.wire.attributes import U16, build_attribute, build_text, build_u32, is_name
from netlink_safe.wire.constants import NETLINK_GENERIC, NLM_F_DUMP
from netlink_safe.wire.generic import attributes_at, build_generic
from netlink_safe.wire.header import HEADER
from netlink_safe.wire.policy import AttributePolicy, parse_attribute_policy, parse_policies

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from netlink_safe.protocol.request import Row
    from netlink_safe.wire.attribute_path import Names
    from netlink_safe.wire.attributes import Attributes
    from netlink_safe.wire.generic import GenericMessage
    from netlink_safe.wire.policy import OperationPolicy

GENL_ID_CTRL: Final = 0x10
#: The controller's only multicast group, "notify", has the controller's number.
NOTIFY_GROUP: Final = 0x10
NAME: Final = "nlctrl"
VERSION: Final = 2
LONGEST_NAME: Final = 15
BYTE: Final = 0xFF

NEWFAMILY, DELFAMILY, GETFAMILY = 1, 2, 3
NEWMCAST_GRP, DELMCAST_GRP = 7, 8
GETPOLICY: Final = 10

FAMILY_ID, FAMILY_NAME, FAMILY_VERSION, HDRSIZE, MAXATTR, OPS, MCAST_GROUPS = range(1, 8)
POLICY, OP_POLICY, OP = 8, 9, 10
OP_ID, OP_FLAGS = 1, 2
GROUP_NAME, GROUP_ID = 1, 2
POLICY_DO, POLICY_DUMP = 1, 2

ADMIN_PERM, CAP_DO, CAP_DUMP, CAP_HASPOL, UNS_ADMIN_PERM = 0x01, 0x02, 0x04, 0x08, 0x10

NAMES: Final[Names] = {
    FAMILY_ID: ("CTRL_ATTR_FAMILY_ID", None),
    FAMILY_NAME: ("CTRL_ATTR_FAMILY_NAME", None),
    OP: ("CTRL_ATTR_OP", None),
}


@attrs.frozen(slots=True)
class Operation:
    """A command of a family, by its number, from 0 to 255, and what it can.

    ``can_do`` is asking for one thing or giving an order, ``can_dump`` asking for a table.
    ``has_policy`` says that the kernel checks its attributes by one, which ``policy`` tells.
    ``needs_admin`` says that it takes CAP_NET_ADMIN, in the first user namespace or, if
    ``needs_admin_here``, in the one that owns the network namespace (``net/netlink/genetlink.c``:
    genl_family_rcv_msg).
    """

    command: int
    can_do: bool
    can_dump: bool
    has_policy: bool
    needs_admin: bool
    needs_admin_here: bool


@attrs.frozen(slots=True)
class FamilyRecord:
    """A family as the controller describes it.

    ``id`` is the message type that it has now, from 16 on, and another one when it comes back;
    ``version`` its own.
    ``header_size`` is of the family's own header, in bytes; ``max_attribute`` the highest type that
    it takes in every operation, 0 where each has its own.  ``groups`` are the numbers of its
    multicast groups, by name.
    """

    name: str
    id: int
    version: int
    header_size: int
    max_attribute: int
    operations: tuple[Operation, ...]
    groups: Mapping[str, int]

    def operation(self, command: int) -> Operation | None:
        """What a command can; None where the family has none of that number."""
        return next((one for one in self.operations if one.command == command), None)

    def as_dict(self) -> dict[str, Any]:
        """The same as plain data."""
        return {
            "name": self.name,
            "id": self.id,
            "version": self.version,
            "header_size": self.header_size,
            "max_attribute": self.max_attribute,
            "operations": [attrs.asdict(operation) for operation in self.operations],
            "groups": dict(self.groups),
        }


@attrs.frozen(slots=True)
class PolicyPart:
    """One message of a policy dump: places of an operation's policies, or an attribute of one."""

    operations: Mapping[int, tuple[int | None, int | None]]
    attributes: tuple[tuple[int, int, AttributePolicy], ...]


def get_family(name: str) -> Request[FamilyRecord]:
    """Ask for a family by name; the kernel may load a module for it.

    Raises LocalProtocolError for what can be no name.
    """
    checked = checked_name(name)
    return _request(
        f"the generic netlink family {checked!r}",
        GETFAMILY,
        0,
        build_text(FAMILY_NAME, checked),
        parse_family,
    )


def get_family_of_number(number: int) -> Request[FamilyRecord]:
    """Ask for a family by number, for which the kernel loads nothing."""
    return _request(
        f"the generic netlink family {number}",
        GETFAMILY,
        0,
        build_attribute(FAMILY_ID, U16.pack(number)),
        parse_family,
    )


def get_families() -> Request[FamilyRecord]:
    """Ask for all families of the network namespace."""
    return _request("generic netlink families", GETFAMILY, NLM_F_DUMP, b"", parse_family)


def get_policy(family: str, command: int | None = None) -> Request[PolicyPart]:
    """Ask what a family takes, in one operation or in all (Linux 5.10 and newer)."""
    attributes = build_text(FAMILY_NAME, family)
    if command is not None:
        attributes += build_u32(OP, command)
    asked = "policies" if command is None else f"the policy of operation {command}"
    return _request(f"{asked} of {family}", GETPOLICY, NLM_F_DUMP, attributes, _parse_policy)


def joined(parts: list[PolicyPart]) -> dict[int, OperationPolicy]:
    """The policies that the messages of a dump come to, by operation."""
    places: dict[int, tuple[int | None, int | None]] = {}
    policies: dict[int, dict[int, AttributePolicy]] = {}
    for part in parts:
        places.update(part.operations)
        for place, type_, policy in part.attributes:
            policies.setdefault(place, {})[type_] = policy
    return parse_policies(policies, places)


def checked_name(name: str) -> str:
    """The name.  Raises LocalProtocolError for what can be none."""
    if not is_name(name, LONGEST_NAME):
        raise LocalProtocolError(
            f"family={name!r} is no name of a family: 1 to {LONGEST_NAME} bytes"
        )
    return name


def checked_command(command: int) -> int:
    """The command's number.  Raises LocalProtocolError for what can be none."""
    if isinstance(command, bool) or not isinstance(command, int) or not 0 <= command <= BYTE:
        raise LocalProtocolError(f"command={command!r} is no number from 0 to {BYTE}")
    return command


def parse_family(message: GenericMessage) -> FamilyRecord:
    """Read CTRL_CMD_NEWFAMILY, or the same in a notification.  Raises DecodeError."""
    said = message.attributes
    name, number = said.text(FAMILY_NAME), said.u16(FAMILY_ID)
    if name is None or number is None:
        raise DecodeError("a family without a name or a number", 0)
    operations, groups = said.nested(OPS), said.nested(MCAST_GROUPS)
    return FamilyRecord(
        name=name,
        id=number,
        version=said.u32(FAMILY_VERSION) or 0,
        header_size=said.u32(HDRSIZE) or 0,
        max_attribute=said.u32(MAXATTR) or 0,
        operations=tuple(map(_operation, [] if operations is None else operations.each_nested())),
        groups=dict(map(_group, [] if groups is None else groups.each_nested())),
    )


def tells_of(names: Collection[str], message: GenericMessage) -> bool:
    """Whether a notification of the controller says that one of the families has come or gone."""
    is_about_one = message.command in {NEWFAMILY, DELFAMILY}
    return is_about_one and message.attributes.text(FAMILY_NAME) in names


def _operation(numbered: tuple[int, Attributes]) -> Operation:
    _, said = numbered
    flags = said.u32(OP_FLAGS) or 0
    return Operation(
        command=said.u32(OP_ID) or 0,
        can_do=bool(flags & CAP_DO),
        can_dump=bool(flags & CAP_DUMP),
        has_policy=bool(flags & CAP_HASPOL),
        needs_admin=bool(flags & (ADMIN_PERM | UNS_ADMIN_PERM)),
        needs_admin_here=bool(flags & UNS_ADMIN_PERM),
    )


def _group(numbered: tuple[int, Attributes]) -> tuple[str, int]:
    _, said = numbered
    return said.text(GROUP_NAME) or "", said.u32(GROUP_ID) or 0


def _parse_policy(message: GenericMessage) -> PolicyPart:
    said = message.attributes
    places, policies = said.nested(OP_POLICY), said.nested(POLICY)
    operations = {
        command: (one.u32(POLICY_DO), one.u32(POLICY_DUMP))
        for command, one in (() if places is None else places.each_nested())
    }
    attributes = tuple(
        (place, type_, parse_attribute_policy(one))
        for place, policy in (() if policies is None else policies.each_nested())
        for type_, one in policy.each_nested()
    )
    return PolicyPart(operations, attributes)


def _request(
    name: str, command: int, flags: int, attributes: bytes, parse: Callable[[GenericMessage], Row]
) -> Request[Row]:
    return Request(
        name=name,
        protocol=NETLINK_GENERIC,
        type=GENL_ID_CTRL,
        flags=flags,
        payload=build_generic(command, VERSION, b"", attributes),
        row_type=GENL_ID_CTRL,
        row_minimum=HEADER.size + attributes_at(0),
        read=reader(parse, 0),
        may_stall=True,
        attributes_at=attributes_at(0),
        names=NAMES,
    )
