"""What a reader is told of each public name: what it is, in which units, and what it raises."""

from __future__ import annotations

import ast
import functools
import inspect
import re
import textwrap
from typing import TYPE_CHECKING, Any, Final

import attrs

from netlink_safe import errors
from public_names import public_members, public_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from public_names import Public

#: Every function, method, property and class once, by whichever of its paths comes first.
EVERYTHING: Final = list(
    {
        id(found.value): found
        for found in reversed([*public_names(), *public_members()])
        if inspect.isclass(found.value)
        or inspect.isfunction(found.value)
        or isinstance(found.value, property)
    }.values()
)
TIMES: Final = ("timeout", "idle_timeout", "interval", "heartbeat", "deadline")
#: They end at their timeout without an error, which is what they are for.
END_WITHOUT_ERROR: Final = ("Outbox.aclose", "Outbox.close", "Collector.collect")
#: Fields that are quantities, and not numbers of something.
QUANTITY: Final = re.compile(
    r"(?:^|_)(?:age|at|buffer|bytes|capacity|memory|mtu|queued|seconds|size|timeout)$"
)
UNIT: Final = re.compile(r"\b(?:bytes|seconds|messages|ms)\b")
#: What leaves the rest to another's text: as ``dump`` does, what ``examine`` does.
REFERENCE: Final = re.compile(r"\b(?:as|as in|what|see) (?:``)?(?:\w+\.)?(\w+)")
#: A file of the kernel's that is cited, and what stands behind it.
CITED: Final = re.compile(r"``(?:\w+/)+\w+\.c``(.{0,40})")


def text_of(value: object) -> str:
    """A docstring, a method's inherited one too, in one line."""
    own = value.__doc__ if inspect.isclass(value) else inspect.getdoc(value)
    return " ".join((own or "").split())


@functools.cache
def texts_by_name() -> dict[str, list[str]]:
    """The docstrings of all that is public, by the last part of their names."""
    texts: dict[str, list[str]] = {}
    for found in EVERYTHING:
        texts.setdefault(found.path.rpartition(".")[2], []).append(text_of(found.value))
    return texts


def referred_to(text: str, seen: frozenset[str] = frozenset()) -> Iterator[str]:
    """The texts that a text leaves something to, and those that they do."""
    for name in set(REFERENCE.findall(text)) - seen:
        for other in texts_by_name().get(name, ()):
            yield other
            yield from referred_to(other, seen | {name})


def told_of(found: Public) -> str:
    """All that a reader of the page finds: its text, those referred to, its class's."""
    kind = found.owner or (found.value if inspect.isclass(found.value) else object)
    classes = [text_of(each) for each in kind.__mro__ if each.__module__.startswith("netlink_safe")]
    return " ".join([text_of(found.value), *referred_to(text_of(found.value)), *classes])


def code_of(value: object) -> Callable[..., Any] | None:
    """The function that runs when it is called, if that is one of the library's."""
    if inspect.isclass(value):
        value = vars(value).get("__init__")
    function = value.fget if isinstance(value, property) else value
    return inspect.unwrap(function) if inspect.isfunction(function) else None


def hints_of(value: object) -> dict[str, str]:
    """The parameters that it is called with, and what they may be."""
    function = code_of(value)
    if function is None:
        return {}
    return {name: str(p.annotation) for name, p in inspect.signature(function).parameters.items()}


def whole(found: Public) -> str:
    """Its own text and those referred to, without its class's."""
    own = text_of(found.value)
    return " ".join([own, *referred_to(own)])


def test_everything_public_has_a_docstring() -> None:
    """Of its own, and no signature that attrs or enum put in its place."""
    bare = [
        found.path
        for found in EVERYTHING
        if not text_of(found.value)
        or text_of(found.value).startswith(f"{found.path.rpartition('.')[2]}(")
    ]
    assert bare == []


def test_times_and_sizes_have_units() -> None:
    """Seconds, and the bytes of setsockopt."""
    gaps = []
    for found in EVERYTHING:
        told, hints = told_of(found), hints_of(found.value)
        gaps += [
            (found.path, name)
            for name in TIMES
            if hints.get(name, "Deadline") != "Deadline"
            and not (re.search(rf"\b{name}\b", told) and "seconds" in told)
        ]
        if "receive_buffer" in hints and "bytes" not in told:
            gaps.append((found.path, "receive_buffer"))
    assert gaps == []


def test_whatever_has_a_timeout_says_what_comes_at_its_end() -> None:
    """NetlinkTimeout, by name or where another's text is referred to."""
    silent = [
        found.path
        for found in EVERYTHING
        if "timeout" in hints_of(found.value)
        and not inspect.isclass(found.value)
        and not found.path.endswith(END_WITHOUT_ERROR)
        and "NetlinkTimeout" not in whole(found)
    ]
    assert silent == []


def test_quantities_of_records_have_units() -> None:
    """Wherever the name of a field says that it is a size or a time."""
    gaps = [
        (found.path, name)
        for found in EVERYTHING
        if inspect.isclass(found.value) and attrs.has(found.value)
        for name, hint in inspect.get_annotations(found.value).items()
        if QUANTITY.search(name) and re.search(r"\b(?:int|float)\b", hint)
        if not UNIT.search(told_of(found))
    ]
    assert gaps == []


def test_errors_are_told() -> None:
    """Each that is raised on the way, by its name or that of an error which it is one of."""
    gaps = []
    for found in EVERYTHING:
        function = code_of(found.value)
        for name in set() if function is None else set(_raised(function, set())):
            names = [each.__name__ for each in getattr(errors, name).__mro__[:-3]]
            if not any(re.search(rf"\b{each}\b", whole(found)) for each in names):
                gaps.append((found.path, name))
    assert gaps == []


def _raised(function: Callable[..., Any], seen: set[object]) -> Iterator[str]:
    """Errors of the library that a function raises, or a function that it calls by name."""
    if function in seen or not function.__module__.startswith("netlink_safe"):
        return
    seen.add(function)
    for node in _own(ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]):
        if isinstance(node, ast.Raise) and node.exc is not None:
            name = ast.unparse(node.exc).partition("(")[0].removeprefix("Async")
            is_renamed = "error.args" in ast.unparse(node.exc)
            if hasattr(errors, name) and not is_renamed:
                yield name
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            called = function.__globals__.get(node.func.id)
            if inspect.isfunction(called):
                yield from _raised(inspect.unwrap(called), seen)


def _own(node: ast.AST) -> Iterator[ast.AST]:
    """What runs when the function does: nothing of the functions that it makes."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from _own(child)


def test_a_file_of_the_kernel_is_cited_with_its_function() -> None:
    """So that the fact is found where it stands."""
    vague = [
        (found.path, behind)
        for found in EVERYTHING
        for behind in CITED.findall(text_of(found.value))
        if not re.match(r": \w+| (?:answers|writes|reports)", behind)
    ]
    assert vague == []
