"""What a plan wishes for: questions one after the other, of which each depends on the answers.

A plan is a generator that yields wishes, is sent what they come to, and returns its result.  A
wish that the kernel refuses is thrown into it as the error.  It makes no system call: whoever
carries it out does, under one deadline.

May call ``protocol``.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

import attrs

if TYPE_CHECKING:
    from netlink_safe.protocol.generic import GenericRequest
    from netlink_safe.protocol.request import Request

Result = TypeVar("Result")


@attrs.frozen(slots=True)
class Place:
    """A network namespace: its name, or its path, and a descriptor of it; None is where one is."""

    label: str | None = None
    descriptor: int | None = None


HERE: Final = Place()


@attrs.frozen(slots=True)
class Ask:
    """All rows of a request to a protocol that needs no family looked up."""

    place: Place
    request: Request[Any]


@attrs.frozen(slots=True)
class AskFamily:
    """All rows of a request to a generic family."""

    place: Place
    request: GenericRequest[Any]
    is_dump: bool = False


@attrs.frozen(slots=True)
class Places:
    """The network namespaces that can be found: those with a name, and those of processes.

    The first is where one is, for its descriptor, by which others can be asked for it; without
    /proc it has none, and is the only one.
    """


@attrs.frozen(slots=True)
class ClosedProcesses:
    """How many processes there were, looking for places, whose namespace may not be opened."""


@attrs.frozen(slots=True)
class OwnersOf:
    """Who has these port IDs of generic netlink: their pids, 0 for one that is not to be seen.

    A port ID that nobody has is left out.
    """

    place: Place
    port_ids: tuple[int, ...]


@attrs.frozen(slots=True)
class OwnSockets:
    """The inodes of the sockets that the plan is carried out with."""


@attrs.frozen(slots=True)
class Leave:
    """No wish, but a word: no more will be asked in this place for a while."""

    place: Place


@attrs.frozen(slots=True)
class Call:
    """What a function returns, such as one that reads /proc."""

    function: Callable[[], Any]


@attrs.frozen(slots=True)
class Done:
    """No wish, but a word: this has been done, for whatever error comes later to tell."""

    what: str


@attrs.frozen(slots=True)
class Pause:
    """So many seconds."""

    seconds: float


Wish: TypeAlias = (
    Ask | AskFamily | Places | ClosedProcesses | OwnersOf | OwnSockets | Leave | Call | Done | Pause
)
Plan: TypeAlias = Generator[Wish, Any, Result]
