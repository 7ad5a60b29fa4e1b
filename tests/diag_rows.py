"""Rows of sock_diag that no kernel sends: made here, and read as a request reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

import hypothesis.strategies as st

from netlink_safe.errors import DecodeError
from netlink_safe.wire.attributes import build_attribute
from netlink_safe.wire.header import Strides, build_message

if TYPE_CHECKING:
    from netlink_safe.protocol.request import Request

Row = TypeVar("Row")

#: What may stand behind the fixed part of a row: attributes of any length, or just bytes.
TAILS: Final = st.one_of(
    st.lists(st.builds(build_attribute, st.integers(0, 9), st.binary(max_size=80)), max_size=8).map(
        b"".join
    ),
    st.binary(max_size=120),
)


def read(request: Request[Row], payload: bytes) -> list[Row]:
    """The rows of a datagram with one message, which has this payload."""
    data = build_message(request.row_type, 0, 1, 2, payload)
    rows: list[Row] = []
    strides = Strides(request.row_type, request.row_minimum, 1, 2)
    assert request.read(data, 0, strides, rows) in (0, (len(data) + 3) & ~3)
    return rows


def check_decoded_or_refused(request: Request[Row], payload: bytes) -> list[Row]:
    """A row, or none, and no other error than DecodeError."""
    try:
        return read(request, payload)
    except DecodeError:
        return []
