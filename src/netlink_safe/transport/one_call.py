"""Several calls into C made by one, and an ``__exit__`` that is one.

A signal's handler runs, and may raise, where a function of Python is entered, behind each call that
it makes, and at each turn of a loop: there an ``__exit__`` written in Python is left before it has
done anything.  During a call into C no handler runs, nor another thread, unless the call lets them.
In a free-threaded build another thread does run.

May call nothing of the library.
"""

from __future__ import annotations

import io
from collections import deque
from functools import partial
from itertools import filterfalse
from operator import attrgetter, call
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

#: Goes through an iterator to its end, and keeps nothing.
exhaust: Final[Callable[[Iterable[object]], None]] = deque[object](maxlen=0).extend


class Anew:
    """An iterable whose iterators a call makes."""

    __slots__ = ("__iter__",)

    def __init__(self, iterator: Callable[[], Iterator[Any]]) -> None:
        self.__iter__: Callable[[], Iterator[Any]] = iterator


def for_each(function: Callable[[Any], object], items: Iterable[Any]) -> Callable[[], None]:
    """One call that calls a function with each item, until one raises."""
    return partial(exhaust, Anew(partial(map, function, items)))


def in_turn(*calls: Callable[[], object]) -> Callable[[], None]:
    """One call that makes these, until one raises."""
    return for_each(call, calls)


def unless(condition: Callable[[], object]) -> Iterable[Any]:
    """One item, or none while the condition is true."""
    return Anew(partial(filterfalse, call, (condition,)))


class Leaving(io.IOBase):
    """What has an ``__exit__`` in C: that of a file calls ``close()``, whatever it is given."""

    closed = True  # so that nobody closes it when it goes

    def __init__(self, let_go: Callable[[], None]) -> None:
        self.close: Callable[[], None] = let_go  # a function of Python may be no call into C


class Attribute(property):
    """A method that each object has for itself, and that its class can be asked for, as of any.

    That is what contextlib does, which calls it with the object first.
    """

    def __init__(self, name: str) -> None:
        super().__init__(attrgetter(name))

    def __call__(self, owner: object, *arguments: object) -> Any:
        return self.__get__(owner)(*arguments)
