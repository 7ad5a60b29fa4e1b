"""Small inputs for each target: rows and messages as the project's own builders make them.

``python -m fuzz.seeds`` writes them anew, and ``--live`` adds what the running kernel answers: run
it in a network namespace of its own, so that it tells of no sockets but those made here.  What was
found by fuzzing stands beside them under other names, and is left as it is.

May call ``fuzz.targets`` and ``netlink_safe``.

Long because: it is data, a stretch for each target, and nothing calls across them.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import netlink_safe.blocking as nls
from fuzz.common import PORT_ID, SEQUENCE, message
from fuzz.targets import exchange, growth, inet_rows, uevents
from netlink_safe.families import ctrl, ethtool
from netlink_safe.families.inet_diag import Extension, Given
from netlink_safe.testing import record
from netlink_safe.wire.attributes import (
    build_attribute,
    build_nested,
    build_text,
    build_u32,
)
from netlink_safe.wire.constants import (
    NLM_F_ACK_TLVS,
    NLM_F_CAPPED,
    NLMSG_DONE,
    NLMSG_ERROR,
    NLMSGERR_ATTR_MSG,
    NLMSGERR_ATTR_OFFS,
)
from netlink_safe.wire.generic import build_generic
from netlink_safe.wire.header import HEADER, build_message, iterate_messages
from netlink_safe.wire.policy import BITFIELD, MAXIMUM, POLICY, TYPE, AttributeKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CORPUS: Final = Path(__file__).parent / "corpus"
_ERRNO: Final = struct.Struct("=i")


def seeds() -> dict[str, dict[str, bytes]]:
    """The inputs of each target, by name."""
    return {
        "acks": _acks(),
        "attributes": _attributes(),
        "exchange": _exchanges(),
        "filters": _filters(),
        "generic": _generic(),
        "growth": _growth(),
        "header": _headers(),
        "inet_rows": _inet_rows(),
        "rows": _rows(),
        "tcp_info": {
            "tcp": b"\0" + bytes(range(1, 249)),
            "tcp-newer": b"\0" + bytes(300),
            "mptcp": b"\1" + bytes(range(96)),
        },
        "uevents": _uevents(),
    }


def _piece(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data


def _inet_row(family: int, state: int, *attributes: bytes) -> bytes:
    """struct inet_diag_msg, and what stands behind it."""
    ports = struct.pack("!HH", 443, 40000)
    addresses = bytes(15) + b"\1" + bytes(10) + b"\xff\xff\x7f\0\0\1"
    numbers = struct.pack("=IIIIIIII", 3, 7, 0, 200, 5, 128, 1000, 4242)
    return bytes([family, state, 0, 0]) + ports + addresses + numbers + b"".join(attributes)


_COMMON: Final = (
    build_attribute(Extension.SOCKET_MEMORY, bytes(range(36))),
    build_attribute(Given.SHUTDOWN, b"\2"),
    build_attribute(Given.CGROUP_ID, bytes(8)),
    build_u32(Given.MARK, 17),
)


def _inet_rows() -> dict[str, bytes]:
    info = build_attribute(Extension.INFO, bytes(range(232)))
    subflow = build_nested(3, build_u32(1, 7), build_u32(2, 8), build_u32(8, 0x1FF))
    upper = build_nested(Given.UPPER_LAYER, build_text(1, "mptcp"), subflow)
    congestion = build_text(Extension.CONGESTION, "cubic")
    peers = struct.pack("=H2x4s120x", 2, b"\x7f\0\0\1") + struct.pack(
        "=HHI16sI100x", 10, 0, 0, b"\xfe\x80" + bytes(14), 3
    )
    by_name = {
        "tcp": (0, _inet_row(10, 1, info, upper, congestion, *_COMMON)),
        "listener": (1, _inet_row(2, 10, build_attribute(Given.V6_ONLY, b"\1"))),
        "tcp-one": (3, _inet_row(2, 6)),
        "mptcp": (4, _inet_row(10, 1, build_attribute(Extension.INFO, bytes(96)))),
        "udp": (5, _inet_row(2, 7, build_attribute(Extension.TOS, b"\x10"), *_COMMON)),
        "raw": (8, _inet_row(2, 7, *_COMMON)),
        "sctp": (
            9,
            _inet_row(
                2,
                3,
                build_attribute(Given.LOCAL_ADDRESSES, peers),
                build_attribute(Given.PEER_ADDRESSES, peers),
            ),
        ),
        "unknown-family": (0, _inet_row(0, 1)),
        "wide-number": (0, _inet_row(2, 1, build_attribute(Given.MARK, b"\xff" * 2000))),
        "closed": (0, _inet_row(2, 7, build_attribute(Given.PROTOCOL, b"\6"))),
    }
    one = message(20, 2, by_name["tcp"][1])
    end = message(NLMSG_DONE, 2, bytes(4))
    datagrams = {"datagram": one + one + end, "datagram-cut": one + one[:-4], "row-cut": one[:39]}
    return {
        **{name: bytes([kind, 1]) + row for name, (kind, row) in by_name.items()},
        **{name: bytes([inet_rows.RAW_DATAGRAM, 0]) + raw for name, raw in datagrams.items()},
    }


def _rows() -> dict[str, bytes]:
    memory = bytes(36)
    unix = struct.pack("=BBBxIII", 1, 1, 10, 77, 1, 0) + b"".join(
        (
            build_attribute(0, b"\0name\0"),
            build_attribute(1, struct.pack("=II", 5, 0x800001)),
            build_u32(2, 78),
            build_attribute(3, struct.pack("=III", 1, 0, 2)),
            build_attribute(4, struct.pack("=II", 1, 4096)),
            build_attribute(5, memory),
            build_attribute(6, b"\3"),
            build_u32(7, 1000),
        )
    )
    netlink = struct.pack("=BBBBIIIIII", 16, 3, 15, 7, 4242, 0, 0, 9, 1, 0) + b"".join(
        (
            build_attribute(0, memory),
            build_attribute(1, struct.pack("=Q", 0x8001)),
            build_u32(4, 0x41),
        )
    )
    packet = struct.pack("=BBHIII", 17, 3, 3, 9, 1, 0) + b"".join(
        (
            build_attribute(0, struct.pack("=6I", 2, 2, 0, 0, 0, 0x1F)),
            build_attribute(1, struct.pack("=IIHH32s", 2, 1, 1, 6, b"\1\0\x5e")),
            build_attribute(2, bytes(28)),
            build_u32(4, 0x10001),
            build_u32(5, 1000),
            build_attribute(6, memory),
            build_attribute(7, bytes(16)),
        )
    )
    vsock = struct.pack("=BBBBIIIIIII", 40, 1, 10, 0, 2, 1024, 0xFFFFFFFF, 0xFFFFFFFF, 9, 1, 0)
    links = struct.pack("=BxHiII", 0, 1, 2, 1, 0) + b"".join(
        (
            build_text(3, "veth0"),
            build_u32(4, 1500),
            build_attribute(1, bytes(6)),
            build_nested(18, build_text(1, "vxlan"), build_nested(2, build_u32(3, 7))),
            build_u32(37, 1),
        )
    )
    number = struct.pack("=Bxxx", 0) + build_u32(1, 0xFFFFFFFF)
    kinds = {
        "unix": (0, unix),
        "unix-too-large": (2, unix),
        "netlink": (4, netlink),
        "packet": (6, packet),
        "packet-too-large": (7, packet),
        "vsock": (8, vsock),
        "link": (9, links),
        "number": (11, number),
    }
    return {name: bytes([kind]) + row for name, (kind, row) in kinds.items()}


def _attributes() -> dict[str, bytes]:
    flat = build_u32(1, 7) + build_text(2, "lo") + build_attribute(3, b"") + build_u32(1, 8)
    nest = build_nested(1, build_nested(2, build_attribute(3, bytes(8)), flat))
    deep = b""
    for _ in range(33):
        deep = build_nested(1, deep)
    return {
        "flat": b"\0\0" + flat,
        "nested": b"\0\0" + nest,
        "deep": b"\0\0" + deep,
        "inside": b"\4\2" + bytes(4) + flat + bytes(2),
    }


def _headers() -> dict[str, bytes]:
    row = build_message(20, 2, SEQUENCE, PORT_ID, bytes(72))
    done = build_message(NLMSG_DONE, 2, SEQUENCE, PORT_ID, bytes(4))
    odd = build_message(20, 0x12, SEQUENCE, PORT_ID, bytes(73)) + bytes(3)
    return {
        "rows": b"\x48" + row + row + done,
        "padded": b"\x48" + odd + row,
        "short": b"\x48" + row + done[:-1],
        "unpadded": b"\x48" + odd[:-3],
    }


def _acks() -> dict[str, bytes]:
    request = HEADER.pack(32, 16, 5, SEQUENCE, 0)
    said = build_text(NLMSGERR_ATTR_MSG, "no such family") + build_u32(NLMSGERR_ATTR_OFFS, 20)
    missing = build_u32(5, 2) + build_u32(6, 20) + build_attribute(3, b"cookie")
    deep = b""
    for _ in range(40):
        deep = build_nested(1, deep)
    nests = build_nested(1, build_text(2, "lo"), build_u32(3, 0))
    capped = (NLM_F_CAPPED | NLM_F_ACK_TLVS).to_bytes(2, "little")
    refused = _ERRNO.pack(-22)
    return {
        "ack": b"\1\0\0\x14\0" + bytes(4) + request,
        "refusal": b"\1" + capped + b"\x14\0" + refused + request + said,
        "no-errno": b"\1" + capped + b"\x14\0" + _ERRNO.pack(-1 << 31) + request,
        "missing": b"\5" + capped + b"\x14\0" + refused + request + missing,
        "whole": b"\5\0\2\x18\0" + refused + request + bytes(16) + said,
        "done": b"\2\0\2\x14\0" + refused + said,
        "deep": b"\5\0\2" + (HEADER.size + 4 * 40 - 4).to_bytes(2, "little") + deep,
        "nests": b"\5\0\2\x14\0" + nests,
    }


def _generic() -> dict[str, bytes]:
    operation = build_nested(1, build_u32(1, 3), build_u32(2, 0x1E))
    group = build_nested(1, build_text(1, "notify"), build_u32(2, 16))
    family = b"".join(
        (
            build_attribute(ctrl.FAMILY_ID, b"\x10\0"),
            build_text(ctrl.FAMILY_NAME, "nlctrl"),
            build_u32(ctrl.FAMILY_VERSION, 2),
            build_u32(ctrl.HDRSIZE, 4),
            build_u32(ctrl.MAXATTR, 10),
            build_nested(ctrl.OPS, operation),
            build_nested(ctrl.MCAST_GROUPS, group),
        )
    )
    places = build_nested(ctrl.OP_POLICY, build_nested(3, build_u32(1, 0), build_u32(2, 0)))
    each = (
        build_nested(1, build_u32(TYPE, 4), build_attribute(MAXIMUM, struct.pack("=Q", 9))),
        build_nested(2, build_u32(TYPE, 12)),
        build_nested(3, build_u32(TYPE, 13), build_u32(POLICY, 0)),
        build_nested(4, build_u32(TYPE, 14), build_u32(POLICY, 0)),
        build_nested(5, build_u32(TYPE, 15), build_u32(BITFIELD, 7)),
        build_nested(6, build_u32(TYPE, 17)),
    )
    policy = places + build_nested(ctrl.POLICY, build_nested(0, *each))
    values = b"".join(
        (
            build_u32(1, 7),
            build_text(2, "lo"),
            build_nested(3, build_u32(1, 8)),
            build_nested(4, build_nested(1, build_u32(1, 1)), build_nested(2, build_u32(1, 2))),
            build_attribute(5, struct.pack("=II", 1, 3)),
            build_attribute(6, bytes(8)),
        )
    )
    device = build_nested(1, build_u32(1, 2), build_text(2, "eth0"))
    ovs = struct.pack("=i", 3) + build_u32(1, 1) + build_u32(2, 2) + build_text(3, "vport")
    return {
        "family": b"\0" + family,
        "endless-header": b"\0" + family + build_u32(ctrl.HDRSIZE, 0xFFFFFFF0),
        "family-without-number": b"\0" + family[8:],
        "policy": b"\1" + _piece(policy) + values,
        "link-info": b"\2" + build_generic(2, 1, b"", device + build_attribute(2, b"\1")),
        "link-state": bytes([2 | 1 << 2]) + build_generic(6, 1, b"", device),
        "rings": bytes([2 | 2 << 2]) + build_generic(15, 1, b"", device + build_u32(6, 256)),
        "vport": bytes([2 | 5 << 2]) + build_generic(3, 1, b"", ovs),
        "notifications": b"\3" + b"\xc1" + _piece(values) + b"\x41" + _piece(values) + b"\1\0\0",
    }


def _exchanges() -> dict[str, bytes]:
    row, end, error, noop, own, stranger, raw, ends = range(8)
    reply = bytes([row, 0, 0, row, 1, 2, 2, 1, ends, 0, 0, end, 0, 4]) + bytes(4)
    answer = bytes([row, 0, 0, error, 0, 20]) + bytes(20)
    refusal = bytes([error, 0x30, 20]) + _ERRNO.pack(-22) + HEADER.pack(0, 0, 0, 0, 0)
    strangers = bytes([row, 0, 0, stranger, 0, 4]) + bytes(4) + bytes([stranger | 8, 0, 0])
    done = message(NLMSG_DONE, 2, bytes(4))
    tcp = message(20, 2, _inet_row(2, 1))
    lost = build_message(4, 0, SEQUENCE, PORT_ID, b"")
    scripted = exchange.SCRIPT
    return {
        "dump": bytes([scripted]) + reply,
        "request": bytes([scripted | 1]) + answer,
        "family": bytes([scripted | 3]) + refusal,
        "strangers": bytes([scripted]) + strangers + reply,
        "after-end": bytes([scripted | 4]) + reply + strangers,
        "noop": bytes([scripted, noop | 1 << 3, 0, 0]) + reply,
        "own-type": bytes([scripted, own, 0, 4]) + bytes(4),
        "broken": bytes([scripted, raw, 0, 3]) + b"abc",
        "order": bytes([scripted | 5]) + answer[3:],
        "datagrams": b"\0" + _piece(tcp + tcp) + _piece(tcp + done),
        "overrun": b"\0" + _piece(tcp) + _piece(lost),
    }


def _filters() -> dict[str, bytes]:
    texts = (
        "dst :443 and not src 127.0.0.0/8",
        "sport >= :1024 or dport != 22",
        "host [2001:db8::/32]:443 and ( dev lo or dev = 3 )",
        'fwmark 0x11/0xff and cgroup = "/user.slice"',
        "not ( port 1-1023 | host 10.0.0.0/8:80 ) & ! dev 7",
        "sport 1 or sport 2 and dport 3",
        'dev "a\\"b" && cgroup 5',
        "sport 0-65535 or dport 0-1 or port 2-65535",
        "(" * 64 + "dev 1" + ")" * 64,
        "(" * 400 + "dev 1" + ")" * 400,
    )
    return {f"text-{number}": text.encode() for number, text in enumerate(texts)}


def _growth() -> dict[str, bytes]:
    """Each reader, by its number, with what may be repeated to it."""
    found = {}
    readers = {name: number for number, name in enumerate(growth.READERS)}
    tcp = message(20, 2, _inet_row(2, 1, *_COMMON))
    array = build_nested(AttributeKind.NESTED_ARRAY, build_u32(2, 1))
    repeated = {
        "tcp": (b"", tcp, b"", b"", b""),
        "decode": (b"", array, b"", b"", b""),
        "encode": (b"", build_nested(4, build_u32(2, 1)), b"", b"", b""),
        "path": (b"", build_u32(1, 1), b"", b"", b""),
        "filter": (b"", b"(", b"dev 1", b")", b" or port 1"),
        "filter-many": (b"dev 1", b" or port 1", b"", b"", b""),
        "uevent": (_plug(b""), b"A=b\0", b"", b"", b"SEQNUM=1\0"),
        "udev": (_plug(b"").partition(b"\0")[2], b"A=b\0", b"", b"", b"SEQNUM=1\0"),
    }
    for name, pieces in repeated.items():
        number = readers[name.partition("-")[0]]
        found[name] = bytes([number, 7]) + b"".join(map(_piece, pieces))
    return found


def _plug(end: bytes = b"SEQNUM=4321\0") -> bytes:
    path = b"/devices/usb1/1-1"
    said = b"ACTION=add\0DEVPATH=%b\0SUBSYSTEM=usb\0MAJOR=189\0%b" % (path, end)
    return b"add@%b\0%b" % (path, said)


def _uevents() -> dict[str, bytes]:
    plug = _plug()
    gone = plug.replace(b"add", b"remove").replace(b"4321", b"4322")
    moved = plug.replace(b"add", b"move") + b"DEVPATH_OLD=/devices/usb1\0"
    other = plug.replace(b"MAJOR=189", b"MAJOR=190")
    properties = plug.partition(b"\0")[2]
    return {
        "plug": b"\0\0" + _piece(plug) + b"\0" + _piece(gone),
        "twice": b"\x28\0" + _piece(plug) + b"\0" + _piece(other),
        "moved-after-look": b"\x28\0" + _piece(plug) + b"\0" + _piece(moved),
        "gone-after-look": b"\x28\0" + _piece(plug) + b"\0" + _piece(gone) + b"\0" + _piece(gone),
        "moved": b"\0\0" + _piece(plug) + b"\0" + _piece(moved) + b"\0" + _piece(gone),
        "injected": b"\x02\3" + _piece(plug) + b"\4" + _piece(plug),
        "udevd": b"\1\x85" + _piece(properties) + b"\7" + _piece(properties),
        "udevd-header": b"\1\5" + _piece(uevents.udev_text(properties)),
    }


def captured() -> Iterator[tuple[str, str, bytes]]:
    """Target, name and bytes of what the running kernel says, of sockets that are made here."""
    with contextlib.ExitStack() as stack:
        diag = stack.enter_context(nls.open_sock_diag())
        genl = stack.enter_context(nls.open_generic())
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        client = stack.enter_context(socket.create_connection(server.getsockname()))
        udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        udp.bind(("127.0.0.1", 0))
        unix, _ = map(stack.enter_context, socket.socketpair())
        user = stack.enter_context(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 2))
        user.bind((0, 1))
        stack.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM))
        asked: dict[str, Callable[[], object]] = {
            "inet_rows 0 tcp": lambda: diag.request(
                nls.tcp_socket(client.getsockname(), server.getsockname(), extensions=Extension)
            ),
            "inet_rows 1 listener": lambda: diag.request(
                nls.tcp_socket(server.getsockname(), extensions=Extension)
            ),
            "inet_rows 5 udp": lambda: diag.request(
                nls.udp_socket(udp.getsockname(), extensions=["memory", "socket_memory", "tos"])
            ),
            "rows 3 unix": lambda: diag.request(nls.unix_socket(os.fstat(unix.fileno()).st_ino)),
            "rows 4 netlink": lambda: list(diag.dump(nls.netlink_sockets("usersock"))),
            "rows 6 packet": lambda: list(diag.dump(nls.packet_sockets())),
            "generic 0 family": lambda: genl.family("nlctrl"),
            "acks 1 refusal": lambda: genl.request(ethtool.link_info("nothing")),
        }
        for where, call in asked.items():
            target, number, name = where.split()
            yield target, f"captured-{name}", _input(target, int(number), _answer_to(call))


def _answer_to(call: Callable[[], object]) -> tuple[int, bytes]:
    """Flags and payload of the last answer that is no end, or is a refusal."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "recording")
        with record(path), contextlib.suppress(nls.KernelError):
            call()
        lines = map(json.loads, path.read_text("ascii").splitlines())
        datagrams = [bytes.fromhex(line["received"]) for line in lines if "received" in line]
    messages = [(data, one) for data in datagrams for one in iterate_messages(data)]
    data, last = [
        (data, one)
        for data, one in messages
        if one.type != NLMSG_DONE and (one.type != NLMSG_ERROR or any(data[16:20]))
    ][-1]
    return last.flags, data[last.payload : last.end]


def _input(target: str, number: int, answer: tuple[int, bytes]) -> bytes:
    flags, payload = answer
    if target == "acks":
        return bytes([number]) + flags.to_bytes(2, "little") + bytes(2) + payload
    if target == "generic":
        return bytes([number]) + payload[4:]  # behind the generic header
    return bytes([number]) + bytes(target == "inet_rows") + payload


def main() -> None:
    """Write them."""
    for target, inputs in seeds().items():
        (CORPUS / target).mkdir(parents=True, exist_ok=True)
        for name, data in inputs.items():
            (CORPUS / target / name).write_bytes(data)
    if "--live" in sys.argv[1:]:
        for target, name, data in captured():
            (CORPUS / target / name).write_bytes(data)


if __name__ == "__main__":
    main()
