"""Label values have a limit: so many have a series of their own, all others share ``other``.

May call nothing of the library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping


class Addable(Protocol):
    """What can be added up."""

    def __add__(self, other: Self, /) -> Self: ...


Value = TypeVar("Value", bound="Hashable")
Number = TypeVar("Number", bound=Addable)

#: The value of a label that stands for all that have no place.
OTHER: Final = "other"


class Places(Generic[Value]):
    """At most ``limit`` places.

    Who has one keeps it as long as it is there, so that series do not come and go with the order of
    the day; a free one goes to the largest without.
    """

    def __init__(self, limit: int) -> None:
        self.held: frozenset[Value] = frozenset()
        self._limit = limit

    def assign(self, sizes: Mapping[Value, Any]) -> frozenset[Value]:
        """Who has a place now, of those that are there, by their sizes."""
        staying = self.held & sizes.keys()
        waiting = sorted(sizes.keys() - staying, key=lambda value: sizes[value], reverse=True)
        self.held = staying | frozenset(waiting[: self._limit - len(staying)])
        return self.held


def by_label(numbers: Mapping[Value, Number], labels: Mapping[Value, str]) -> dict[str, Number]:
    """The numbers by the labels of their values, those without a label added up as ``other``."""
    told: dict[str, Number] = {}
    for value, number in numbers.items():
        label = labels.get(value, OTHER)
        told[label] = told[label] + number if label in told else number
    return told
