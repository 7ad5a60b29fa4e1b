"""Requests to generic families that nobody has described here: by a codec, or by plain values.

May call ``protocol``, ``wire`` and ``errors``.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs

from netlink_safe.errors import LocalProtocolError
from netlink_safe.families import ctrl
from netlink_safe.families.ctrl import checked_command, checked_name
from netlink_safe.protocol.codec import decoded, encoded, names_of
from netlink_safe.protocol.generic import GenericReply, GenericRequest, RowsOf
from netlink_safe.protocol.notifications import FollowedFamily, NotificationReader
from netlink_safe.wire.generic import GENERIC, attributes_at

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from netlink_safe.protocol.codec import MessageCodec, NamedAttributes
    from netlink_safe.wire.generic import GenericMessage
    from netlink_safe.wire.policy import Policy
    from netlink_safe.wire.values import Value


def generic_request(
    family: str,
    command: int,
    attributes: Mapping[int, Value] | bytes = b"",
    *,
    header: bytes = b"",
    version: int | None = None,
    idempotent: bool = False,
) -> GenericRequest[GenericReply]:
    """A question, or an order, in plain values; what comes back is plain, too.

    ``attributes`` are plain values by type, whose widths and bounds are the kernel's own policy's,
    or bytes as they are; see ``wire.values``.
    ``header`` is the family's own, zeros unless given; ``version`` the family's unless given.
    ``idempotent`` says that it may be asked again where a reply was lost; a dump always may.
    Raises LocalProtocolError for nonsense; values are looked at when it is sent, with the policy.
    """
    if not isinstance(attributes, bytes | Mapping):
        raise LocalProtocolError(f"attributes={attributes!r} are neither bytes nor values by type")
    return GenericRequest(
        name=_name(family, command),
        family=checked_name(family),
        command=checked_command(command),
        attributes=attributes,
        header=header,
        version=_checked_version(version),
        read=GenericReply.read,
        idempotent=idempotent,
        wants_policy=True,
    )


def coded_request(
    family: str,
    command: int,
    attributes: NamedAttributes = (),
    *,
    codec: MessageCodec,
    reply: MessageCodec | None = None,
    version: int | None = None,
    idempotent: bool = False,
    **fields: Any,
) -> GenericRequest[Any]:
    """A question, or an order, that a codec builds and whose answers it reads.

    ``codec`` is a class such as pyroute2's ``wgmsg``; ``reply`` reads the answers where that is
    another one.  ``attributes`` are by the codec's names, in its values; ``fields`` are those that
    it has beside command and version.  What comes back are the codec's own messages.
    Raises LocalProtocolError for what the codec does not know or cannot encode.
    """
    payload = encoded(codec, checked_command(command), version or 1, attributes, **fields)
    form = "=" + "".join(field[1] for field in getattr(codec, "fields", ()))
    header_size = max(struct.calcsize(form) - GENERIC.size, 0)
    reading = reply or codec

    def read(message: GenericMessage, _policy: Policy | None) -> Any:
        return decoded(reading, message)

    return GenericRequest(
        name=_name(family, command),
        family=checked_name(family),
        command=command,
        attributes=payload[attributes_at(header_size) :],
        header=payload[GENERIC.size : GENERIC.size + header_size],
        version=_checked_version(version),
        read=read,
        idempotent=idempotent,
        names=names_of(codec),
    )


def following(
    family: str | None = None,
    groups: Iterable[str] | None = None,
    snapshot: GenericRequest[Any] | None = None,
    key: Callable[[Any], Hashable] | None = None,
    removals: Iterable[int] = (),
    codec: MessageCodec | None = None,
    commands: Iterable[int] | None = None,
) -> FollowedFamily:
    """Say which notifications are wanted; see ``subscribe``.  Raises LocalProtocolError."""
    if snapshot is not None:
        family = snapshot.family if family is None else family
        if snapshot.family != family:
            raise LocalProtocolError(
                f"the snapshot is of {snapshot.family}, and so tells nothing of {family}"
            )
        if snapshot.untold is not None:
            raise LocalProtocolError(f"{snapshot.name} cannot be followed: {snapshot.untold}")
        if (key is None) != (commands is None):
            raise LocalProtocolError(
                f"key= says what a row of {snapshot.name} is about, and commands= which "
                "notifications hold one: neither is of use without the other"
            )
        if key is not None:
            rows = RowsOf(
                key,
                removals=frozenset(map(checked_command, removals)),
                commands=frozenset(map(checked_command, commands or ())),
            )
            snapshot = attrs.evolve(snapshot, rows=rows)
        if snapshot.rows is None:
            raise LocalProtocolError(
                f"nothing tells the rows of {snapshot.name} apart: say key=, and which "
                "notifications hold rows, commands=, or end them, removals="
            )
    elif key is not None or commands is not None or removals:
        raise LocalProtocolError("key=, commands= and removals= are about the rows of a snapshot=")
    if family is None:
        raise LocalProtocolError("say which family, or give a snapshot= of one")
    name = checked_name(family)

    def read_plain(message: GenericMessage) -> Any:
        return GenericReply.read(message, None) if codec is None else decoded(codec, message)

    ground = None if snapshot is None or snapshot.rows is None else snapshot.rows.ground
    names = {name} if ground is None else {name, ground.family}
    return FollowedFamily(
        family=name,
        groups=_checked_groups(groups),
        controller_group=ctrl.NOTIFY_GROUP,
        snapshot=snapshot,
        new_reader=partial(
            NotificationReader,
            snapshot=snapshot,
            read_plain=read_plain,
            controller_id=ctrl.GENL_ID_CTRL,
            is_about=partial(ctrl.tells_of, names),
        ),
    )


def _checked_groups(groups: Iterable[str] | None) -> tuple[str, ...] | None:
    if groups is None:
        return None
    names = (groups,) if isinstance(groups, str) else tuple(groups)
    for name in names:
        if not isinstance(name, str):
            raise LocalProtocolError(f"group={name!r} is no name of a multicast group")
    return names


def _name(family: str, command: int) -> str:
    return f"operation {command} of {family}"


def _checked_version(version: int | None) -> int | None:
    if version is None or (isinstance(version, int) and 0 <= version <= ctrl.BYTE):
        return version
    raise LocalProtocolError(f"version={version!r} is no number from 0 to {ctrl.BYTE}")
