"""What the notifications of a generic family come to, with a picture of its table or without.

May call ``protocol``, ``wire`` and ``errors``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from netlink_safe.errors import DecodeError
from netlink_safe.protocol.keyed import Difference, KeyedPicture
from netlink_safe.protocol.notices import Overrun
from netlink_safe.wire.generic import parse_generic
from netlink_safe.wire.header import iterate_messages

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Sequence

    from netlink_safe.protocol.generic import GenericRequest, Ground, Resolved
    from netlink_safe.wire.datagram import Burst, Sender
    from netlink_safe.wire.generic import GenericMessage
    from netlink_safe.wire.header import Message
    from netlink_safe.wire.policy import Policy


def reject_notification(sender: Sender) -> str | None:
    """Why a notification is not to be believed, or None if it is.

    Only the kernel has port 0.  The group says nothing, since an address has room for 32 of them
    (``net/netlink/af_netlink.c``: netlink_group_mask).
    """
    if sender.truncated:
        return "truncated"
    return "foreign_sender" if sender.port_id != 0 else None


class NotificationReader:
    """Reads the notifications of one family, and of the controller about it.

    ``read_plain`` makes an item of what tells of no row.  ``controller_id`` is the number of the
    controller, and ``is_about`` whether a message of its says that the family has come or gone.
    ``policy`` is the one that dumps are read by, ``ground`` the family that the table stands on.
    ``failure`` is what the caller's own code raised at a notification.
    """

    def __init__(
        self,
        family: Resolved | None,
        rejected: Counter[str],
        *,
        snapshot: GenericRequest[Any] | None,
        read_plain: Callable[[GenericMessage], Any],
        controller_id: int,
        is_about: Callable[[GenericMessage], bool],
    ) -> None:
        self.family = family
        self.ground: Resolved | None = None
        self.policy: Policy | None = None
        self.is_stale: bool = False
        self.failure: Exception | None = None
        self.duplicates: int = 0
        self.delivered: int = 0
        self._snapshot = snapshot
        rows = None if snapshot is None else snapshot.rows
        self._rows = rows
        self._shaken_by = None if rows is None or rows.ground is None else rows.ground.tells
        self._picture: KeyedPicture[Any] | None = None if rows is None else KeyedPicture(rows)
        self._read_plain = read_plain
        self._controller_id = controller_id
        self._is_about = is_about
        self._rejected = rejected
        self._heard: int | None = None

    def read(self, bursts: Sequence[Burst]) -> list[Any]:
        """What of the datagrams is to be handed out."""
        items: list[Any] = []
        for sender, texts in bursts:
            if reason := reject_notification(sender):
                self._rejected[reason] += len(texts)
                continue
            for text in texts:
                try:
                    for message in iterate_messages(text):
                        items += self._taken_in(text, message)
                except DecodeError:
                    self._rejected["malformed"] += 1
                except Exception as error:  # the caller's own, of a key or of what concerns it
                    self.is_stale = True
                    self.failure = self.failure or error
        self.delivered += len(items)
        return items

    def begin(self, seen: Sequence[Any] | None) -> Difference[Any] | None:
        """What the first dump comes to; None is for none, without a picture."""
        return None if self._picture is None else self._picture.compare(seen or ())

    def resync(self, seen: Sequence[Any] | None) -> Difference[Any] | None:
        """What a later one comes to."""
        return self.begin(seen)

    def adopt(self, telling: Difference[Any] | None, is_beginning: bool) -> list[Any]:
        """Know from now on what is told; the items to hand out."""
        self.is_stale = False
        heard, self._heard = self._heard, self._heard if self.family is None else self.family.id
        if self._picture is not None and telling is not None:
            self._picture.adopt(telling)
            items = telling.items
        elif self._heard == heard or is_beginning:
            items = []
        else:  # what it told before its new groups were joined, nobody has heard
            items = [Overrun(0, "the family was gone and has come back")]
        self.delivered += len(items)
        return items

    def _taken_in(self, text: bytes, message: Message) -> list[Any]:
        family = self.family
        if message.type == self._controller_id and (
            family is None or family.id != self._controller_id
        ):
            said = parse_generic(text, message.start, message.end, 0)
            self.is_stale = self.is_stale or self._is_about(said)
            return []
        ground, shaken_by = self.ground, self._shaken_by
        if ground is not None and shaken_by is not None and message.type == ground.id:
            said = parse_generic(text, message.start, message.end, ground.header_size)
            self.is_stale = self.is_stale or shaken_by(said)
            return []
        if family is None or message.type != family.id:
            self._rejected["foreign_family"] += 1
            return []
        said = parse_generic(text, message.start, message.end, family.header_size)
        rows, snapshot, picture = self._rows, self._snapshot, self._picture
        if picture is None or rows is None or snapshot is None:
            return [self._read_plain(said)]
        if rows.commands is not None and said.command not in rows.commands | rows.removals:
            return [self._read_plain(said)]
        try:
            row = snapshot.read(said, self.policy)
        except DecodeError:
            self.is_stale = True  # something has become of a row; the dump knows what
            raise
        news = picture.news(said.command, row)
        self.duplicates += not news
        return news


@attrs.frozen(slots=True, kw_only=True)
class FollowedFamily:
    """What a subscription is to: groups of a family, all if None, and perhaps its table.

    ``controller_group`` tells when the family comes or goes.
    """

    family: str
    groups: tuple[str, ...] | None
    controller_group: int
    snapshot: GenericRequest[Any] | None
    new_reader: Callable[[Resolved, Counter[str]], NotificationReader] = attrs.field(repr=False)

    @property
    def ground(self) -> Ground | None:
        """What the table stands on."""
        rows = None if self.snapshot is None else self.snapshot.rows
        return None if rows is None else rows.ground
