"""Requests to generic families that nobody has described here: by a codec, or by plain values.

May call ``protocol``, ``wire`` and ``errors``.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs

from netlink_safe.errors import DecodeError, LocalProtocolError
from netlink_safe.families import ctrl
from netlink_safe.families.ctrl import checked_command, checked_name
from netlink_safe.protocol.arguments import check_truth
from netlink_safe.protocol.codec import checked_codec, decoded, encoded, names_of
from netlink_safe.protocol.generic import GenericReply, GenericRequest, RowsOf, checked_table
from netlink_safe.protocol.notifications import FollowedFamily, NotificationReader
from netlink_safe.wire.generic import GENERIC, attributes_at

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

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

    ``family`` is a name, of 1 to 15 bytes, ``command`` a number from 0 to 255.
    ``attributes`` are plain values by type, whose widths and bounds are the kernel's own policy's,
    or bytes as they are: an int, a str, True for a flag, bytes, a mapping of what is nested, a list
    of what stands there several times, (value, selector) for a bit field; None is left out.
    ``header`` is the family's own, zeros unless given; ``version`` the family's unless given, a
    number from 0 to 255.
    ``idempotent`` says that it may be asked again where a reply was lost; a dump always may.
    Raises LocalProtocolError for nonsense; values and the header's length are looked at when it is
    sent, with the policy.
    """
    if not isinstance(attributes, bytes | Mapping):
        raise LocalProtocolError(f"attributes={attributes!r} are neither bytes nor values by type")
    if not isinstance(header, bytes):
        raise LocalProtocolError(f"header={header!r} is no bytes")
    check_truth(idempotent=idempotent)
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

    ``family`` is a name, of 1 to 15 bytes, ``command`` and ``version`` are numbers from 0 to 255;
    the family's own version stands in the header unless one is given.
    ``codec`` is a class such as pyroute2's ``wgmsg``; ``reply`` reads the answers where that is
    another one.  ``attributes`` are by the codec's names, in its values; ``fields`` are those that
    it has beside command and version.  What comes back are the codec's own messages.
    ``idempotent`` says that it may be asked again where a reply was lost; a dump always may.
    Raises LocalProtocolError for what is no codec, what the codec does not know or cannot encode,
    and for no name and no number; an answer that it cannot read is a DecodeError.
    """
    check_truth(idempotent=idempotent)
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
    held = None if commands is None else _checked_commands("commands", commands)
    gone = _checked_commands("removals", removals)
    if snapshot is not None:
        if codec is not None:
            raise LocalProtocolError(
                "codec= is for notifications alone; a snapshot= reads its rows by itself: make it "
                "by coded_request() for a codec to read them"
            )
        table = checked_table(snapshot)
        family = table.family if family is None else family
        if table.family != family:
            raise LocalProtocolError(
                f"the snapshot is of {table.family}, and so tells nothing of {family}"
            )
        snapshot = _with_rows(table, key, held, gone)
    elif key is not None or held is not None or gone:
        raise LocalProtocolError("key=, commands= and removals= are about the rows of a snapshot=")
    if family is None:
        raise LocalProtocolError("say which family, or give a snapshot= of one")
    if codec is not None:
        checked_codec(codec)
    name = checked_name(family)

    def read_plain(message: GenericMessage) -> Any:
        if codec is not None:
            with contextlib.suppress(DecodeError):  # a family tells more than one codec may know
                return decoded(codec, message)
        return GenericReply.read(message, None)

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


def _with_rows(
    snapshot: GenericRequest[Any],
    key: Callable[[Any], Hashable] | None,
    commands: frozenset[int] | None,
    removals: frozenset[int],
) -> GenericRequest[Any]:
    """The snapshot, its rows told apart.  Raises LocalProtocolError where nothing does that."""
    if snapshot.untold is not None:
        raise LocalProtocolError(f"{snapshot.name} cannot be followed: {snapshot.untold}")
    if key is not None and not callable(key):
        raise LocalProtocolError(f"key={key!r} is no function of a row")
    if (key is None) != (commands is None) or (key is None and removals):
        raise LocalProtocolError(
            f"key= says what a row of {snapshot.name} is about, and commands= which notifications "
            "hold one, removals= which of them end it: none is of use without the others"
        )
    if key is not None:
        return attrs.evolve(snapshot, rows=RowsOf(key, removals=removals, commands=commands))
    if snapshot.rows is None:
        raise LocalProtocolError(
            f"nothing tells the rows of {snapshot.name} apart: say key=, and which notifications "
            "hold rows, commands=, or end them, removals="
        )
    return snapshot


def _checked_commands(name: str, commands: Iterable[int]) -> frozenset[int]:
    if not isinstance(commands, Iterable):
        raise LocalProtocolError(f"{name}={commands!r} are no commands; give a list of numbers")
    return frozenset(map(checked_command, commands))


def _checked_groups(groups: Iterable[str] | None) -> tuple[str, ...] | None:
    if groups is None:
        return None
    if not isinstance(groups, Iterable):
        raise LocalProtocolError(f"groups={groups!r} are no names of multicast groups")
    names = (groups,) if isinstance(groups, str) else tuple(groups)
    if not names:
        raise LocalProtocolError("groups= is empty, which hears nothing; leave it out for all")
    for name in names:
        if not isinstance(name, str):
            raise LocalProtocolError(f"group={name!r} is no name of a multicast group")
    return names


def _name(family: str, command: int) -> str:
    return f"operation {command} of {family}"


def _checked_version(version: int | None) -> int | None:
    is_number = isinstance(version, int) and not isinstance(version, bool)
    if version is None or (is_number and 0 <= version <= ctrl.BYTE):
        return version
    raise LocalProtocolError(f"version={version!r} is no number from 0 to {ctrl.BYTE}")
