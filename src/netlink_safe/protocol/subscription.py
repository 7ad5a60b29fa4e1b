"""What a family hands to a surface that listens: where, and what to make of what is heard.

May call ``protocol`` and ``wire``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import attrs

from netlink_safe.protocol.trust import Roots

if TYPE_CHECKING:
    from netlink_safe.protocol.sighting import Look
    from netlink_safe.wire.datagram import Burst


class Reader(Protocol):
    """What makes items of datagrams and of looks at sysfs, and counts what it leaves out."""

    duplicates: int
    delivered: int
    last_seqnum: int | None

    @property
    def subsystems(self) -> frozenset[str] | None:
        """What a look at sysfs is about; None for everything."""

    @property
    def known(self) -> Mapping[bytes, bytes]:
        """The subsystem of each device that is known, by its path."""

    def read(self, bursts: Sequence[Burst], /) -> list[Any]: ...

    def begin(self, look: Look, /) -> Any:
        """What is to be told of the first look; changes nothing, and may run in any thread."""

    def resync(self, look: Look, /) -> Any:
        """What is to be told of a later one; the same."""

    def adopt(self, telling: Any, is_beginning: bool, /) -> list[Any]:
        """Know from now on what is told; the items to hand out."""


#: Makes a reader of whom to believe and of where to count what is rejected.
NewReader: TypeAlias = Callable[[Roots, Counter[str]], Reader]


@attrs.frozen(slots=True, kw_only=True)
class Subscription:
    """One multicast group of one protocol, and its reader.

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
