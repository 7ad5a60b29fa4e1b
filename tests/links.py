"""Network links, made, renamed and deleted by the thousand: the kernel's own source of uevents."""

from __future__ import annotations

import os
import socket
import struct
from typing import TYPE_CHECKING, Final, Self

import pytest

from netlink_safe.wire.attributes import build_attribute
from netlink_safe.wire.header import build_message

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

RTM_NEWLINK: Final = 16
RTM_DELLINK: Final = 17
NLM_F_REQUEST_ACK: Final = 0x05
NLM_F_CREATE_EXCL: Final = 0x600
IFLA_IFNAME: Final = 3
IFLA_LINK: Final = 5
IFLA_LINKINFO: Final = 18
IFLA_GROUP: Final = 27
IFLA_NET_NS_FD: Final = 28
IFLA_NUM_TX_QUEUES: Final = 31
IFLA_NUM_RX_QUEUES: Final = 32
IFLA_INFO_KIND: Final = 1
IFLA_INFO_DATA: Final = 2
VETH_INFO_PEER: Final = 1
IFLA_VXLAN_ID: Final = 1
IFLA_VXLAN_LINK: Final = 3

#: A group of links is deleted in one go, several times as fast as one by one.
GROUP: Final = 7

_LINK: Final = struct.Struct("=BxHiII")
_U32: Final = struct.Struct("=I")


def _named(name: str) -> bytes:
    one = _U32.pack(1)
    return (
        build_attribute(IFLA_IFNAME, name.encode() + b"\0")
        + build_attribute(IFLA_GROUP, _U32.pack(GROUP))
        + build_attribute(IFLA_NUM_TX_QUEUES, one)
        + build_attribute(IFLA_NUM_RX_QUEUES, one)
    )


class Links:
    """Makes and unmakes veth pairs in the calling thread's network namespace."""

    def __enter__(self) -> Self:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
        self._socket.bind((0, 0))
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def make(self, name: str, peer: str) -> None:
        """A veth pair."""
        peer_there = build_attribute(VETH_INFO_PEER, bytes(_LINK.size) + _named(peer))
        info = build_attribute(IFLA_INFO_KIND, b"veth") + build_attribute(
            IFLA_INFO_DATA, peer_there
        )
        self._ask(RTM_NEWLINK, NLM_F_CREATE_EXCL, 0, _named(name), (IFLA_LINKINFO, info))

    def make_macvlan(self, name: str, under: str, path: str) -> None:
        """A macvlan of a link that is here, made in the network namespace of a path."""
        lower = build_attribute(IFLA_LINK, _U32.pack(socket.if_nametoindex(under)))
        info = build_attribute(IFLA_INFO_KIND, b"macvlan")
        with open(path, encoding="ascii") as file:
            there = build_attribute(IFLA_NET_NS_FD, _U32.pack(file.fileno()))
            body = _named(name) + lower + there
            self._ask(RTM_NEWLINK, NLM_F_CREATE_EXCL, 0, body, (IFLA_LINKINFO, info))

    def make_vxlan(self, name: str, under: str) -> None:
        """A vxlan over a link."""
        data = build_attribute(IFLA_VXLAN_ID, _U32.pack(7)) + build_attribute(
            IFLA_VXLAN_LINK, _U32.pack(socket.if_nametoindex(under))
        )
        info = build_attribute(IFLA_INFO_KIND, b"vxlan") + build_attribute(IFLA_INFO_DATA, data)
        self._ask(RTM_NEWLINK, NLM_F_CREATE_EXCL, 0, _named(name), (IFLA_LINKINFO, info))

    def move(self, name: str, path: str) -> None:
        """A link, into the network namespace of a path."""
        with open(path, encoding="ascii") as file:
            there = build_attribute(IFLA_NET_NS_FD, _U32.pack(file.fileno()))
            self._ask(RTM_NEWLINK, 0, socket.if_nametoindex(name), there)

    def delete(self, name: str) -> None:
        """A link, and its peer with it."""
        self._ask(RTM_DELLINK, 0, 0, build_attribute(IFLA_IFNAME, name.encode() + b"\0"))

    def delete_all(self) -> None:
        """Every pair that was made here, in one go."""
        self._ask(RTM_DELLINK, 0, 0, build_attribute(IFLA_GROUP, _U32.pack(GROUP)))

    def rename(self, name: str, new: str) -> None:
        """A link that is down."""
        index = socket.if_nametoindex(name)
        self._ask(RTM_NEWLINK, 0, index, build_attribute(IFLA_IFNAME, new.encode() + b"\0"))

    def _ask(
        self, kind: int, flags: int, index: int, body: bytes, *more: tuple[int, bytes]
    ) -> None:
        attributes = body + b"".join(build_attribute(*one) for one in more)
        link = _LINK.pack(0, 0, index, 0, 0)
        self._socket.send(build_message(kind, NLM_F_REQUEST_ACK | flags, 1, 0, link + attributes))
        reply = self._socket.recv(65536)
        error = -int(struct.unpack_from("=i", reply, 16)[0])
        if error:
            raise OSError(error, os.strerror(error))


def names(pairs: Iterable[int]) -> list[tuple[str, str]]:
    """What pairs are called."""
    return [(f"left{number}", f"right{number}") for number in pairs]


def there() -> set[str]:
    """The links of this namespace."""
    return {name for _, name in socket.if_nameindex()}


@pytest.fixture
def two() -> Iterator[None]:
    with Links() as links:
        links.make("left", "right")
        yield
