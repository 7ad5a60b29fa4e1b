"""Structures of the kernel's have the same width everywhere, except those that are told here.

A ``long`` or a pointer in a format, or a format without a byte order, is another structure on
another machine; it stands in ``NATIVE`` with the reason why it must, or it is a defect.
"""

from __future__ import annotations

import ast
import pathlib
from typing import TYPE_CHECKING, Final

import pytest

import netlink_safe

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCES: Final = pathlib.Path(netlink_safe.__file__).parent
FIXED: Final = ("=", "<", ">", "!")
#: What takes a format first.
STRUCT: Final = ("Struct", "calcsize", "iter_unpack", "pack", "pack_into", "unpack", "unpack_from")
FUNCTIONS: Final = frozenset({"array.array", *(f"struct.{name}" for name in STRUCT)})
#: The method of a memoryview that does.
CAST: Final = "cast"
#: Types of ctypes that are as wide as the machine's words.
WORDS: Final = frozenset(
    {
        "c_char_p",
        "c_long",
        "c_size_t",
        "c_ssize_t",
        "c_ulong",
        "c_void_p",
        "c_wchar_p",
        "POINTER",
        "py_object",
    }
)
UNREADABLE: Final = "?"

MSGHDR: Final = "struct iovec and struct msghdr have pointers and lengths of the machine's width"
SENDTO: Final = "the C function's own parameters"
#: By file, what is as wide as the machine, and why.
NATIVE: Final[dict[tuple[str, str], str]] = {
    ("families/netlink.py", "@L"): "groups are a bitmap of longs (net/netlink/diag.c)",
    ("families/generic.py", UNREADABLE): "made of a codec's fields, behind a =",
    ("testing/filters.py", "@HP"): "struct sock_fprog has a pointer",
    ("transport/bursts.py", "@Nii"): "struct cmsghdr begins with a length of the machine's width",
    ("transport/bursts.py", "B"): "bytes, to be written",
    ("transport/bursts.py", "I"): "unsigned int, which has 32 bits wherever Linux runs",
    ("transport/bursts.py", "c_size_t"): MSGHDR,
    ("transport/bursts.py", "c_void_p"): MSGHDR,
    ("transport/machine.py", "@P"): "how wide a pointer is",
    ("transport/mounting.py", "c_long"): "syscall(2) takes its number as a long",
    ("transport/sending.py", "c_char_p"): SENDTO,
    ("transport/sending.py", "c_size_t"): SENDTO,
    ("transport/sending.py", "c_ssize_t"): SENDTO,
}


def beginnings(format_: ast.expr) -> Iterator[str]:
    """How a format begins, whichever it is; all of it where it is a constant."""
    match format_:
        case ast.Constant(value=str(text)):
            yield text
        case ast.Constant(value=bytes(raw)):
            yield raw.decode()
        case ast.JoinedStr(values=[ast.Constant(value=str(text)), *_]):
            yield text
        case ast.IfExp(body=first, orelse=second):
            yield from beginnings(first)
            yield from beginnings(second)
        case ast.BinOp(left=first, op=ast.Add()):
            yield from beginnings(first)
        case _:
            yield UNREADABLE


def takes_a_format(call: ast.Call, names: dict[str, str]) -> bool:
    """Whether it is a function of struct's or array's, under whatever name, or a cast."""
    match call.func:
        case ast.Attribute(value=ast.Name(id=module), attr=name) if module in names:
            return f"{names[module]}.{name}" in FUNCTIONS
        case ast.Attribute(attr=name):
            return name == CAST
        case ast.Name(id=name):
            return names.get(name, "") in FUNCTIONS
    return False


def imported(tree: ast.AST) -> dict[str, str]:
    """What each name that a file imports stands for."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {one.asname or one.name: one.name for one in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {one.asname or one.name: f"{node.module}.{one.name}" for one in node.names}
    return names


def formats(source: str) -> Iterator[str]:
    """Every format in a file, and every type of ctypes."""
    tree = ast.parse(source)
    names = imported(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and takes_a_format(node, names):
            given = [each.value for each in node.keywords if each.arg == "format"]
            yield from beginnings([*node.args, *given][0])
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if names.get(node.value.id) == "ctypes":
                yield f"ctypes.{node.attr}"
        elif isinstance(node, ast.Name) and names.get(node.id, "").startswith("ctypes."):
            yield names[node.id]


def native(source: str) -> set[str]:
    """Those of a file that are another structure on another machine."""
    found = set()
    for each in formats(source):
        if each.startswith("ctypes."):
            found |= {each.removeprefix("ctypes.")} & WORDS
        elif not each.startswith(FIXED):
            found.add(each)
    return found


def sources() -> dict[str, str]:
    return {
        str(file.relative_to(SOURCES)): file.read_text("utf-8") for file in SOURCES.rglob("*.py")
    }


def test_what_is_as_wide_as_the_machine_is_told_with_its_reason() -> None:
    """Nothing else is, and nothing is told that is not there any more."""
    found = {(file, each) for file, source in sources().items() for each in native(source)}
    assert found == set(NATIVE)


def test_the_formats_are_seen_at_all() -> None:
    """A hundred and more in the rooms, and those that everything else is made of."""
    found = {file: list(formats(source)) for file, source in sources().items()}
    assert sum(map(len, found.values())) > 100
    assert "=IHHII" in found["wire/header.py"]
    assert "=Q" in found["wire/policy.py"]  # in a table
    assert {"=Q", "=I"} <= set(found["doctor/system_calls.py"])  # by a condition
    assert "=" in found["families/growing.py"]  # by a parameter
    assert "I" in found["transport/bursts.py"]  # of a memoryview
    assert "ctypes.c_size_t" in found["transport/bursts.py"]


@pytest.mark.parametrize(
    ("source", "seen"),
    [
        ("import struct\nx = struct.Struct('II')", {"II"}),
        ("import struct\nx = struct.Struct(format='@II')", {"@II"}),
        ("import struct as s\nx = {1: s.calcsize('L')}", {"L"}),
        ("from struct import pack\nx = pack('HP', 1, 2)", {"HP"}),
        ("from struct import unpack_from as read\nx = read(b'I', y)", {"I"}),
        ("import struct\nx = struct.unpack(f'{n}I', y)", {UNREADABLE}),
        ("import struct\nx = struct.iter_unpack('=Q' if wide else 'L', y)", {"L"}),
        ("import struct\nx = struct.pack_into('I' + more, y, 0)", {"I"}),
        ("import struct\nx = struct.Struct(form)", {UNREADABLE}),
        ("from array import array\nx = array('l')", {"l"}),
        ("import array\nx = array.array('I', y)", {"I"}),
        ("x = memoryview(y).cast('L')", {"L"}),
        ("import ctypes\nx = (('base', ctypes.c_void_p),)", {"c_void_p"}),
        ("from ctypes import c_ulong as word\nx = word(1)", {"c_ulong"}),
        ("import struct\nx = struct.Struct('=IQ'), struct.pack('!H', 1)", set()),
        ("import struct\nx = struct.unpack_from(f'={n}I', y), struct.unpack('<I', y)", set()),
        ("import ctypes\nx = ctypes.c_uint32, ctypes.c_int", set()),
        ("x = other.pack('II'), pack('II')", set()),
    ],
)
def test_a_format_is_seen_however_it_is_written(source: str, seen: set[str]) -> None:
    """By any name, in tables, by conditions, in parts; what cannot be read is no fixed one."""
    assert native(source) == seen
