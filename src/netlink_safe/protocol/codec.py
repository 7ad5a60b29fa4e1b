"""Message codecs of others: what builds and reads the messages of one family.

Any ``genlmsg`` class of pyroute2 is one, as it stands; nothing of pyroute2 is imported for that.

May call ``wire`` and ``errors``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from netlink_safe.errors import DecodeError, LocalProtocolError
from netlink_safe.wire.header import HEADER

if TYPE_CHECKING:
    from netlink_safe.wire.attribute_path import Names
    from netlink_safe.wire.generic import GenericMessage


class CodedMessage(Protocol):
    """A message of a codec: a mapping of its fields, with its attributes under ``"attrs"``."""

    @property
    def data(self) -> Any:
        """The bytes, with netlink's header."""

    def __getitem__(self, key: str, /) -> Any: ...

    def __setitem__(self, key: str, value: Any, /) -> None: ...

    def get(self, key: str, default: Any = None, /) -> Any: ...

    def get_attr(self, name: str, default: Any = None, /) -> Any: ...

    def encode(self) -> None: ...

    def decode(self) -> None: ...


class MessageCodec(Protocol):
    """Makes a message: an empty one, or of bytes that are then to be decoded."""

    def __call__(self, data: Any = None, /) -> Any: ...


#: Attributes by the codec's names; a name may stand there several times.
NamedAttributes: TypeAlias = Mapping[str, Any] | Sequence[tuple[Any, ...]]

_GENERIC_FIELDS: Final = frozenset({"cmd", "version", "reserved", "attrs"})


def encoded(
    codec: MessageCodec, command: int, version: int, attributes: NamedAttributes, **fields: Any
) -> bytes:
    """The payload of a request, with the generic header.

    ``fields`` are those that the codec has beside command and version.
    Raises LocalProtocolError for what the codec cannot encode, and for names that it does not know:
    pyroute2 itself would leave those out without a word.
    """
    pairs = list(attributes.items()) if isinstance(attributes, Mapping) else list(attributes)
    message: CodedMessage = codec()
    for name in fields:
        if name in _GENERIC_FIELDS or name not in _names_of_fields(message):
            raise LocalProtocolError(f"{_name(codec)} has no field {name!r}")
    message["cmd"], message["version"] = command, version
    for name, value in fields.items():
        message[name] = value
    message["attrs"] = [tuple(pair) for pair in pairs]
    try:
        message.encode()
    except Exception as error:  # whatever it is, the codec could not do it
        raise LocalProtocolError(f"{_name(codec)} cannot encode {pairs!r}: {error!r}") from error
    _check_names(pairs, names_of(codec), _name(codec))
    return bytes(message.data)[HEADER.size :]


def decoded(codec: MessageCodec, message: GenericMessage) -> Any:
    """A message as the codec reads it.  Raises DecodeError for what it cannot read."""
    try:
        read: CodedMessage = codec(message.data)
        read.decode()
    except Exception as error:  # a codec may raise anything at bytes that it did not expect
        raise DecodeError(f"what {_name(codec)} cannot read ({error!r})", 0) from error
    return read


def names_of(codec: MessageCodec) -> Names | None:
    """What the attributes are called, of codecs that have pyroute2's table of them."""
    return _Names(codec) if isinstance(getattr(codec, "nla_map", None), tuple) else None


class _Names(Mapping[int, tuple[str, Any]]):
    """The names of one level, and of the next when it is looked at."""

    def __init__(self, codec: Any) -> None:
        self._codec = codec
        self._table: dict[int, tuple[str, str]] = {}
        for number, entry in enumerate(codec.nla_map):
            known = entry if isinstance(entry[0], int) else (number, *entry)
            self._table[known[0]] = (known[1], known[2])

    def __getitem__(self, type_: int) -> tuple[str, Any]:
        name, kind = self._table[type_]
        kind = kind.lstrip("*").partition("(")[0].partition("|")[0].strip()
        is_itself = kind in {"recursive", "nested"}
        inside = self._codec if is_itself else getattr(self._codec, kind, None)
        return name, None if inside is None else names_of(inside)

    def __iter__(self) -> Any:
        return iter(self._table)

    def __len__(self) -> int:
        return len(self._table)


def _names_of_fields(message: Any) -> set[str]:
    return {field[0] for field in getattr(message, "fields", ())}


def _check_names(attributes: Any, names: Names | None, codec: str, path: str = "") -> None:
    """That the codec knows all names, as far as it has a table of them."""
    if names is None:
        return
    known = dict(names.values())
    for name, value, *_ in attributes:
        if name not in known:
            raise LocalProtocolError(f"{codec} knows no attribute {f'{path}{name}'!r}")
        for inside in value if isinstance(value, list) else [value]:
            if isinstance(inside, Mapping) and "attrs" in inside:
                _check_names(inside["attrs"], known[name], codec, f"{path}{name}.")


def _name(codec: Any) -> str:
    return str(getattr(codec, "__qualname__", codec))
