"""libnl, by ctypes: as much of it as tests compare with.

It is the machine's own, such as Debian's libnl-3-200 and libnl-route-3-200.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import struct
from typing import TYPE_CHECKING, Final

import pytest

import debian_peers
from netlink_safe.wire.constants import NETLINK_SOCK_DIAG

if TYPE_CHECKING:
    from collections.abc import Iterator

#: ``include/netlink/errno.h``.
NLE_AGAIN: Final = 4
NLE_NOMEM: Final = 5
NLE_SEQ_MISMATCH: Final = 16
#: ``include/netlink/handlers.h``: which callback, and that it is one's own.
NL_CB_VALID: Final = 0
NL_CB_CUSTOM: Final = 3
#: A dump of the TCP sockets of IPv4, in all states.
DUMP: Final = 0x301
SOCK_DIAG_BY_FAMILY: Final = 20
QUESTION: Final = struct.pack("=BBBxI48x", socket.AF_INET, socket.IPPROTO_TCP, 0, 0xFFF)
_HEADER: Final = struct.Struct("=IHHII")
_CALLBACK: Final = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)


def library(name: str) -> ctypes.CDLL:
    """A shared library; skips the test, or fails it, where it is missing."""
    try:
        return ctypes.CDLL(name)
    except OSError:
        absent = f"{name} is missing: apt-get install libnl-3-200 libnl-route-3-200"
        if debian_peers.MUST_HAVE:
            pytest.fail(absent)
        pytest.skip(absent)


class Nl:
    """A socket of libnl's, as it is without anything that its user asks for."""

    def __init__(self, protocol: int) -> None:
        self.lib = library("libnl-3.so.200")
        self.lib.nl_socket_alloc.restype = ctypes.c_void_p
        self.lib.nl_socket_get_local_port.restype = ctypes.c_uint32
        self.pointer = ctypes.c_void_p(self.lib.nl_socket_alloc())
        assert self.lib.nl_connect(self.pointer, protocol) == 0
        #: What it receives on.
        self.socket = socket.socket(fileno=os.dup(self.lib.nl_socket_get_fd(self.pointer)))
        self.port_id = self.lib.nl_socket_get_local_port(self.pointer)
        self.rows = 0
        self._row = _CALLBACK(self._count)
        self.lib.nl_socket_modify_cb(self.pointer, NL_CB_VALID, NL_CB_CUSTOM, self._row, None)

    def _count(self, *_: int) -> int:
        self.rows += 1
        return 0

    def ask(self) -> None:
        """For a dump of TCP sockets."""
        question = ctypes.create_string_buffer(QUESTION, len(QUESTION))
        size = ctypes.c_size_t(len(QUESTION))
        sent = self.lib.nl_send_simple(self.pointer, SOCK_DIAG_BY_FAMILY, DUMP, question, size)
        assert sent > 0

    def next_sequence(self) -> int:
        """The number of what stands in its queue, a reply that it has asked for, and one more."""
        return int(_HEADER.unpack_from(self.socket.recv(4096, socket.MSG_PEEK))[3]) + 1

    def receive(self) -> int:
        """nl_recvmsgs_default: 0, or an error of libnl's below 0."""
        self.rows = 0
        return int(self.lib.nl_recvmsgs_default(self.pointer))


@contextlib.contextmanager
def opened(protocol: int = NETLINK_SOCK_DIAG) -> Iterator[Nl]:
    """One that is freed in the end."""
    nl = Nl(protocol)
    with nl.socket:
        try:
            yield nl
        finally:
            nl.lib.nl_socket_free(nl.pointer)
