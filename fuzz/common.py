"""What targets share: a script out of bytes, replies read by the engine, a look at everything.

May call ``netlink_safe``.
"""

from __future__ import annotations

import contextlib
import json
import pickle
from collections import Counter
from collections.abc import Mapping
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Final

import attrs

from netlink_safe.errors import DecodeError, NetlinkError, OverrunError
from netlink_safe.families.growing import Field
from netlink_safe.protocol.exchange import Exchange, State
from netlink_safe.wire.header import align, build_message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from netlink_safe.protocol.request import Request
    from netlink_safe.wire.header import Strides

SEQUENCE: Final = 0x29
PORT_ID: Final = 0x1092
#: What is looked at as a value of its own right, and what is not looked into.
_LEAVES: Final = (int, str, bytes, float, type(None))
_LAZY: Final = (property, Field)
#: Beyond so many of its kind, one more tells nothing new.
_ENOUGH: Final = 64


class Bytes:
    """The input, taken from its beginning; what is past its end is zeros."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def is_left(self) -> bool:
        """Whether there is more."""
        return self._at < len(self._data)

    def byte(self) -> int:
        """One byte."""
        return self.some(1)[0]

    def some(self, count: int) -> bytes:
        """So many bytes."""
        taken = self._data[self._at : self._at + count]
        self._at += count
        return taken.ljust(count, b"\0")

    def piece(self) -> bytes:
        """Bytes whose number, as far as there are so many, stands in two bytes before them."""
        count = int.from_bytes(self.some(2), "big")
        taken = self._data[self._at : self._at + count]
        self._at += count
        return taken

    def rest(self) -> bytes:
        """All that is left."""
        taken = self._data[self._at :]
        self._at = len(self._data)
        return taken


@attrs.define
class Reply:
    """What a request came to: its rows, the engine, and the refusal that ended it, if one did."""

    exchange: Exchange
    rows: list[Any]
    rejected: Counter[str]
    refusal: NetlinkError | None = None

    @property
    def told(self) -> tuple[object, ...]:
        """All but what was rejected, to hold one reply against another.

        How far an engine had come in what it refused means nothing: it is thrown away.
        """
        rows = [getattr(row, "raw", row) for row in self.rows]
        if self.refusal is not None:
            return (rows, type(self.refusal))
        exchange, error = self.exchange, self.exchange.error
        said = None if error is None else (str(error), error.__dict__)
        return (rows, exchange.state, exchange.interrupted, said)


def message(type_: int, flags: int, payload: bytes) -> bytes:
    """A message of the reply, padded."""
    data = build_message(type_, flags, SEQUENCE, PORT_ID, payload)
    return data + bytes(align(len(data)) - len(data))


def answered(request: Request[Any], datagrams: Iterable[bytes]) -> Reply:
    """Hand the datagrams to the engine, as ``transport`` does, until it refuses one."""
    rejected: Counter[str] = Counter()
    exchange = Exchange(request, SEQUENCE, PORT_ID, rejected)
    reply = Reply(exchange, [], rejected)
    for data in datagrams:
        rows: list[Any] = []

        def read(data: bytes, offset: int, strides: Strides, rows: list[Any] = rows) -> int:
            return request.read(data, offset, strides, rows)

        try:
            exchange.receive(data, read)
        except (DecodeError, OverrunError) as refusal:
            reply.refusal = refusal
            check_refusal(refusal, data)
            break
        reply.rows += rows  # after a refusal, no row of its datagram is handed out
    check_end(reply)
    return reply


def check_end(reply: Reply) -> None:
    """What holds of every engine, whatever it was told."""
    exchange = reply.exchange
    assert exchange.finished == (exchange.state in {State.COMPLETE, State.FAILED})
    assert (exchange.error is not None) == (exchange.state is State.FAILED)
    if exchange.error is not None:
        check_error(exchange.error)


def check_error(error: NetlinkError) -> None:
    """An error can be read, and sent to another process."""
    assert str(error)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # noqa: S301  # our own bytes


def check_refusal(refusal: NetlinkError, data: bytes) -> None:
    """A refusal of a datagram says where in it the rule was broken."""
    check_error(refusal)
    if isinstance(refusal, DecodeError):
        assert 0 <= refusal.offset <= len(data)


def refused(call: Callable[[], Any], *errors: type[NetlinkError]) -> Any:
    """What a call gives; None where it refuses by one of these errors, DecodeError unless said."""
    with contextlib.suppress(*(errors or (DecodeError,))):
        return call()
    return None


def look_at(record: Any) -> None:
    """Look at all that a record says, as a program may: it says it, or raises DecodeError.

    Said once, it is said again; as plain data it can be told as JSON.
    """
    for name in _names_in(record):
        look_inside(refused(partial(getattr, record, name)))
    if hasattr(record, "as_dict"):
        assert json.dumps(refused(record.as_dict)) == json.dumps(refused(record.as_dict))
    assert refused(partial(repr, record)) != ""


def look_inside(said: Any) -> None:
    """Look at what one property gave, and at the records in it."""
    if isinstance(said, _LEAVES):
        str(said)
    elif isinstance(said, tuple | list | frozenset):
        for one in list(said)[:_ENOUGH]:
            look_inside(one)
    elif isinstance(said, Mapping):
        look_inside(list(said.values()))
    elif _names_in(said):
        look_at(said)


def _names_in(record: object) -> tuple[str, ...]:
    kind: Any = type(record)
    return names_of(kind)


@cache
def names_of(kind: type) -> tuple[str, ...]:
    """The public names under which a class of records has values."""
    fields = [field.name for field in attrs.fields(kind)] if attrs.has(kind) else []
    lazy = [name for name in dir(kind) if isinstance(_of_class(kind, name), _LAZY)]
    return tuple(name for name in dict.fromkeys([*fields, *lazy]) if name[0] != "_")


def _of_class(kind: type, name: str) -> object:
    return next((vars(each)[name] for each in kind.__mro__ if name in vars(each)), None)


def check_rows(rows: Sequence[Any]) -> None:
    """Look at rows; a datagram has thousands at most, and they are of one kind."""
    for row in rows[:_ENOUGH]:
        look_at(row)
