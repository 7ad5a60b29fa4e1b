"""Long inputs out of repeated pieces: work and memory grow with the length, and no faster.

The first byte chooses who reads, the second how often pieces are repeated.  Five pieces follow, of
which the second and the fourth are repeated: so also what is opened many times is closed as often.

Work is counted (``fuzz.costs``), so that the bound is the same on every machine.  Of what is read
in linear time a byte costs 1 to 50 lines of Python, however many there are; of what is looked
through again for each of its parts it costs some 10 to 100 lines more with each 4 KiB.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from fuzz.common import PORT_ID, SEQUENCE, Bytes, message
from fuzz.costs import peak, steps
from fuzz.targets import generic, inet_rows, rows
from fuzz.targets import uevents as uevent
from netlink_safe.errors import ExtendedAck, NetlinkError
from netlink_safe.families import ctrl
from netlink_safe.families.filter_text import parse_filter
from netlink_safe.families.inet_bytecode import LARGEST, compiled
from netlink_safe.families.uevents import uevents
from netlink_safe.protocol.exchange import Exchange
from netlink_safe.wire.attribute_path import path_meant
from netlink_safe.wire.attributes import Attributes
from netlink_safe.wire.constants import NLMSG_DONE
from netlink_safe.wire.datagram import Burst, Sender
from netlink_safe.wire.generic import build_generic
from netlink_safe.wire.header import HEADER
from netlink_safe.wire.values import decode_values, encode_values

if TYPE_CHECKING:
    from netlink_safe.protocol.request import Request
    from netlink_safe.wire.header import Strides

LONGEST: Final = 8192
#: Lines of Python that a byte may cost; a filter's text is cut into words, looked at, compiled.
STEPS: Final = 50
STEPS_OF_TEXT: Final = 100
#: Bytes of memory that one may cost: a bit of a netlink socket's groups is a number in a set.
MEMORY: Final = 1000
#: Whatever the length, such as for one that begins a loop in vain.
STEPS_AT_LEAST: Final = 20_000
MEMORY_AT_LEAST: Final = 400_000
OFTEN: Final = (1, 3, 16, 64, 256, 1024, 4096, 8192)

Reader: TypeAlias = Callable[[bytes], object]

_POLICY: Final = generic.any_policy(0)


def one_input(data: bytes) -> None:
    """Read a long input, and hold what it cost against its length."""
    given = Bytes(data)
    name, read = _IN_ORDER[given.byte() % len(_IN_ORDER)]
    often = OFTEN[given.byte() % len(OFTEN)]
    long = _repeated([given.piece() for _ in range(5)], often)

    def call() -> None:
        with contextlib.suppress(NetlinkError):
            read(long)

    call()  # what is made once, and kept, is made now
    taken = steps(call)
    each = STEPS_OF_TEXT if read is _filter else STEPS
    assert taken <= each * len(long) + STEPS_AT_LEAST, f"{name}: {taken} for {len(long)} bytes"
    held = peak(call)
    assert held <= MEMORY * len(long) + MEMORY_AT_LEAST, f"{name}: {held} for {len(long)} bytes"


def _repeated(pieces: list[bytes], often: int) -> bytes:
    head, one, middle, other, tail = pieces
    room = LONGEST - len(head) - len(middle) - len(tail)
    often = max(min(often, room // (len(one) + len(other) or 1)), 0)
    return (head + one * often + middle + other * often + tail)[:LONGEST]


def _rows_of(request: Request[Any], datagram: bytes) -> list[Any]:
    """The rows, and nothing of what ``answered`` looks at beside them."""
    found: list[Any] = []

    def read(data: bytes, offset: int, strides: Strides) -> int:
        return request.read(data, offset, strides, found)

    Exchange(request, SEQUENCE, PORT_ID, Counter()).receive(datagram, read)
    return found


def _exchange(request: Request[Any], wrap: Callable[[bytes], bytes] | None = None) -> Reader:
    def read(data: bytes) -> None:
        for row in _rows_of(request, data if wrap is None else wrap(data))[:1]:
            if hasattr(row, "as_dict"):
                row.as_dict()

    return read


def _row_of(request: Request[Any]) -> Callable[[bytes], bytes]:
    """The input behind the fixed part of a row."""
    return lambda data: message(
        request.row_type, 0, bytes(request.row_minimum - HEADER.size) + data
    )


def _decode(data: bytes) -> None:
    decode_values(Attributes(data, 0, len(data)), _POLICY)


def _encode(data: bytes) -> None:
    encode_values(decode_values(Attributes(data, 0, len(data)), None), None)


def _path(data: bytes) -> None:
    path_meant(data, 0, ExtendedAck(missing_type=1, missing_nest=len(data) - 1))


def _policies(data: bytes) -> None:
    datagram = message(ctrl.GENL_ID_CTRL, 0, build_generic(ctrl.GETPOLICY, 2, b"", data))
    for policy in ctrl.joined(_rows_of(ctrl.get_policy("any"), datagram)).values():
        policy.as_dict()


def _filter(data: bytes) -> None:
    where = parse_filter(data.decode("utf-8", "surrogateescape"))
    str(where)
    assert len(compiled(where).code) <= LARGEST


def _uevent(source: Any, sender: Sender, wrap: Callable[[bytes], bytes]) -> Reader:
    def read(data: bytes) -> None:
        reader = uevents(source=source).new_reader(uevent.ROOTS, Counter())
        for event in reader.read([Burst(sender, [wrap(data)])]):
            str(event.properties)
            event.resynced(b"remove")

    return read


def _extack(data: bytes) -> bytes:
    return message(NLMSG_DONE, 0x200, b"\xea\xff\xff\xff" + data)


_ROWS: Final = {
    f"{place}: {request.name}": request
    for place, request in enumerate((*inet_rows.KINDS, *rows.KINDS, *generic.DESCRIBED))
}
#: By a name for people; a place in here is what the first byte means.
READERS: Final[dict[str, Reader]] = {
    "tcp": _exchange(inet_rows.KINDS[0]),
    "decode": _decode,
    "encode": _encode,
    "path": _path,
    "policies": _policies,
    "filter": _filter,
    "uevent": _uevent("kernel", uevent.KERNEL, bytes),
    "udev": _uevent("udev", uevent.UDEVD, uevent.udev_text),
    "ack": _exchange(ctrl.get_family("nlctrl"), _extack),
    "family": _exchange(ctrl.get_families(), _row_of(ctrl.get_families())),
    **{name: _exchange(request) for name, request in _ROWS.items()},
    **{f"{name}, a row": _exchange(one, _row_of(one)) for name, one in _ROWS.items()},
}
_IN_ORDER: Final = tuple(READERS.items())
