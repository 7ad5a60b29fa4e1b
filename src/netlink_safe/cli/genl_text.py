"""Families, policies and notifications as text for people, and notifications as plain data.

May call ``families``, ``protocol``, ``wire`` and ``cli.tables``.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from netlink_safe.cli.tables import printable, table
from netlink_safe.protocol.notices import Overrun

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from netlink_safe.families.ctrl import FamilyRecord, Operation
    from netlink_safe.protocol.generic import GenericReply
    from netlink_safe.wire.policy import AttributePolicy, OperationPolicy, Policy


#: Bounds that say no more than how wide a number is.
WHOLE: Final = frozenset(
    bounds
    for bits in (8, 16, 32, 64)
    for bounds in ((0, (1 << bits) - 1), (-(1 << bits - 1), (1 << bits - 1) - 1))
)


def families(found: Iterable[FamilyRecord]) -> str:
    """All of them, a line each."""
    heading = ("FAMILY", "ID", "VERSION", "HEADER", "OPERATIONS", "GROUPS")
    rows = [
        (one.name, one.id, one.version, one.header_size, len(one.operations), ", ".join(one.groups))
        for one in sorted(found, key=lambda one: one.name.lower())
    ]
    return table([heading, *rows])


def family(found: FamilyRecord) -> str:
    """One of them, with its operations and groups."""
    name, size = printable(found.name), found.header_size
    heading = f"{name}: id {found.id}, version {found.version}, header of {size} bytes"
    operations = [(one.command, _abilities(one), _rights(one)) for one in found.operations]
    groups = list(found.groups.items())
    blocks = [
        table([("OPERATION", "CAN", "TAKES"), *operations]) if operations else "no operation",
        table([("GROUP", "ID"), *groups]) if groups else "no multicast group",
    ]
    return "\n\n".join([heading, *blocks])


def _abilities(operation: Operation) -> str:
    able = (
        (operation.can_do, "do"),
        (operation.can_dump, "dump"),
        (operation.has_policy, "policy"),
    )
    return ", ".join(name for is_able, name in able if is_able) or "-"


def _rights(operation: Operation) -> str:
    if not operation.needs_admin:
        return ""
    return "CAP_NET_ADMIN" if operation.needs_admin_here else "CAP_NET_ADMIN of the machine"


def policies(name: str, found: Mapping[int, OperationPolicy]) -> str:
    """What each operation takes, nested as it is; operations that take the same together."""
    if not any(one.do is not None or one.dump is not None for one in found.values()):
        return f"the kernel tells no policy of {printable(name)}"
    blocks = []
    for command, one in sorted(found.items()):
        if one.do is not None:
            both = one.dump is not None and one.dump.as_dict() == one.do.as_dict()
            blocks.append(_block(f"operation {command}, do{' and dump' * both}", one.do))
            if both:
                continue
        if one.dump is not None:
            blocks.append(_block(f"operation {command}, dump", one.dump))
    return "\n\n".join(blocks)


def _block(heading: str, policy: Policy) -> str:
    lines = list(_lines(policy, "  ", (policy.index,)))
    return "\n".join([heading, *(lines or ["  takes no attribute"])])


def _lines(policy: Policy, indent: str, above: tuple[int, ...]) -> Iterator[str]:
    for type_, one in sorted(policy.items()):
        yield f"{indent}{type_:<4}{_described(one)}"
        inside = policy.nested(type_)
        if inside is None:
            continue
        if inside.index in above:
            yield f"{indent}    (as {above.index(inside.index) + 1} levels down from the top)"
        else:
            yield from _lines(inside, f"{indent}    ", (*above, inside.index))


def _described(one: AttributePolicy) -> str:
    words = [str(one.kind)]
    if one.minimum is not None and (one.minimum, one.maximum) not in WHOLE:
        words.append(f"{one.minimum} to {one.maximum}")
    if one.minimum_length is not None and one.minimum_length == one.maximum_length:
        words.append(f"{one.minimum_length} bytes")
    else:
        if one.minimum_length is not None:
            words.append(f"at least {one.minimum_length} bytes")
        if one.maximum_length is not None:
            words.append(f"at most {one.maximum_length} bytes")
    if one.mask is not None:
        words.append(f"bits of {one.mask:#x}")
    return ", ".join(words)


def notification(item: GenericReply | Overrun) -> str:
    """One line."""
    now = time.time()
    clock = f"{time.strftime('%H:%M:%S', time.localtime(now))}.{int(now * 1000) % 1000:03}"
    if isinstance(item, Overrun):
        lost = f"{item.drops} notifications were lost, the receive buffer overran"
        return f"{clock}  --- {lost if item.drops else item.unresynced}"
    header = f" header {item.header.hex()}" if item.header else ""
    return f"{clock}  command {item.command}{header}  {_spelled(item.values)}"


def _spelled(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_spelled(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_spelled, value)) + "]"
    if isinstance(value, bytes):
        text = value.removesuffix(b"\0").decode("ascii", "replace")
        is_text = len(text) > 1 and value.endswith(b"\0") and text.isprintable() and text.isascii()
        return repr(text) if is_text else value.hex() or "-"
    return printable(str(value))


def notification_as_dict(item: GenericReply | Overrun) -> dict[str, Any]:
    """One item as plain data; ``kind`` says which it is, and bytes are hexadecimal."""
    if isinstance(item, Overrun):
        return {"kind": "overrun", "drops": item.drops, "unresynced": item.unresynced}
    return {
        "kind": "notification",
        "command": item.command,
        "version": item.version,
        "header": item.header.hex(),
        "attributes": _plain(item.values),
    }


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return value.hex() if isinstance(value, bytes) else value
