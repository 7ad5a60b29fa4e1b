"""A filter as a program that the kernel runs for each socket of a dump.

From ``include/uapi/linux/inet_diag.h``; ``net/ipv4/inet_diag.c`` checks it (inet_diag_bc_audit) and
runs it (inet_diag_bc_run).  An instruction says how far it is to the next one to run where its
condition holds, and where it does not.  The first of these is 8 bits, and by it the check walks the
program from instruction to instruction, and wants every jump to end on one of them; so it is always
the instruction's own length, and what is to be skipped where a condition holds is skipped by a jump
behind it.  The end of the program means the socket is wanted, four bytes past it that it is not.

The program is made from its end to its beginning: places are counted from the end, and wherever an
instruction may jump to is there already.

May call ``families.filter_conditions``, ``families.filters``, ``protocol`` and ``errors``.
"""

from __future__ import annotations

import struct
from typing import Final

import attrs

from netlink_safe.errors import LocalProtocolError
from netlink_safe.families.filter_conditions import Address, Cgroup, Interface, Mark, Port
from netlink_safe.families.filters import AllOf, AnyOf, Filter, Not
from netlink_safe.protocol.request import Lookup, LookupKind

_JMP, _S_GE, _S_LE, _D_GE, _D_LE = 1, 2, 3, 4, 5
_S_COND, _D_COND, _DEV_COND, _MARK_COND, _CGROUP_COND = 7, 8, 9, 10, 13

#: struct inet_diag_bc_op.
_INSTRUCTION: Final = struct.Struct("=BBH")
#: struct inet_diag_hostcond without its address.
_HOST: Final = struct.Struct("=BBxxi")
_MARK: Final = struct.Struct("=II")
_U32: Final = struct.Struct("=I")
_U64: Final = struct.Struct("=Q")

_ANY_PORT: Final = -1
_AF_OF_VERSION: Final = {4: 2, 6: 10}
_AF_UNSPEC: Final = 0
_MOST_PORT: Final = 0xFFFF
_EPERM: Final = 1
_EINVAL: Final = 22

#: What a kernel means that refuses a program with one of these instructions, by errno.
_ADVICE: Final = {
    _MARK_COND: (_EPERM, "a filter by mark takes CAP_NET_ADMIN in the network namespace asked"),
    _CGROUP_COND: (_EINVAL, "a filter by cgroup takes Linux 5.8, built with cgroups for sockets"),
}

_ACCEPT: Final = 0
_REJECT: Final = -_INSTRUCTION.size
#: Bytes of a program: about 1,000 ports.  An attribute would hold 65,528; but no deadline cuts
#: short what the kernel does in one system call: its check takes time that grows with the square of
#: the length (4 ms, against 50), and for each socket it may run all of it.
LARGEST: Final = 16_384


@attrs.frozen(slots=True)
class Program:
    """The bytes, and which of them are a name's number yet to be looked up.

    ``advice`` is what to tell of an errno that it is refused with.
    """

    code: bytes
    lookups: tuple[Lookup, ...] = ()
    advice: tuple[tuple[int, str], ...] = ()


def compiled(where: Filter) -> Program:
    """The program that accepts what the filter matches.

    Raises LocalProtocolError for what is no filter, or comes to more than 16,384 bytes.
    """
    if not isinstance(where, Filter):
        raise LocalProtocolError(
            f"{where!r} is no filter; Port, Address and such are; parse_filter makes one of text"
        )
    building = _Building()
    building.put(where, _ACCEPT, _REJECT)
    return building.program()


class _Building:
    """A program from its end on."""

    def __init__(self) -> None:
        self._backwards: list[bytes] = []
        self._front = 0
        self._lookups: list[tuple[int, LookupKind, str]] = []
        self._codes: set[int] = set()

    def program(self) -> Program:
        """What was put so far."""
        lookups = tuple(Lookup(self._front - at, kind, name) for at, kind, name in self._lookups)
        advice = tuple(said for code, said in _ADVICE.items() if code in self._codes)
        return Program(b"".join(reversed(self._backwards)), lookups[::-1], advice)

    def put(self, where: Filter, hold: int, fail: int) -> None:
        """Put a filter before what is there: where to go on if it holds, and if it does not."""
        if isinstance(where, Not):
            self.put(where.part, fail, hold)
        elif isinstance(where, AllOf):
            for part in reversed(where.parts):
                self.put(part, hold, fail)
                hold = self._front
        elif isinstance(where, AnyOf):
            for part in reversed(where.parts):
                self.put(part, hold, fail)
                fail = self._front
        else:
            self._put_condition(where, hold, fail)

    def _put_condition(self, where: Filter, hold: int, fail: int) -> None:
        if isinstance(where, Port | Address) and where.side == "any":
            sides = (attrs.evolve(where, side=side) for side in ("src", "dst"))
            self.put(AnyOf(tuple(sides)), hold, fail)
        elif isinstance(where, Port):
            self._put_port(where, hold, fail)
        elif isinstance(where, Address):
            self._put_instruction(*_host(where), hold, fail)
        elif isinstance(where, Mark):
            self._put_instruction(_MARK_COND, _MARK.pack(where.value, where.mask), hold, fail)
        elif isinstance(where, Interface):
            self._put_named(_DEV_COND, _U32, "interface", where.interface, hold, fail)
        elif isinstance(where, Cgroup):
            self._put_named(_CGROUP_COND, _U64, "cgroup", where.cgroup, hold, fail)
        else:
            raise LocalProtocolError(f"the kernel has no condition such as {where!r}")

    def _put_port(self, where: Port, hold: int, fail: int) -> None:
        is_source = where.side == "src"
        if where.first == where.last:
            code = _S_COND if is_source else _D_COND
            self._put_instruction(code, _HOST.pack(_AF_UNSPEC, 0, where.first), hold, fail)
            return
        if where.last < _MOST_PORT:
            at_most = _INSTRUCTION.pack(0, 0, where.last)
            self._put_instruction(_S_LE if is_source else _D_LE, at_most, hold, fail)
            hold = self._front
        if where.first or where.last == _MOST_PORT:
            at_least = _INSTRUCTION.pack(0, 0, where.first)
            self._put_instruction(_S_GE if is_source else _D_GE, at_least, hold, fail)

    def _put_named(
        self,
        code: int,
        form: struct.Struct,
        kind: LookupKind,
        given: str | int,
        hold: int,
        fail: int,
    ) -> None:
        """A condition on a number, for which a name may stand."""
        is_name = isinstance(given, str)
        self._put_instruction(code, form.pack(0 if is_name else given), hold, fail)
        if isinstance(given, str):
            self._lookups.append((self._front - _INSTRUCTION.size, kind, given))

    def _put_instruction(self, code: int, operand: bytes, hold: int, fail: int) -> None:
        if hold != self._front:
            self._prepend(_JMP, b"", hold)
        self._prepend(code, operand, fail)

    def _prepend(self, code: int, operand: bytes, otherwise: int) -> None:
        length = _INSTRUCTION.size + len(operand)
        self._front += length
        if self._front > LARGEST:
            raise LocalProtocolError(
                f"the filter comes to more than the {LARGEST:,} bytes that the kernel takes; say "
                "networks or ranges instead of many single ones, or ask in several dumps"
            )
        self._codes.add(code)
        head = _INSTRUCTION.pack(code, length, self._front - otherwise)
        self._backwards.append(head + operand)


def _host(where: Address) -> tuple[int, bytes]:
    network = where.network
    head = _HOST.pack(_AF_OF_VERSION[network.version], network.prefixlen, _ANY_PORT)
    code = _S_COND if where.side == "src" else _D_COND
    return code, head + network.network_address.packed
