"""Rows of protocols over IP that are read without a socket, and requests that are none."""

from __future__ import annotations

import struct
from typing import Any

import pytest

import netlink_safe as nls
from inet_told import MPTCP
from netlink_safe.families.inet_diag import Given
from netlink_safe.families.sock_diag import SOCK_DIAG_BY_FAMILY
from netlink_safe.wire.attributes import build_attribute, build_nested, build_u32
from netlink_safe.wire.header import build_message

ULP_NAME, ULP_MPTCP = 1, 3


BUILDERS = {
    "udp": nls.udp_sockets,
    "udplite": nls.udplite_sockets,
    "raw": nls.raw_sockets,
    "mptcp": nls.mptcp_sockets,
}


def sctp_row(*attributes: bytes) -> nls.SctpSocket:
    """A row as the kernel would make it, in state 3."""
    body = bytes([2, 3, 0, 9]) + bytes(68) + b"".join(attributes)
    return nls.SctpSocket(build_message(SOCK_DIAG_BY_FAMILY, 0, 1, 1, body))


def storage(family: int, body: bytes) -> bytes:
    """struct sockaddr_storage."""
    return (struct.pack("=H", family) + body).ljust(128, b"\0")


def test_addresses_of_sctp_are_read_from_their_storage() -> None:
    """IPv4, IPv6, with a scope; an unknown family and a stub are left out."""
    v4 = storage(2, bytes(2) + bytes([10, 0, 0, 1]))
    v6 = storage(10, bytes(6) + bytes(15) + b"\1")
    scoped = storage(10, bytes(6) + bytes([0xFE, 0x80]) + bytes(13) + b"\1" + struct.pack("=I", 3))
    local = build_attribute(Given.LOCAL_ADDRESSES, v4 + v6 + scoped + storage(1, b"x") + v4[:100])
    endpoint = sctp_row(local)
    assert endpoint.local_addresses == ("10.0.0.1", "::1", "fe80::1%3")
    assert (endpoint.peer_addresses, endpoint.is_association) == ((), False)
    assert endpoint.state is nls.TcpState.SYN_RECV
    association = sctp_row(local, build_attribute(Given.PEER_ADDRESSES, v4))
    assert association.peer_addresses == ("10.0.0.1",)
    assert association.state is nls.SctpState.ESTABLISHED
    assert association.retransmits == 9
    assert str(nls.SctpState(99)) == "STATE_99"


def tcp_row(*attributes: bytes) -> nls.TcpSocket:
    """A row as the kernel would make it."""
    body = bytes([2, 1]) + bytes(70) + b"".join(attributes)
    return nls.TcpSocket(build_message(SOCK_DIAG_BY_FAMILY, 0, 1, 1, body))


@pytest.mark.anywhere
def test_what_runs_on_a_connection_is_told_by_name() -> None:
    """One that is not MPTCP is no subflow; a newer or malformed nest is no riddle."""
    row = tcp_row(build_nested(Given.UPPER_LAYER, build_attribute(ULP_NAME, b"tls\0")))
    assert (row.ulp, row.subflow) == ("tls", None)
    said = build_nested(ULP_MPTCP, build_u32(2, 77), build_u32(8, 1 << 30), build_u32(99, 1))
    subflow = tcp_row(build_nested(Given.UPPER_LAYER, said)).subflow
    assert subflow is not None
    assert (subflow.token_local, subflow.token_remote, int(subflow.flags)) == (77, None, 1 << 30)
    broken = tcp_row(build_nested(Given.UPPER_LAYER, struct.pack("=HH", 40, ULP_NAME)))
    with pytest.raises(nls.DecodeError) as caught:
        _ = broken.ulp
    assert caught.value.path == (Given.UPPER_LAYER, ULP_NAME)


@pytest.mark.anywhere
def test_mptcp_info_has_the_fields_that_its_length_says_and_keeps_the_rest() -> None:
    """An older kernel gives fewer fields, a newer one more: neither breaks, nothing is lost."""
    raw = bytes(range(96)) + b"newer"
    newer, older = nls.MptcpInfo(raw), nls.MptcpInfo(raw[:40])
    assert newer.tail == b"newer"
    assert newer.token == struct.unpack_from("=I", raw, 12)[0]
    assert newer.last_ack_recv == struct.unpack_from("=I", raw, 92)[0]
    assert list(older.as_dict())[-1] == "rcv_nxt"
    assert older.bytes_sent is None
    assert older == nls.MptcpInfo(raw[:40])
    assert older != newer
    assert older != nls.TcpInfo(raw[:40])


@pytest.mark.anywhere
@pytest.mark.parametrize("kind", BUILDERS)
def test_what_does_not_exist_cannot_be_asked_for(kind: str) -> None:
    """The same of every kind as of TCP; both families are asked for unless one is named."""
    build: Any = BUILDERS[kind]
    assert [request.name.split()[3] for request in build()] == ["inet", "inet6"]
    assert len(build(families="inet6")) == 1
    for options, said in (
        ({"states": "asleep"}, "'asleep' is no state"),
        ({"states": []}, "states is empty"),
        ({"families": "unix"}, "'unix' is no address family"),
        ({"families": []}, "families is empty"),
        ({"extensions": ["rtt"]}, "'rtt' is no extension"),
    ):
        with pytest.raises(nls.LocalProtocolError, match=said):
            build(**options)
    with pytest.raises(nls.LocalProtocolError, match="is no port"):
        nls.udp_sockets(source_port=-1)


@pytest.mark.anywhere
def test_a_protocol_beyond_eight_bits_stands_in_an_attribute() -> None:
    """And nobody's number in its place, lest a kernel that does not know it gives TCP sockets."""
    for request in nls.mptcp_sockets():
        assert request.payload[1] == 0
        assert request.payload[56:] == build_u32(3, MPTCP)
        assert request.missing == frozenset({2})
        assert request.since == "5.9"


@pytest.mark.anywhere
def test_what_is_no_filter_is_refused() -> None:
    """By every builder that takes one."""
    for build in (*BUILDERS.values(), nls.tcp_sockets):
        make: Any = build
        with pytest.raises(nls.LocalProtocolError, match="5 is no filter"):
            make(where=5)
