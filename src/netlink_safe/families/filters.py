"""Which sockets are meant: conditions, as values that are combined by ``&``, ``|`` and ``~``.

``families.inet_bytecode`` makes a program of them that the kernel runs for each socket;
``matches`` says of a row the same in Python.  The conditions themselves are in
``families.filter_conditions``.

May call ``errors``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, Protocol

import attrs

from netlink_safe.errors import LocalProtocolError

if TYPE_CHECKING:
    from netlink_safe.families.inet_socket import Endpoint

#: How deep conditions may be nested.
DEEPEST: Final = 64


class Row(Protocol):
    """What is looked at in a row; see ``InetSocket``."""

    @property
    def source(self) -> Endpoint: ...
    @property
    def destination(self) -> Endpoint: ...
    @property
    def interface(self) -> int: ...
    @property
    def mark(self) -> int | None: ...
    @property
    def cgroup_id(self) -> int | None: ...


class Filter:
    """A condition on a socket, or several; as a text it is what ``parse_filter`` reads.

    ``&``, ``|`` and ``~`` combine them, up to 64 deep (``depth``); deeper ones, and using one as
    true or false, raise LocalProtocolError.
    """

    __slots__ = ()

    #: How many conditions are inside one another.
    depth = 1

    def __and__(self, other: Filter) -> AllOf:
        return AllOf((self, other)) if isinstance(other, Filter) else NotImplemented

    def __or__(self, other: Filter) -> AnyOf:
        return AnyOf((self, other)) if isinstance(other, Filter) else NotImplemented

    def __invert__(self) -> Filter:
        return Not(self)

    def __bool__(self) -> bool:
        raise LocalProtocolError(
            "a filter is neither true nor false: combine filters by &, | and ~ (not by and, or, "
            "not), and tell one from None by 'is'"
        )

    def matches(self, row: Row) -> bool:
        """Whether a row is meant, by the kernel's own rules (``net/ipv4/inet_diag.c``:
        inet_diag_bc_run).

        Raises LocalProtocolError for an interface or a cgroup that is given by its name, and for a
        mark where the row has none, for want of CAP_NET_ADMIN.
        """
        raise NotImplementedError


@attrs.frozen(slots=True)
class Not(Filter):
    """The condition ``part`` does not hold.  Raises LocalProtocolError for what is none."""

    part: Filter
    depth: int = attrs.field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "depth", _depth((self.part,)))

    def __invert__(self) -> Filter:
        return self.part

    def __str__(self) -> str:
        return f"not {_grouped(self.part)}"

    def matches(self, row: Row) -> bool:  # see Filter
        return not self.part.matches(row)


def _depth(parts: tuple[Filter, ...]) -> int:
    """One more than the deepest of them, where that is not too deep."""
    if not parts or not all(isinstance(part, Filter) for part in parts):
        raise LocalProtocolError(f"{parts!r} are no conditions; Port, Address and such are some")
    depth = 1 + max(part.depth for part in parts)
    if depth > DEEPEST:
        raise LocalProtocolError(f"conditions are nested deeper than {DEEPEST}; say it flatter")
    return depth


def _all_of(parts: Iterable[Filter]) -> tuple[Filter, ...]:
    """What is in one of its own kind stands beside the others."""
    return tuple(
        each
        for part in _iterable(parts)
        for each in (part.parts if isinstance(part, AllOf) else (part,))
    )


def _any_of(parts: Iterable[Filter]) -> tuple[Filter, ...]:
    return tuple(
        each
        for part in _iterable(parts)
        for each in (part.parts if isinstance(part, AnyOf) else (part,))
    )


def _iterable(parts: Iterable[Filter]) -> Iterable[Filter]:
    # One condition alone is the likely slip; _depth says what is none.
    return parts if isinstance(parts, Iterable) else (parts,)


@attrs.frozen(slots=True)
class AllOf(Filter):
    """Every condition of ``parts`` holds, one at least; those of an AllOf in it stand there too.

    Raises LocalProtocolError for what are no conditions, and deeper than 64.
    """

    parts: tuple[Filter, ...] = attrs.field(converter=_all_of)
    depth: int = attrs.field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "depth", _depth(self.parts))

    def __str__(self) -> str:
        return " and ".join(
            _grouped(part) if isinstance(part, AnyOf) else str(part) for part in self.parts
        )

    def matches(self, row: Row) -> bool:  # see Filter
        return all(part.matches(row) for part in self.parts)


@attrs.frozen(slots=True)
class AnyOf(Filter):
    """One condition of ``parts`` holds, or several; those of an AnyOf in it stand there too.

    Raises LocalProtocolError for what are no conditions, and deeper than 64.
    """

    parts: tuple[Filter, ...] = attrs.field(converter=_any_of)
    depth: int = attrs.field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "depth", _depth(self.parts))

    def __str__(self) -> str:
        return " or ".join(
            _grouped(part) if isinstance(part, AllOf) else str(part) for part in self.parts
        )

    def matches(self, row: Row) -> bool:  # see Filter
        return any(part.matches(row) for part in self.parts)


def _grouped(part: Filter) -> str:
    return f"( {part} )" if isinstance(part, AllOf | AnyOf) else str(part)
