"""Socket filters, which lose a datagram before it is queued: the way to a real fault.

A filter is asked for each datagram before it stands in the queue, chunks of a dump among them
(``net/netlink/af_netlink.c``: netlink_dump and netlink_unicast call sk_filter), so that what it
drops is lost as if the kernel had never sent it, and no error tells of it.

Programs are classic BPF, which takes no rights.
May call ``transport.machine`` and ``errors``.
"""

from __future__ import annotations

import ctypes
import socket
import struct
import sys
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from netlink_safe.errors import LocalProtocolError
from netlink_safe.transport.machine import HERE

LOAD_LENGTH: Final = 0x80
LOAD_HALF_WORD: Final = 0x28
JUMP_EQUAL: Final = 0x15
JUMP_GREATER: Final = 0x25
RETURN: Final = 0x06
PASS: Final = 0xFFFFFFFF
DROP: Final = 0

#: Operation, jump if true, jump if false, operand (``include/uapi/linux/filter.h``: sock_filter).
Instruction: TypeAlias = tuple[int, int, int, int]
Program: TypeAlias = Sequence[Instruction]

INSTRUCTION: Final = struct.Struct("=HBBI")
_HALF_WORD: Final = struct.Struct("!H")
#: struct sock_fprog: a number of instructions, and a pointer to them.
PROGRAM: Final = struct.Struct("@HP")

#: BPF_MAXINSNS.
LONGEST: Final = 4096
#: Drop everything.
DEAF: Final = ((RETURN, 0, 0, DROP),)


def losing(message_type: int) -> Program:
    """Drop datagrams whose first message is of this type, such as NLMSG_DONE, which is 3.

    Raises LocalProtocolError for what is not from 0 to 65535.
    """
    _check("message_type", message_type, 0xFFFF)
    as_loaded = int.from_bytes(message_type.to_bytes(2, sys.byteorder), "big")
    return (
        (LOAD_HALF_WORD, 0, 0, 4),
        (JUMP_EQUAL, 0, 1, as_loaded),
        (RETURN, 0, 0, DROP),
        (RETURN, 0, 0, PASS),
    )


def passing_only(length: int) -> Program:
    """Drop datagrams of any other length, in bytes, from 0 to 2**32 - 1.

    Raises LocalProtocolError for what is not.
    """
    _check("length", length, 0xFFFFFFFF)
    return (
        (LOAD_LENGTH, 0, 0, 0),
        (JUMP_EQUAL, 0, 1, length),
        (RETURN, 0, 0, PASS),
        (RETURN, 0, 0, DROP),
    )


def checked(program: Program) -> Program:
    """The same, as a tuple.  Raises LocalProtocolError for what is no program."""
    try:
        found = tuple(program)
        for each in found:
            INSTRUCTION.pack(*each)
    except (TypeError, struct.error) as error:
        raise LocalProtocolError(
            f"{program!r} is no program: each instruction is four numbers"
        ) from error
    if not 1 <= len(found) <= LONGEST:
        raise LocalProtocolError(f"a program has from 1 to {LONGEST} instructions")
    return found


def _check(name: str, number: int, most: int) -> None:
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= most:
        raise LocalProtocolError(f"{name}={number!r} is no whole number from 0 to {most}")


def attach(end: Any, program: Program) -> None:
    """Have what reaches a socket filtered, in place of an earlier filter.

    A program has from 1 to 4096 instructions (``net/core/filter.c``: bpf_check_basics_ok).
    Raises LocalProtocolError for what is none, OSError for one that the kernel does not take.
    """
    found = checked(program)
    code = ctypes.create_string_buffer(b"".join(INSTRUCTION.pack(*each) for each in found))
    end.setsockopt(
        socket.SOL_SOCKET,
        HERE.attach_filter,
        PROGRAM.pack(len(found), ctypes.addressof(code)),
    )


def detach(end: Any) -> None:
    """Have nothing filtered any more.  Raises OSError where nothing is."""
    end.setsockopt(socket.SOL_SOCKET, HERE.detach_filter, 0)


def attached(raw: bytes) -> Program:
    """The instructions that a struct sock_fprog points to, whose memory must be there still."""
    count, address = PROGRAM.unpack(raw)
    return tuple(INSTRUCTION.iter_unpack(ctypes.string_at(address, count * INSTRUCTION.size)))


def passes(program: Program, data: bytes) -> bool:
    """What a filter says of a datagram; without one all pass.

    A load past the end drops (``net/core/filter.c``: ___bpf_prog_run returns 0).
    Raises LocalProtocolError for an operation that is none of those above.
    """
    accumulator = place = 0
    while place < len(program):
        operation, if_true, if_false, operand = program[place]
        place += 1
        if operation == LOAD_LENGTH:
            accumulator = len(data)
        elif operation == LOAD_HALF_WORD:
            if len(data) < operand + _HALF_WORD.size:
                return False
            (accumulator,) = _HALF_WORD.unpack_from(data, operand)
        elif operation == JUMP_EQUAL:
            place += if_true if accumulator == operand else if_false
        elif operation == JUMP_GREATER:
            place += if_true if accumulator > operand else if_false
        elif operation == RETURN:
            return operand > 0
        else:
            raise LocalProtocolError(
                f"a scripted kernel does not run operation {operation:#x} of a socket filter; "
                "attach it to a socket of the running kernel"
            )
    return True
