"""Datagrams of a live run in a file that a bug report can carry, and a kernel that replays it.

::

    with record("tcpstat.recording"):
        collect_blocking()

    with replay("tcpstat.recording"):
        collect_blocking()                # the same rows, on any machine of the same byte order

The file is text, a JSON object a line.  The first one says the format, the byte order (the numbers
in a netlink message are the machine's own), the kernel and the library; each other one is a
datagram, in hexadecimal, with the number of the socket that sent or received it.
What the kernel answers is in there as it came: addresses, ports, user numbers.  Look before you
send it to anybody.

May call ``testing.replies``, ``testing.scripted``, ``transport``, ``wire`` and ``errors``.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import sys
import threading
import weakref
from collections import defaultdict, deque
from typing import IO, TYPE_CHECKING, Any, Final, TypeAlias

import attrs

from netlink_safe._version import __version__
from netlink_safe.errors import DecodeError, LocalProtocolError
from netlink_safe.testing.replies import Asked, Loss, Sent, asked_of, refusal
from netlink_safe.testing.scripted import ScriptedKernel
from netlink_safe.transport.kernel import InFront
from netlink_safe.wire.header import align, build_message, iterate_messages

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from netlink_safe.transport.bursts import BurstBuffer
    from netlink_safe.transport.kernel import End, Received
    from netlink_safe.wire.datagram import Burst

FORMAT: Final = "netlink_safe recording"
VERSION: Final = 1

Path: TypeAlias = str | os.PathLike[str]


@contextlib.contextmanager
def record(path: Path) -> Iterator[None]:
    """Write down what every socket of the library sends and receives meanwhile.

    The file, text of a JSON object a line, is written anew.  Raises OSError where it cannot be.
    """
    with open(path, "w", encoding="ascii") as file:
        head = {
            "format": FORMAT,
            "version": VERSION,
            "byteorder": sys.byteorder,
            "kernel": os.uname().release,
            "netlink_safe": __version__,
        }
        file.write(json.dumps(head) + "\n")
        with _Recorder(file).in_place():
            yield


@contextlib.contextmanager
def replay(path: Path) -> Iterator[ScriptedKernel]:
    """Have requests answered as they were when the file was written.

    A request is known by its type, flags and payload; one that was made several times is answered
    as it was each time, in turn, and in the end as it was the last time.  What was not asked then
    is refused with EOPNOTSUPP.
    Raises LocalProtocolError for what is no recording, or one of another byte order; DecodeError
    for a line that holds no message; OSError.
    """
    with ScriptedKernel() as kernel:
        for (protocol, type_), exchanges in _read(path).items():
            kernel.answer(protocol, type_, _Replaying(exchanges))
        yield kernel


class _Recorder(InFront):
    """Numbers the sockets, and writes a line for each datagram.  For any thread."""

    def __init__(self, file: IO[str]) -> None:
        super().__init__()
        self._file = file
        self._lock = threading.Lock()
        self._numbers: weakref.WeakKeyDictionary[End, int] = weakref.WeakKeyDictionary()
        self._next = itertools.count(1)

    def opened(self, end: End) -> None:
        super().opened(end)
        self._write(end)

    def send(self, end: End, data: bytes) -> None:
        self._write(end, sent=data.hex())
        super().send(end, data)

    def receive(self, end: End, size: int) -> Received:
        try:
            received = data, _, flags, (sender, groups) = super().receive(end, size)
        except BlockingIOError:
            raise
        except OSError as error:
            self._write(end, error=error.errno)
            raise
        self._write(end, received=data.hex(), sender=sender, groups=groups, flags=flags)
        return received

    def receive_burst(self, end: End, buffer: BurstBuffer) -> list[Burst]:
        try:
            bursts = super().receive_burst(end, buffer)
        except OSError as error:
            self._write(end, error=error.errno)
            raise
        for sender, texts in bursts:
            for text in texts:
                self._write(
                    end,
                    received=text.hex(),
                    sender=sender.port_id,
                    groups=sender.groups,
                    credentials=sender.credentials,
                )
        return bursts

    def _write(self, end: End, **said: Any) -> None:
        """A line for what is said of a socket; one before it where it is met for the first time."""
        with self._lock:
            number = self._numbers.get(end)
            if number is None:
                number = self._numbers[end] = next(self._next)
                self._line(socket=number, protocol=end.proto, port_id=end.getsockname()[0])
            if said:
                self._line(socket=number, **said)

    def _line(self, **said: Any) -> None:
        if not self._file.closed:  # a thread that is late says nothing any more
            self._file.write(json.dumps(said) + "\n")


@attrs.define(slots=True)
class _Exchange:
    """One request, and what the socket received from then on."""

    asked: Asked
    received: list[bytes | Loss] = attrs.field(factory=list)


class _Replaying:
    """A script that answers as a list of exchanges did."""

    def __init__(self, exchanges: Iterable[_Exchange]) -> None:
        self._exchanges: defaultdict[tuple[int, bytes], deque[_Exchange]] = defaultdict(deque)
        for each in exchanges:
            self._exchanges[each.asked.flags, each.asked.payload].append(each)

    def __call__(self, asked: Asked) -> Iterator[bytes | Sent | Loss]:
        waiting = self._exchanges.get((asked.flags, asked.payload))
        if not waiting:
            yield refusal(asked, errno.EOPNOTSUPP)
            return
        exchange = waiting.popleft() if len(waiting) > 1 else waiting[0]
        for each in exchange.received:
            yield each if isinstance(each, Loss) else _restamped(each, exchange.asked, asked)


def _restamped(data: bytes, then: Asked, now: Asked) -> bytes:
    """A datagram whose messages answer another request than they did; others stay foreign.

    One that is not made of messages stays as it was.
    """
    parts = []
    try:
        messages = list(iterate_messages(data))
    except DecodeError:
        return data
    for message in messages:
        sequence, port_id = message.sequence, message.port_id
        body = data[message.payload : message.end]
        if (sequence, port_id) == (then.sequence, then.port_id):
            sequence, port_id = now.sequence, now.port_id
        whole = build_message(message.type, message.flags, sequence, port_id, body)
        parts.append(whole + bytes(align(len(whole)) - len(whole)))
    return b"".join(parts)


def _read(path: Path) -> dict[tuple[int, int], list[_Exchange]]:
    """The exchanges in a file, by protocol and type.  Raises LocalProtocolError, OSError."""
    try:
        with open(path, encoding="ascii") as file:
            head, *lines = [json.loads(line) for line in file]
        told, version, order = head["format"], head["version"], head["byteorder"]
        if (told, version, order) == (FORMAT, VERSION, sys.byteorder):
            return _exchanges(lines)
    except (ValueError, LookupError, TypeError, DecodeError) as error:
        raise LocalProtocolError(f"{os.fspath(path)} is no recording: {error!r}") from error
    if (told, version) != (FORMAT, VERSION):
        raise LocalProtocolError(
            f"{os.fspath(path)} says {told!r}, version {version!r}; this reads {FORMAT!r}, "
            f"version {VERSION}"
        )
    raise LocalProtocolError(
        f"{os.fspath(path)} was recorded on a {order}-endian machine, and this is a "
        f"{sys.byteorder}-endian one; replay it on one of its own kind"
    )


def _exchanges(lines: Iterable[dict[str, Any]]) -> dict[tuple[int, int], list[_Exchange]]:
    found: defaultdict[tuple[int, int], list[_Exchange]] = defaultdict(list)
    protocols: dict[int, int] = {}
    running: dict[int, _Exchange] = {}
    for line in lines:
        number = line["socket"]
        if "protocol" in line:
            protocols[number] = line["protocol"]
        elif "sent" in line:
            data = bytes.fromhex(line["sent"])
            for message in iterate_messages(data):
                asked = asked_of(protocols[number], data, message)
                running[number] = _Exchange(asked)
                found[asked.protocol, asked.type].append(running[number])
        elif number in running:
            came = Loss() if "error" in line else bytes.fromhex(line["received"])
            running[number].received.append(came)
    return found
