"""Filters as text: each is a program that the kernel takes, or an error that knows its place.

The whole input is the text.
"""

from __future__ import annotations

from typing import Final

from fuzz.common import check_error
from fuzz.kernel_filter import SocketLike, audit, run
from netlink_safe.errors import FilterSyntaxError, LocalProtocolError
from netlink_safe.families.filter_text import parse_filter
from netlink_safe.families.filter_tokens import LONGEST
from netlink_safe.families.filters import DEEPEST, Filter
from netlink_safe.families.inet_bytecode import LARGEST, Program, compiled
from netlink_safe.families.inet_request import wanted

SOCKETS: Final = (
    SocketLike("127.0.0.1", 22, "127.0.0.1", 40000, 0, 0, 0),
    SocketLike("10.1.2.3", 443, "192.0.2.7", 65535, 2, 0x11, 5),
    SocketLike("::1", 80, "2001:db8::1", 1, 3, 0xFFFFFFFF, (1 << 64) - 1),
    SocketLike("::ffff:10.0.0.1", 0, "::", 0, 0x7FFFFFFF, 1, 1),
)


def one_input(data: bytes) -> None:
    """Read it, compile it, and run it beside what it says in Python."""
    text = data.decode("utf-8", "surrogateescape")
    try:
        where = parse_filter(text)
    except FilterSyntaxError as error:
        check_error(error)
        assert 0 <= error.position <= len(text)
        assert error.text == text
        assert len(str(error)) < 1000
        return
    assert where.depth <= DEEPEST
    _check_text(where)
    program = _program(where)
    if program is not None:
        _check_program(where, program)


def _check_text(where: Filter) -> None:
    """A filter's own text is the same filter again, unless it is too long for one."""
    text = str(where)
    if len(text) <= LONGEST:
        assert parse_filter(text) == where


def _program(where: Filter) -> Program | None:
    try:
        return compiled(where)
    except LocalProtocolError as error:
        check_error(error)
        assert "comes to more than" in str(error)
        return None


def _check_program(where: Filter, program: Program) -> None:
    code = program.code
    assert 0 < len(code) <= LARGEST
    assert audit(code), "the kernel would refuse it"
    for lookup in program.lookups:
        width = {"interface": 4, "cgroup": 8}[lookup.kind]
        assert not any(code[lookup.offset : lookup.offset + width])
        assert lookup.offset + width <= len(code)
    asked = wanted(where=where)
    assert code in asked.attributes
    if not program.lookups:
        for socket in SOCKETS:
            assert run(code, socket) == where.matches(socket)
