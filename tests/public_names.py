"""What is public: modules that may be imported, their names, and what a reader is told of each."""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

MODULES: Final = (
    "netlink_safe",
    "netlink_safe.blocking",
    "netlink_safe.collectors.prometheus",
    "netlink_safe.collectors.tcpstat",
    "netlink_safe.doctor",
    "netlink_safe.errors",
    "netlink_safe.families.ethtool",
    "netlink_safe.families.link",
    "netlink_safe.families.ovs",
    "netlink_safe.lowlevel",
    "netlink_safe.testing",
    "netlink_safe.testing.filters",
)


class Public(NamedTuple):
    """A public name, or what hangs on one: where it is found, and what it is."""

    path: str
    value: object
    owner: type | None = None


def names_of(module: str) -> list[str]:
    """What ``__all__`` says, or else the functions and classes that a module defines."""
    loaded = import_module(module)
    if hasattr(loaded, "__all__"):
        return [name for name in loaded.__all__ if not name.startswith("_")]
    return [
        name
        for name, value in vars(loaded).items()
        if not name.startswith("_")
        and (inspect.isclass(value) or inspect.isfunction(value))
        and value.__module__ == module
    ]


def public_names() -> Iterator[Public]:
    """Every public name of every public module."""
    for module in MODULES:
        loaded = import_module(module)
        for name in names_of(module):
            yield Public(f"{module}.{name}", getattr(loaded, name))


def public_members() -> Iterator[Public]:
    """The methods and properties of public classes, those of their bases of ours among them."""
    for found in public_names():
        if not inspect.isclass(found.value):
            continue
        for kind in found.value.__mro__:
            if not kind.__module__.startswith("netlink_safe"):
                continue
            for name, member in vars(kind).items():
                plain = (
                    member.__func__ if isinstance(member, classmethod | staticmethod) else member
                )
                if not name.startswith("_") and (
                    inspect.isfunction(plain) or isinstance(plain, property)
                ):
                    yield Public(f"{found.path}.{name}", plain, found.value)
