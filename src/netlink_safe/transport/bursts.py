"""Many datagrams in one system call: ``recvmmsg(2)``, which Python does not have.

It costs two thirds of as many calls of ``recvmsg``; and where neighbours have the same sender, as
nearly always, that is seen by comparing memory once for all of them.

May call ``wire``.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import socket
import struct
from typing import Final

from netlink_safe.wire.datagram import Burst, Credentials, Sender

#: Datagrams to a call at most.
MOST: Final = 64
#: Room for one, in bytes; pages that no datagram was so long as to reach are never touched.
ROOM: Final = 64 * 1024
#: What struct ucred takes with its header.
CONTROL: Final = socket.CMSG_SPACE(12)

_ADDRESS: Final = struct.Struct("=HxxII")
_CONTROL_HEADER: Final = struct.Struct("@Nii")
_CREDENTIALS: Final = struct.Struct("=iII")


class _Vector(ctypes.Structure):
    """struct iovec."""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Header(ctypes.Structure):
    """struct msghdr."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("vectors", ctypes.c_void_p),
        ("vector_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Message(ctypes.Structure):
    """struct mmsghdr."""

    _fields_ = (("header", _Header), ("received", ctypes.c_uint))


_SENDER_SIZE: Final = 16 + CONTROL
_WORDS: Final = ctypes.sizeof(_Message) // 4
_FLAGS: Final = _Header.flags.offset // 4
_RECEIVED: Final = _Message.received.offset // 4

_libc = ctypes.CDLL(None, use_errno=True)


class BurstBuffer:
    """Memory for one call, used again and again.  Not for two threads at once."""

    def __init__(self, most: int = MOST, room: int = ROOM) -> None:
        self._most = most
        self._room = room
        # An anonymous mapping, whose pages are there once they are written to, and not before.
        self._data = mmap.mmap(-1, most * room, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._senders = bytearray(most * _SENDER_SIZE)
        self._vectors = (_Vector * most)()
        self._messages = (_Message * most)()
        data, senders = _address(self._data), _address(self._senders)
        for number in range(most):
            self._vectors[number] = _Vector(data + number * room, room)
            sender = senders + number * _SENDER_SIZE
            self._messages[number].header = _Header(
                name=sender,
                name_length=_ADDRESS.size,
                vectors=ctypes.addressof(self._vectors[number]),
                vector_count=1,
                control=sender + 16,
                control_length=CONTROL,
            )
        self._fresh = bytes(self._messages)
        self._written = memoryview(self._messages).cast("B")
        self._words = self._written.cast("I")
        self._view = memoryview(self._data)

    def receive(self, descriptor: int) -> list[Burst]:
        """What is queued, as many as fit; nothing where nothing is.  Raises OSError."""
        self._written[:] = self._fresh
        self._senders[:] = bytes(len(self._senders))
        count = _libc.recvmmsg(descriptor, self._messages, self._most, socket.MSG_DONTWAIT, None)
        if count < 0:
            number = ctypes.get_errno()
            if number == errno.EAGAIN:
                return []
            raise OSError(number, os.strerror(number))
        words = self._words[: count * _WORDS]
        lengths, flags = words[_RECEIVED::_WORDS].tolist(), words[_FLAGS::_WORDS].tolist()
        view = self._view
        texts = [
            view[start : start + length].tobytes()
            for start, length in zip(range(0, len(view), self._room), lengths, strict=False)
        ]
        senders = self._senders
        if senders[: count * _SENDER_SIZE] == senders[:_SENDER_SIZE] * count and not any(flags):
            return [Burst(_sender(bytes(senders[:_SENDER_SIZE]), 0), texts)]
        return [
            Burst(_sender(bytes(senders[start : start + _SENDER_SIZE]), flag), [text])
            for start, flag, text in zip(
                range(0, len(senders), _SENDER_SIZE), flags, texts, strict=False
            )
        ]


def _address(memory: bytearray | mmap.mmap) -> int:
    return ctypes.addressof((ctypes.c_char * len(memory)).from_buffer(memory))


def _sender(raw: bytes, flags: int) -> Sender:
    """What the kernel wrote beside a datagram."""
    _, port_id, groups = _ADDRESS.unpack_from(raw)
    length, level, kind = _CONTROL_HEADER.unpack_from(raw, 16)
    credentials = None
    if (length, level, kind) == (socket.CMSG_LEN(12), socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
        credentials = Credentials(*_CREDENTIALS.unpack_from(raw, 16 + _CONTROL_HEADER.size))
    return Sender(port_id, groups, credentials, bool(flags & socket.MSG_TRUNC))
