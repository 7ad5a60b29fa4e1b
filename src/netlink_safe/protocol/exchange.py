"""One exchange: a request goes out, and its reply is followed to the end.

Everything that decides what a message means to an exchange is in this file.
The driver sends ``data_to_send`` once, hands every datagram it trusts to ``receive``, and stops
when ``finished``; ``error`` then says why, if the kernel refused.

::

    dump      WAITING --row--> ANSWERING --done--> COMPLETE      (done with an errno: FAILED)
    request   WAITING --row--> ANSWERING --ack---> COMPLETE      (error: FAILED)

A message with another sequence or port ID is rejected and counted; it changes nothing.
A message of an unknown type inside the reply is an error, since rows may hide behind it.

May call ``protocol.request``, ``wire`` and ``errors``.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, Final

from netlink_safe.errors import DecodeError, KernelError, NotSupported, OverrunError
from netlink_safe.wire.ack import Ack, parse_done, parse_error
from netlink_safe.wire.constants import (
    NLM_F_ACK,
    NLM_F_DUMP_INTR,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    NLMSG_NOOP,
    NLMSG_OVERRUN,
)
from netlink_safe.wire.header import HEADER, Strides, build_message, parse_message

if TYPE_CHECKING:
    from collections import Counter

    from netlink_safe.protocol.request import Reader, Request
    from netlink_safe.wire.header import Message


class State(enum.Enum):
    """Where an exchange is."""

    WAITING = "waiting"
    ANSWERING = "answering"
    COMPLETE = "complete"
    FAILED = "failed"


class Event(enum.Enum):
    """What a message is to its exchange: ERROR is an ack or an end of a dump with an errno."""

    ROW = "row"
    ACK = "ack"
    DONE = "done"
    ERROR = "error"


#: By whether the request is a dump: (state, event) to state.  What is not here is out of place.
TRANSITIONS: Final[dict[bool, dict[tuple[State, Event], State]]] = {
    True: {
        (State.WAITING, Event.ROW): State.ANSWERING,
        (State.WAITING, Event.ACK): State.WAITING,
        (State.WAITING, Event.DONE): State.COMPLETE,
        (State.WAITING, Event.ERROR): State.FAILED,
        (State.ANSWERING, Event.ROW): State.ANSWERING,
        (State.ANSWERING, Event.ACK): State.ANSWERING,
        (State.ANSWERING, Event.DONE): State.COMPLETE,
        (State.ANSWERING, Event.ERROR): State.FAILED,
    },
    False: {
        (State.WAITING, Event.ROW): State.ANSWERING,
        (State.WAITING, Event.ACK): State.COMPLETE,
        (State.WAITING, Event.DONE): State.ANSWERING,
        (State.WAITING, Event.ERROR): State.FAILED,
        (State.ANSWERING, Event.ROW): State.ANSWERING,
        (State.ANSWERING, Event.ACK): State.COMPLETE,
        (State.ANSWERING, Event.DONE): State.ANSWERING,
        (State.ANSWERING, Event.ERROR): State.FAILED,
    },
}


class Exchange:
    """The engine of one request; ``rejected`` counts, by reason, messages that were not its own.

    ``sequence`` and ``port_id`` have 32 bits: what the reply is to carry, the port ID being that of
    the socket that asks.  The reasons are ``"sequence"``, ``"port_id"`` and ``"after_end"``.
    ``error`` is what the kernel refused it with, once ``state`` is FAILED.
    """

    def __init__(
        self, request: Request[Any], sequence: int, port_id: int, rejected: Counter[str]
    ) -> None:
        self._request = request
        self._sequence = sequence
        self._port_id = port_id
        self._rejected = rejected
        self._strides = Strides(request.row_type, request.row_minimum, sequence, port_id)
        self._transitions = TRANSITIONS[request.is_dump]
        self._done_interrupted = False
        self.state: State = State.WAITING
        self.error: KernelError | None = None

    @property
    def finished(self) -> bool:
        """Whether no further message can belong to this exchange."""
        return self.state is State.COMPLETE or self.state is State.FAILED

    @property
    def interrupted(self) -> bool:
        """Whether the kernel said that the table changed under the dump (NLM_F_DUMP_INTR)."""
        return self._done_interrupted or self._strides.interrupted

    def data_to_send(self) -> bytes:
        """The request, stamped with sequence and port ID.

        What is no dump asks for an ack, so that its end can be told from its loss.
        """
        flags = self._request.flags | NLM_F_REQUEST
        if not self._request.is_dump:
            flags |= NLM_F_ACK
        return build_message(
            self._request.type, flags, self._sequence, self._port_id, self._request.payload
        )

    def receive(self, data: bytes, read: Reader) -> None:
        """Follow one datagram; ``read`` takes the rows, a stretch at a time.

        Raises DecodeError where the bytes break the rules, OverrunError on NLMSG_OVERRUN.
        """
        offset = 0
        while offset < len(data):
            message = parse_message(data, offset)
            if message.sequence != self._sequence:
                self._rejected["sequence"] += 1
            elif message.port_id != self._port_id:
                self._rejected["port_id"] += 1
            elif self.finished:
                self._rejected["after_end"] += 1
            elif message.type == self._request.row_type:
                if message.end - message.start < self._request.row_minimum:
                    raise DecodeError("a row shorter than its fixed part", offset)
                self._follow(Event.ROW)
                offset = read(data, offset, self._strides)
                continue
            else:
                self._control(data, message)
            offset = message.next

    def _control(self, data: bytes, message: Message) -> None:
        if message.type == NLMSG_DONE:
            self._done_interrupted = bool(message.flags & NLM_F_DUMP_INTR)
            self._conclude(Event.DONE, parse_done(data, message))
        elif message.type == NLMSG_ERROR:
            self._conclude(Event.ACK, parse_error(data, message))
        elif message.type == NLMSG_OVERRUN:
            raise OverrunError(f"the kernel cut off the reply to {self._request.name}", 0)
        elif message.type != NLMSG_NOOP:
            raise DecodeError(
                f"a message of type {message.type} in a reply of type {self._request.row_type}",
                message.start,
            )

    def _conclude(self, success: Event, ack: Ack) -> None:
        if not ack.errno:
            self._follow(success)
            return
        self._follow(Event.ERROR)
        request = self._request
        if ack.errno in request.missing:
            self.error = NotSupported(ack.errno, request.feature, request.since, ack.extack)
            return
        path: tuple[int, ...] = ()
        attribute = None
        if request.attributes_at is not None:
            from netlink_safe.wire.attribute_path import path_meant, spelled

            start = HEADER.size + request.attributes_at
            path = path_meant(self.data_to_send(), start, ack.extack)
            attribute = spelled(path, request.names) if path else None
        advice = dict(request.advice).get(ack.errno)
        self.error = KernelError(ack.errno, request.name, ack.extack, path, attribute, advice)

    def _follow(self, event: Event) -> None:
        self.state = self._transitions[self.state, event]
