"""What a generic family is asked, while it is known by its name alone.

The kernel gives a family its number when the family is registered, and another one when it comes
back.  So builders make a GenericRequest; when the number is known it becomes a Request.

May call ``protocol.request``, ``wire`` and ``errors``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol

import attrs

from netlink_safe.errors import LocalProtocolError
from netlink_safe.protocol.request import Request, Row
from netlink_safe.wire.attributes import LARGEST
from netlink_safe.wire.constants import NETLINK_GENERIC, NLM_F_DUMP, NLM_F_ECHO
from netlink_safe.wire.generic import attributes_at, build_generic, parse_generic
from netlink_safe.wire.header import HEADER, row_offsets
from netlink_safe.wire.values import decode_values, encode_values

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from netlink_safe.protocol.request import RowReader
    from netlink_safe.wire.attribute_path import Names
    from netlink_safe.wire.generic import GenericMessage
    from netlink_safe.wire.header import Strides
    from netlink_safe.wire.policy import OperationPolicy, Policy
    from netlink_safe.wire.values import Value

#: What the byte in struct genlmsghdr can say; the controller tells a family's in 32 bits.
_HIGHEST_VERSION: Final = 0xFF


class OperationLike(Protocol):
    """What a command can; see ``families.ctrl``."""

    @property
    def command(self) -> int: ...

    @property
    def can_do(self) -> bool: ...

    @property
    def can_dump(self) -> bool: ...


class Resolved(Protocol):
    """A family whose number is known; see ``families.ctrl``."""

    @property
    def name(self) -> str: ...

    @property
    def id(self) -> int: ...

    @property
    def version(self) -> int: ...

    @property
    def header_size(self) -> int: ...

    @property
    def groups(self) -> Mapping[str, int]: ...

    @property
    def operations(self) -> Sequence[OperationLike]: ...

    def operation(self, command: int, /) -> OperationLike | None: ...


class Controller(Protocol):
    """How families are asked for; the module ``families.ctrl`` is one."""

    def get_family(self, name: str) -> Request[Any]: ...

    def get_family_of_number(self, number: int) -> Request[Any]: ...

    def get_families(self) -> Request[Any]: ...

    def get_policy(self, family: str, command: int | None = None) -> Request[Any]: ...

    def joined(self, parts: Any) -> dict[int, OperationPolicy]: ...


@attrs.frozen(slots=True)
class GenericReply:
    """A message of a family that nobody has described; ``values`` are its attributes, by type.

    They are plain values where the kernel's policy says what they are, and bytes elsewhere.
    ``command`` and ``version`` are bytes of the generic header, 0 to 255; ``header`` is what the
    family puts behind it, often nothing.
    Two that differ in the command alone are equal, since a row of a dump and a notification of it
    do.
    """

    command: int = attrs.field(eq=False)
    version: int
    header: bytes
    values: Mapping[int, Any]

    @classmethod
    def read(cls, message: GenericMessage, policy: Policy | None) -> GenericReply:
        """Read a message.  Raises DecodeError."""
        values = decode_values(message.attributes, policy)
        return cls(message.command, message.version, message.header, values)


@attrs.frozen(slots=True)
class Ground:
    """What a table stands on: another family, which alone tells that the whole table comes or goes.

    ``tells`` says whether a message of that family does.  ``is_gone`` is the errno with which a
    dump of the table says that there is none.
    """

    family: str
    tells: Callable[[GenericMessage], bool]
    is_gone: int


@attrs.frozen(slots=True)
class RowsOf(Generic[Row]):
    """Which notifications of a family tell of rows, for a picture that follows them.

    ``key`` says what a row is about.  Commands are from 0 to 255: ``commands`` are those of
    notifications that hold a row, None for all, and ``removals`` those that say that it is gone.
    ``concerns`` leaves rows out that the dump would not give.  ``ground`` is what tells of all of
    them at once.
    """

    key: Callable[[Row], Hashable]
    removals: frozenset[int] = frozenset()
    commands: frozenset[int] | None = None
    concerns: Callable[[Row], bool] | None = None
    ground: Ground | None = None


@attrs.frozen(slots=True, kw_only=True)
class GenericRequest(Generic[Row]):
    """One question to a family, or one order, by the family's name.

    ``name`` is for people; it stands in every error.
    ``family`` is a name, of 1 to 15 bytes; ``command`` and ``version`` are from 0 to 255: nothing
    looks at them before the request is made, as ``generic_request`` does.
    ``attributes`` are bytes, or plain values that the kernel's policy gives their widths.
    ``header`` is the family's own, zeros unless given; ``version`` the family's unless given.
    ``wants_policy`` has the kernel asked for its policy first, to encode by and to read by;
    ``names`` are what attributes are called in errors.
    ``read`` makes a row of a message; the policy is of this operation, None where there is none.
    ``idempotent`` questions may be asked again on a fresh socket; a dump always is one.
    ``echo`` asks, of an order, for what listeners are told of it (NLM_F_ECHO).
    ``rows`` say how notifications change what a dump gave; ``untold`` says why none do, where the
    kernel does not tell all that becomes of the table.
    ``identity`` gives what makes two rows the same, where there are no ``rows`` to say.
    ``of_one`` says that it asks about one thing, or orders one: the kernel would not look at which
    in a dump.
    """

    name: str
    family: str
    command: int
    attributes: bytes | Mapping[int, Value] = attrs.field(default=b"", repr=False)
    header: bytes = b""
    version: int | None = None
    read: Callable[[GenericMessage, Policy | None], Row] = attrs.field(repr=False, eq=False)
    idempotent: bool = False
    echo: bool = False
    wants_policy: bool = False
    names: Names | None = attrs.field(default=None, repr=False, eq=False)
    rows: RowsOf[Row] | None = attrs.field(default=None, repr=False, eq=False)
    untold: str | None = None
    identity: Callable[[Row], Hashable] | None = attrs.field(default=None, repr=False, eq=False)
    of_one: bool = False

    def bound(self, family: Resolved, policy: Policy | None, is_dump: bool) -> Request[Row]:
        """The request to a family whose number is known.

        Raises LocalProtocolError for values that its policy does not take, for a header that is
        longer than the family's, and for a family that no message can be made for.
        """
        if family.version > _HIGHEST_VERSION or family.header_size > LARGEST:
            raise LocalProtocolError(
                f"{family.name} claims version {family.version} and {family.header_size} bytes of "
                "header, which no message can have"
            )
        if len(self.header) > family.header_size:
            raise LocalProtocolError(
                f"the header of {family.name} has {family.header_size} bytes, not "
                f"{len(self.header)}"
            )
        attributes = self.attributes
        if isinstance(attributes, Mapping):
            attributes = encode_values(attributes, policy)
        header = self.header.ljust(family.header_size, b"\0")
        version = family.version if self.version is None else self.version
        rows = self.rows
        return Request(
            name=self.name,
            protocol=NETLINK_GENERIC,
            type=family.id,
            flags=NLM_F_DUMP if is_dump else NLM_F_ECHO * self.echo,
            payload=build_generic(self.command, version, header, attributes),
            row_type=family.id,
            row_minimum=HEADER.size + attributes_at(family.header_size),
            read=reader(lambda message: self.read(message, policy), family.header_size),
            identity=self.identity if rows is None else rows.key,
            idempotent=is_dump or self.idempotent,
            may_stall=True,
            feature=f"operation {self.command} of {family.name}",
            attributes_at=attributes_at(family.header_size),
            names=self.names,
        )


@attrs.frozen(slots=True, kw_only=True)
class AnsweredRequest(GenericRequest[Row]):
    """One that is always answered: a question, or an order that asks for its echo."""


def checked_request(request: GenericRequest[Row]) -> GenericRequest[Row]:
    """The request.  Raises LocalProtocolError for what is none."""
    if not isinstance(request, GenericRequest):
        raise LocalProtocolError(
            f"{request!r} is no request to a generic family; generic_request(), coded_request(), "
            "families.ethtool and families.ovs make some"
        )
    return request


def checked_table(request: GenericRequest[Row]) -> GenericRequest[Row]:
    """The request, for a dump.  Raises LocalProtocolError for what is none, or of one thing."""
    if checked_request(request).of_one:
        raise LocalProtocolError(f"{request.name} is about one thing; give it to request()")
    return request


def reader(parse: Callable[[GenericMessage], Row], header_size: int) -> RowReader[Row]:
    """Read rows that are messages of a family whose own header has so many bytes."""

    def read(data: bytes, offset: int, strides: Strides, rows: list[Row]) -> int:
        offsets, end = row_offsets(data, offset, strides)
        for start in offsets:
            (length, *_) = HEADER.unpack_from(data, start)
            rows.append(parse(parse_generic(data, start, start + length, header_size)))
        return end

    return read
