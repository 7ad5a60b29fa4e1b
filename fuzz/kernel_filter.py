"""What the kernel does with a filter's program, told again to hold a compiler against it.

From ``net/ipv4/inet_diag.c``: inet_diag_bc_audit, valid_cc, and inet_diag_bc_run.
May call ``netlink_safe.families.inet_socket``.
"""

from __future__ import annotations

import ipaddress
import struct
from typing import Final

import attrs

from netlink_safe.families.inet_socket import Endpoint

_INSTRUCTION: Final = struct.Struct("=BBH")
_HOST: Final = struct.Struct("=BBxxi")
(
    _NOP, _JMP, _S_GE, _S_LE, _D_GE, _D_LE, _AUTO, _S_COND, _D_COND, _DEV_COND, _MARK_COND,
    _S_EQ, _D_EQ, _CGROUP_COND,
) = range(14)  # fmt: skip
_OPERANDS: Final = {
    _NOP: 0, _JMP: 0, _AUTO: 0, _S_GE: 4, _S_LE: 4, _D_GE: 4, _D_LE: 4, _S_EQ: 4, _D_EQ: 4,
    _DEV_COND: 4, _MARK_COND: 8, _CGROUP_COND: 8,
}  # fmt: skip
#: How long an address is, by its family: any, AF_INET, AF_INET6.
_ADDRESSES: Final = {0: 0, 2: 4, 10: 16}
_MAPPED: Final = bytes(10) + b"\xff\xff"


@attrs.frozen
class SocketLike:
    """What a program looks at in a socket."""

    source_address: str
    source_port: int
    destination_address: str
    destination_port: int
    interface: int
    mark: int | None
    cgroup_id: int | None

    @property
    def source(self) -> Endpoint:
        """As a row has it."""
        return Endpoint(self.source_address, self.source_port)

    @property
    def destination(self) -> Endpoint:
        """As a row has it."""
        return Endpoint(self.destination_address, self.destination_port)


def audit(code: bytes) -> bool:
    """Whether the kernel takes the program."""
    at = 0
    starts = _starts(code)
    while at < len(code):
        left = len(code) - at
        if left < _INSTRUCTION.size:
            return False
        operation, yes, no = _INSTRUCTION.unpack_from(code, at)
        least = _least_jump(code, at, operation)
        if least is None or least > left:
            return False
        is_no_valid = least <= no <= left + 4 and not no & 3
        if operation != _NOP and (not is_no_valid or (no < left and at + no not in starts)):
            return False
        if not least <= yes <= left or yes & 3:
            return False
        at += yes
    return True


def _starts(code: bytes) -> frozenset[int]:
    """Where instructions begin, by their first jumps."""
    starts, at = set(), 0
    while len(code) - at >= _INSTRUCTION.size:
        starts.add(at)
        at += max(code[at + 1], 4)
    return frozenset(starts)


def _least_jump(code: bytes, at: int, operation: int) -> int | None:
    """The length of an instruction with its operand; None of one that is none."""
    if operation not in {_S_COND, _D_COND}:
        operand = _OPERANDS.get(operation)
        return None if operand is None else _INSTRUCTION.size + operand
    host = code[at + _INSTRUCTION.size :][: _HOST.size]
    family, prefix, _port = _HOST.unpack(host.ljust(_HOST.size, b"\0"))
    size = _ADDRESSES.get(family)
    if size is None or prefix > 8 * size:
        return None
    return _INSTRUCTION.size + _HOST.size + size


def run(code: bytes, socket: SocketLike) -> bool:
    """Whether the program wants the socket; each instruction leads on, so it ends."""
    at = 0
    while at < len(code):
        operation, yes, no = _INSTRUCTION.unpack_from(code, at)
        ahead = yes if _holds(code, at, operation, socket) else no
        assert ahead > 0
        at += ahead
    return at == len(code)


def _holds(code: bytes, at: int, operation: int, socket: SocketLike) -> bool:
    operand = at + _INSTRUCTION.size
    if operation == _JMP:
        return False
    if operation in {_S_COND, _D_COND}:
        end = socket.source if operation == _S_COND else socket.destination
        return _is_host(code, operand, end)
    if operation in {_S_GE, _S_LE, _D_GE, _D_LE}:
        port = (socket.source if operation in {_S_GE, _S_LE} else socket.destination).port
        (limit,) = struct.unpack_from("=H", code, operand + 2)
        return bool(port >= limit if operation in {_S_GE, _D_GE} else port <= limit)
    if operation == _DEV_COND:
        return bool(struct.unpack_from("=I", code, operand)[0] == socket.interface)
    if operation == _MARK_COND:
        value, mask = struct.unpack_from("=II", code, operand)
        return bool((socket.mark or 0) & mask == value)
    assert operation == _CGROUP_COND
    return bool(struct.unpack_from("=Q", code, operand)[0] == (socket.cgroup_id or 0))


def _is_host(code: bytes, operand: int, end: Endpoint) -> bool:
    family, prefix, port = _HOST.unpack_from(code, operand)
    if port not in {-1, end.port}:
        return False
    address = ipaddress.ip_address(end.address).packed
    size = _ADDRESSES[family]
    wanted = code[operand + _HOST.size : operand + _HOST.size + size]
    if family and len(address) != size:
        if len(address) != 16 or not address.startswith(_MAPPED):
            return False
        address = address[len(_MAPPED) :]
    return not family or _bits(address, prefix) == _bits(wanted, prefix)


def _bits(address: bytes, count: int) -> int:
    return int.from_bytes(address, "big") >> 8 * len(address) - count
