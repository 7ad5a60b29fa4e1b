"""Counting rows of TCP sockets, whatever numbers stand in them."""

from __future__ import annotations

import pytest

from netlink_safe.collectors.tcp_fold import StateFold
from netlink_safe.families.inet_diag import AddressFamily
from netlink_safe.families.inet_socket import ROW_MINIMUM
from netlink_safe.wire.header import HEADER, Strides

ROW_TYPE, SEQUENCE, PORT_ID = 20, 7, 4711


def row(family: int, state: int) -> bytes:
    """A row of nothing but its fixed part."""
    header = HEADER.pack(ROW_MINIMUM, ROW_TYPE, 2, SEQUENCE, PORT_ID)
    return (header + bytes([family, state])).ljust(ROW_MINIMUM, b"\0")


def folded(*rows: bytes) -> StateFold:
    """A fold that has read them."""
    fold = StateFold()
    data = b"".join(rows)
    assert fold.read(data, 0, Strides(ROW_TYPE, ROW_MINIMUM, SEQUENCE, PORT_ID)) == len(data)
    return fold


@pytest.mark.anywhere
@pytest.mark.parametrize("family", AddressFamily)
def test_every_state_that_a_byte_can_hold_is_counted(family: AddressFamily) -> None:
    """Also one that no kernel has yet."""
    fold = folded(*(row(family, state) for state in range(256)), row(family, 255))
    assert fold.counts(family) == dict.fromkeys(range(255), 1) | {255: 2}
    assert fold.rows == 257


@pytest.mark.anywhere
def test_a_family_that_is_none_is_counted_as_no_other() -> None:
    """It is a row, and neither of IPv4 nor of IPv6."""
    fold = folded(row(255, 255), row(AddressFamily.INET6, 1))
    assert fold.counts(AddressFamily.INET) == {}
    assert fold.counts(AddressFamily.INET6) == {1: 1}
    assert fold.rows == 2
