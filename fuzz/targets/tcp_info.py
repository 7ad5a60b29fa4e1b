"""Structures that grow: what is there is told, what is not is None, and the rest is the tail.

The first byte chooses the structure; all behind it are its bytes.
"""

from __future__ import annotations

from typing import Final

from fuzz.common import Bytes, look_at
from netlink_safe.families.growing import Field, GrowingStructure
from netlink_safe.families.inet_rows import _addresses
from netlink_safe.families.mptcp_info import MptcpInfo
from netlink_safe.families.sock_diag import SocketMemory
from netlink_safe.families.tcp_info import TcpInfo

STRUCTURES: Final[tuple[type[GrowingStructure], ...]] = (TcpInfo, MptcpInfo)


def one_input(data: bytes) -> None:
    """Look at all of its fields, and at those of the same, one byte and one field shorter."""
    given = Bytes(data)
    kind = STRUCTURES[given.byte() % len(STRUCTURES)]
    raw = given.rest()
    whole = kind(raw)
    look_at(whole)
    _check_fields(kind, raw)
    for length in {len(raw) // 2, max(len(raw) - 1, 0)}:
        part = kind(raw[:length])
        _check_fields(kind, part.raw)
        assert part.as_dict().items() <= whole.as_dict().items()
        assert (part == whole) == (part.raw == raw)
    memory = SocketMemory.read(raw)
    assert (memory is None) == (len(raw) < 36)
    assert len(_addresses(raw)) <= len(raw) // 128


def _check_fields(kind: type[GrowingStructure], raw: bytes) -> None:
    structure = kind(raw)
    fields = {name: vars(kind)[name] for name in kind.FIELDS}
    told = structure.as_dict()
    for name, field in fields.items():
        assert isinstance(field, Field)
        assert (name in told) == (field.end <= len(raw))
        assert 0 <= told.get(name, 0) < 1 << 64
        assert getattr(structure, name) == told.get(name)
    assert len(structure.tail) == max(len(raw) - kind.KNOWN, 0)
    assert raw.endswith(structure.tail)
    assert hash(structure) == hash(kind(raw))
