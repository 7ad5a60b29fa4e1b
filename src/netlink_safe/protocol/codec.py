"""Message codecs of others: what builds and reads the messages of one family.

Any ``genlmsg`` class of pyroute2 is one, as it stands; nothing of pyroute2 is imported for that.

May call ``wire`` and ``errors``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeAlias

from netlink_safe.errors import DecodeError, LocalProtocolError
from netlink_safe.wire.header import HEADER

if TYPE_CHECKING:
    from netlink_safe.wire.generic import GenericMessage


class CodedMessage(Protocol):
    """A message of a codec: a mapping of its fields, with its attributes under ``"attrs"``."""

    @property
    def data(self) -> Any:
        """The bytes, with netlink's header."""

    def __getitem__(self, key: str, /) -> Any: ...

    def __setitem__(self, key: str, value: Any, /) -> None: ...

    def get(self, key: str, default: Any = None, /) -> Any:
        """A field, or the default where there is none."""

    def get_attr(self, name: str, default: Any = None, /) -> Any:
        """The first attribute of a name, or the default where there is none."""

    def encode(self) -> None:
        """Make ``data`` of the fields."""

    def decode(self) -> None:
        """Read the fields from ``data``."""


class MessageCodec(Protocol):
    """Makes a message: an empty one, or of bytes that are then to be decoded.

    Whatever it, or its messages, raises is a LocalProtocolError of what is sent and a DecodeError
    of what comes.
    """

    def __call__(self, data: Any = None, /) -> Any: ...


#: Attributes by the codec's names; a name may stand there several times.
NamedAttributes: TypeAlias = Mapping[str, Any] | Sequence[tuple[Any, ...]]

_GENERIC_FIELDS: Final = frozenset({"cmd", "version", "reserved", "attrs"})


def encoded(
    codec: MessageCodec, command: int, version: int, attributes: NamedAttributes, **fields: Any
) -> bytes:
    """The payload of a request, with the generic header.

    ``fields`` are those that the codec has beside command and version.
    Raises LocalProtocolError for what is no codec, for what the codec cannot encode, and for names
    that it does not know: pyroute2 itself would leave those out without a word.
    """
    message = _empty(checked_codec(codec))
    for name in fields:
        if name in _GENERIC_FIELDS or name not in _names_of_fields(message):
            raise LocalProtocolError(f"{_name(codec)} has no field {name!r}")
    message["cmd"], message["version"] = command, version
    for name, value in fields.items():
        message[name] = value
    try:
        message["attrs"] = _spelled_out(attributes, codec)
        message.encode()
    except LocalProtocolError:
        raise
    except Exception as error:  # whatever it is, the codec could not do it
        raise LocalProtocolError(
            f"{_name(codec)} cannot encode {attributes!r}: {error!r}"
        ) from error
    return bytes(message.data)[HEADER.size :]


def checked_codec(codec: MessageCodec) -> MessageCodec:
    """The codec.  Raises LocalProtocolError for what makes no messages."""
    message = _empty(codec)
    if not all(hasattr(message, verb) for verb in ("encode", "decode", "__setitem__")):
        raise _no_codec(codec)
    return codec


def decoded(codec: MessageCodec, message: GenericMessage) -> Any:
    """A message as the codec reads it.  Raises DecodeError for what it cannot read."""
    try:
        read: CodedMessage = codec(message.data)
        read.decode()
    except Exception as error:  # a codec may raise anything at bytes that it did not expect
        raise DecodeError(f"what {_name(codec)} cannot read ({error!r})", 0) from error
    return read


def names_of(codec: Any) -> _Names | None:
    """What the attributes are called, of codecs that have pyroute2's table of them."""
    return _Names(codec) if isinstance(getattr(codec, "nla_map", None), tuple) else None


class _Nest(NamedTuple):
    """What reads an attribute's own attributes, and whether it holds a list of them."""

    codec: Any
    is_array: bool


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
        return name, names_of(self._codec_of(kind))

    def nests(self) -> dict[str, _Nest | None]:
        """By name what is nested; None of what is not, or what its class encodes in its own way."""
        return {name: self._nest(kind) for name, kind in self._table.values()}

    def _nest(self, kind: str) -> _Nest | None:
        codec = self._codec_of(kind)
        if names_of(codec) is None or "encode" in vars(codec):
            return None
        return _Nest(codec, kind.startswith("*"))

    def _codec_of(self, kind: str) -> Any:
        kind = kind.lstrip("*").partition("(")[0].partition("|")[0].strip()
        is_itself = kind in {"recursive", "nested"}
        return self._codec if is_itself else getattr(self._codec, kind, None)

    def __iter__(self) -> Any:
        return iter(self._table)

    def __len__(self) -> int:
        return len(self._table)


def _names_of_fields(message: Any) -> set[str]:
    return {field[0] for field in getattr(message, "fields", ())}


def _spelled_out(attributes: Any, codec: Any, path: str = "") -> list[tuple[Any, ...]]:
    """Attributes as pyroute2 takes them: pairs, and nests as mappings with pairs in "attrs"."""
    names = names_of(codec)
    nests = None if names is None else names.nests()
    told = []
    for pair in attributes.items() if isinstance(attributes, Mapping) else attributes:
        if not _is_pair(pair):
            raise LocalProtocolError(f"{pair!r} is no pair of an attribute's name and its value")
        name, value, *flags = pair
        if nests is not None and name not in nests:
            raise LocalProtocolError(f"{_name(codec)} knows no attribute {f'{path}{name}'!r}")
        nest = None if nests is None else nests[name]
        inside = value if nest is None else _spelled_out_inside(value, nest, f"{path}{name}")
        told.append((name, inside, *flags))
    return told


def _spelled_out_inside(value: Any, nest: _Nest, path: str) -> Any:
    if not nest.is_array:
        return _one_nest(value, nest.codec, path)
    if not isinstance(value, list | tuple) or any(map(_is_pair, value)):
        raise LocalProtocolError(f"{path} is a list of nests, and not {value!r}")
    return [_one_nest(one, nest.codec, path) for one in value]


def _one_nest(value: Any, codec: Any, path: str) -> Any:
    fields = _names_of_fields(codec)
    if isinstance(value, list | tuple) and all(map(_is_pair, value)):
        value = {"attrs": value}
    if not isinstance(value, Mapping):
        if "value" in fields:
            return value
        raise LocalProtocolError(f"{path} is nested: give its attributes by name, not {value!r}")
    told = {key: one for key, one in value.items() if key in fields or key == "header"}
    rest = {key: one for key, one in value.items() if key not in told}
    attributes = rest.pop("attrs", None)
    if attributes is not None and rest:
        raise LocalProtocolError(f"{path} has no field {next(iter(rest))!r} beside its attributes")
    inside = _spelled_out(rest if attributes is None else attributes, codec, f"{path}.")
    return {**told, "attrs": inside}


def _is_pair(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) > 1 and isinstance(value[0], str)


def _empty(codec: Any) -> CodedMessage:
    try:
        message: CodedMessage = codec()
    except Exception as error:  # whatever was given may raise anything when it is called
        raise _no_codec(codec) from error
    return message


def _no_codec(codec: Any) -> LocalProtocolError:
    return LocalProtocolError(
        f"{codec!r} is no codec: give a class such as pyroute2's genlmsg classes, whose messages "
        "encode() and decode()"
    )


def _name(codec: Any) -> str:
    return str(getattr(codec, "__qualname__", codec))
