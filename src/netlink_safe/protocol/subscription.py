"""What listening takes from a family: what to make of what is heard, and of what is seen.

A reader keeps a picture of what the kernel has, by what it hears (datagrams) and by what is seen (a
look: a walk through sysfs, or a dump).  Who listens for it decides when to look.

May call ``protocol`` and ``wire``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import attrs

from netlink_safe.protocol.trust import Roots

if TYPE_CHECKING:
    from netlink_safe.wire.datagram import Burst


class Reader(Protocol):
    """What makes items of datagrams and of looks, and counts what it leaves out.

    ``is_stale`` says that only a look can tell what is so now, although nothing was lost.
    ``failure`` is what the caller's own code raised while something was read, until it is told.
    """

    duplicates: int
    delivered: int
    is_stale: bool
    failure: Exception | None

    def read(self, bursts: Sequence[Burst], /) -> list[Any]: ...

    def begin(self, look: Any, /) -> Any:
        """What is to be told of the first look; changes nothing, and may run in any thread."""

    def resync(self, look: Any, /) -> Any:
        """What is to be told of a later one; the same."""

    def adopt(self, telling: Any, is_beginning: bool, /) -> list[Any]:
        """Know from now on what is told; the items to hand out."""


class SightedReader(Reader, Protocol):
    """A reader whose looks are walks through sysfs."""

    last_seqnum: int | None

    @property
    def subsystems(self) -> frozenset[str] | None:
        """What a look is about; None for everything."""

    @property
    def known(self) -> Mapping[bytes, bytes]:
        """The subsystem of each device that is known, by its path."""


#: Makes a reader of whom to believe and of where to count what is rejected.
NewReader: TypeAlias = Callable[[Roots, Counter[str]], SightedReader]


@attrs.frozen(slots=True, kw_only=True)
class Subscription:
    """One multicast group of one protocol that tells of devices, and its reader.

    ``name`` is for people; it stands in every error.
    ``begins_with_look`` says that there is no beginning without one; ``by_udev`` that a look is to
    show what udevd shows, and not yet what it has not processed.
    """

    name: str
    protocol: int
    group: int
    begins_with_look: bool
    by_udev: bool
    new_reader: NewReader = attrs.field(repr=False)
