"""The rules of the picture of the devices, one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import pytest

from netlink_safe.protocol import picture as picture_room
from netlink_safe.protocol.picture import Comparison, Picture
from netlink_safe.protocol.sighting import Look, Sighting

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = pytest.mark.anywhere

NET = frozenset({b"net"})


@attrs.define
class Said:
    """An event, and who says it."""

    _head: tuple[bytes, bytes, bytes, bytes]
    identity: Mapping[bytes, bytes] = {}
    old_devpath: bytes = b""
    is_synthetic: bool = False
    origin: str = "kernel"

    def moved(self, path: bytes) -> Said:
        action, _, subsystem, number = self._head
        return attrs.evolve(self, head=(action, path, subsystem, number), origin="moved")

    def resynced(self, action: bytes) -> Said:
        _, path, subsystem, _ = self._head
        return attrs.evolve(self, head=(action, path, subsystem, b""), origin="resynced")


def said(
    action: str, path: str, number: int | None = None, subsystem: bytes = b"net", **more: Any
) -> Said:
    digits = b"" if number is None else b"%d" % number
    return Said((action.encode(), path.encode(), subsystem, digits), **more)


def seen(inode: int, subsystem: bytes | None = b"net", uevent: bytes = b"") -> Sighting:
    return Sighting(subsystem, uevent, inode, True)


def made(path: bytes, sighting: Sighting) -> Said:
    assert sighting.subsystem is not None
    return Said((b"add", path, sighting.subsystem, b""), sighting.identity, origin="seen")


def compared(
    picture: Picture[Said], number: int = 0, silent: Any = frozenset(), **sightings: Sighting
) -> Comparison[Said]:
    """A look at paths that are spelled a_b for /a/b."""
    paths = {b"/" + name.replace("_", "/").encode(): one for name, one in sightings.items()}
    return picture.compare(Look(paths, number, NET), made, silent)


def looked(number: int = 0, tells: bool = True, **sightings: Sighting) -> Picture[Said]:
    """A picture after its first look."""
    picture: Picture[Said] = Picture()
    picture.adopt(compared(picture, number, **sightings), tells)
    return picture


def told(comparison: Comparison[Said]) -> list[tuple[bytes, bytes]]:
    return [one._head[:2] for one in (*comparison.removed, *comparison.added)]


INDEX_1, INDEX_2 = {b"IFINDEX": b"1"}, {b"IFINDEX": b"2"}
UEVENT_1, UEVENT_2 = b"IFINDEX=1\n", b"IFINDEX=2\n"


@pytest.mark.parametrize("is_told", [False, True])
def test_before_the_listener_was_told_of_a_look_every_event_is_news(is_told: bool) -> None:
    """Though there was one, of which it was not to be told."""
    picture: Picture[Said] = Picture()
    if is_told:
        picture = looked(100, tells=False, x=seen(5, uevent=UEVENT_1))
    for event in (
        said("remove", "/x", 1),
        said("add", "/x", 2, identity=INDEX_1),
        said("add", "/x", 3, identity=INDEX_2),
        said("move", "/y", 4, old_devpath=b"/x"),
        said("move", "/y", 5, old_devpath=b"/z"),
        said("remove", "/y", 6, identity=INDEX_1),
        said("remove", "/y", 7),
    ):
        assert picture.news(event) == (event,)
    assert len(picture) == 0


def test_only_what_comes_goes_or_moves_changes_the_picture() -> None:
    """And what somebody asked for does not: nothing has happened."""
    picture = looked()
    for event in (
        said("change", "/x"),
        said("bind", "/x"),
        said("add", "/x", is_synthetic=True),
        said("change", "/x", is_synthetic=True),
    ):
        assert picture.news(event) == (event,)
        assert picture.subsystems == {}
    event = said("add", "/x", subsystem=b"usb")
    assert picture.news(event) == (event,)
    assert (picture.subsystems, len(picture)) == ({b"/x": b"usb"}, 1)
    assert picture.news(event) == ()


def test_an_event_that_a_look_has_shown_is_a_duplicate() -> None:
    """By its number, of what the look covers; what has no number is not older than anything."""
    for action in ("add", "remove", "move"):
        for number, subsystem, is_news in (
            (100, b"net", False),
            (101, b"net", True),
            (99, b"usb", True),
            (None, b"net", True),
        ):
            picture = looked(100, x=seen(5))
            path = "/y" if action != "remove" else "/x"
            event = said(action, path, number, subsystem, old_devpath=b"/x")
            assert bool(picture.news(event)) is is_news
            before = {b"/x"}
            after = {"add": {b"/x", b"/y"}, "remove": set(), "move": {b"/y"}}[action]
            assert set(picture.subsystems) == (after if is_news else before)


def test_a_device_is_removed_by_its_own_removal() -> None:
    """One of what is unknown, or of another device that had the path, is a duplicate."""
    picture = looked(x=seen(5, uevent=UEVENT_1))
    assert picture.news(said("remove", "/y")) == ()
    assert picture.news(said("remove", "/x", identity=INDEX_2)) == ()
    assert len(picture) == 1
    event = said("remove", "/x", identity=INDEX_1)
    assert picture.news(event) == (event,)
    assert len(picture) == 0
    assert picture.news(event) == ()
    unnamed = looked(x=seen(5, uevent=UEVENT_1))
    assert len(unnamed.news(said("remove", "/x"))) == 1


def test_an_addition_in_another_ones_place_is_a_removal_and_an_addition() -> None:
    """Its directory is not the one that was seen."""
    picture = looked(x=seen(5, uevent=UEVENT_1))
    assert picture.news(said("add", "/x", identity=INDEX_1)) == ()
    event = said("add", "/x", identity=INDEX_2)
    removal, addition = picture.news(event)
    assert (removal.origin, removal._head[0], removal.identity) == ("resynced", b"remove", INDEX_1)
    assert addition is event
    assert picture.news(event) == ()
    again = compared(picture, x=seen(5, uevent=UEVENT_1))
    assert told(again) == [(b"remove", b"/x"), (b"add", b"/x")]
    assert told(compared(picture, x=seen(5, uevent=UEVENT_2))) == []


def test_an_addition_that_is_not_told_against_a_look_makes_it_forgotten() -> None:
    """The directory may be another one's."""
    picture = looked(tells=False, x=seen(5))
    assert len(picture.news(said("add", "/x"))) == 1
    assert told(compared(picture, x=seen(5))) == [(b"remove", b"/x"), (b"add", b"/x")]


def test_what_was_seen_and_not_told_is_news_when_its_event_comes() -> None:
    """Once; and until then every look says again that it was not told."""
    picture = looked()
    for _ in range(2):
        comparison = compared(picture, silent={b"/x", b"/z"}, x=seen(5), y=seen(6))
        assert comparison.untold == {b"/x"}
        assert told(comparison) in ([(b"add", b"/y")], [])
        picture.adopt(comparison)
    event = said("add", "/x")
    assert picture.news(event) == (event,)
    assert picture.news(event) == ()
    assert picture.news(said("add", "/y")) == ()
    assert compared(picture, x=seen(5), y=seen(6)).untold == set()


def test_what_was_not_told_stays_so_when_it_moves() -> None:
    """And is forgotten when it goes."""
    picture = looked()
    picture.adopt(compared(picture, silent={b"/x", b"/x/a"}, x=seen(5), x_a=seen(6)))
    picture.news(said("move", "/y", old_devpath=b"/x"))
    assert compared(picture, y=seen(5), y_a=seen(6)).untold == {b"/y", b"/y/a"}
    picture.news(said("remove", "/y/a"))
    assert len(picture.news(said("add", "/y/a"))) == 1
    assert picture.news(said("add", "/y/a")) == ()


@pytest.mark.parametrize(
    ("old", "path", "is_news"),
    [("/x", "/z", True), ("/x", "/y", True), ("/w", "/z", True), ("/w", "/y", False)],
)
def test_a_move_is_known_by_where_it_leads_from_and_to(old: str, path: str, is_news: bool) -> None:
    """From what is not known to what is known, it is a duplicate."""
    picture = looked(x=seen(5), y=seen(6))
    event = said("move", path, old_devpath=old.encode())
    assert picture.news(event) == ((event,) if is_news else ())
    if is_news:
        wanted = {b"/x", b"/y"} - {old.encode()} | {path.encode()}
        assert set(picture.subsystems) == wanted


def test_a_directory_that_moves_stays_the_same_with_all_that_is_in_it() -> None:
    """Neighbours whose names begin alike stay where they are."""
    picture = looked(x=seen(1), x_a=seen(2), x_a_b=seen(3), xy=seen(4))
    picture.news(said("move", "/z", old_devpath=b"/x"))
    assert set(picture.subsystems) == {b"/z", b"/z/a", b"/z/a/b", b"/xy"}
    same = compared(picture, z=seen(1), z_a=seen(2), z_a_b=seen(3), xy=seen(4))
    assert told(same) == []
    moved = same.known[b"/z/a/b"]
    assert (moved.origin, moved._head[1]) == ("moved", b"/z/a/b")
    other = compared(picture, z=seen(9), z_a=seen(9), z_a_b=seen(9), xy=seen(9))
    assert len(told(other)) == 8


def test_a_move_without_a_place_it_leads_from_takes_nothing_along() -> None:
    """Every path begins with what is empty."""
    picture = looked(x=seen(1))
    picture.move_below(b"", b"/y")
    picture.news(said("move", "/y"))
    assert set(picture.subsystems) == {b"/x", b"/y"}


def test_a_move_into_a_known_place_forgets_what_was_seen_there() -> None:
    """What came by an event alone has no directory that one could know."""
    picture = looked(y=seen(9))
    picture.news(said("add", "/x"))
    picture.news(said("move", "/y", old_devpath=b"/x"))
    assert told(compared(picture, y=seen(9))) == [(b"remove", b"/y"), (b"add", b"/y")]


def test_a_look_is_told_from_the_leaves_up_and_then_from_the_root_down() -> None:
    """Whatever the order in which it was seen."""
    picture = looked(b=seen(1), b_c=seen(2), a=seen(3))
    comparison = compared(picture, 7, d_e=seen(6), d=seen(5), a=seen(3), b=seen(4))
    assert told(comparison) == [
        (b"remove", b"/b/c"),
        (b"remove", b"/b"),
        (b"add", b"/b"),
        (b"add", b"/d"),
        (b"add", b"/d/e"),
    ]
    assert comparison.inodes == {b"/a": 3, b"/b": 4, b"/d": 5, b"/d/e": 6}
    assert set(comparison.known) == set(comparison.inodes)
    assert (comparison.looked_at, comparison.covered) == (7, NET)
    assert [one.origin for one in comparison.removed] == ["resynced"] * 2
    assert len(picture) == 3


def test_what_sysfs_does_not_describe_is_known_by_its_events_alone() -> None:
    """A look finds it again, and finds that it is another one; it makes nothing of it."""
    picture = looked()
    picture.news(said("add", "/x"))
    comparison = compared(picture, x=seen(5, None), w=seen(6, None), y=seen(7))
    assert told(comparison) == [(b"remove", b"/x"), (b"add", b"/x"), (b"add", b"/y")]
    assert comparison.added[0].origin == "resynced"
    picture.adopt(comparison)
    assert told(compared(picture, x=seen(5, None), y=seen(7))) == []


def test_numbers_that_both_tell_say_whether_it_is_the_same_device() -> None:
    """One that only one of them tells says nothing; then the directory is known, too."""
    picture = looked()
    picture.news(said("add", "/x", identity=INDEX_1))
    comparison = compared(picture, x=seen(5, uevent=UEVENT_1 + b"MAJOR=3\n"))
    assert told(comparison) == []
    picture.adopt(comparison)
    assert told(compared(picture, x=seen(5, uevent=UEVENT_2))) == []
    assert len(told(compared(picture, x=seen(6, uevent=UEVENT_1)))) == 2


def test_what_hangs_on_a_replaced_device_is_replaced_however_deep() -> None:
    """Though its own numbers are the same; its neighbour stays."""
    picture = looked(a=seen(1), b=seen(2))
    for path in ("/a/b/c", "/b/c"):
        picture.news(said("add", path, identity=INDEX_1))
    same = seen(7, uevent=UEVENT_1)
    comparison = compared(picture, a=seen(9), a_b_c=same, b=seen(2), b_c=same)
    assert [one._head[1] for one in comparison.removed] == [b"/a/b/c", b"/a"]


def test_more_than_there_is_room_for_is_forgotten_from_its_beginning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The oldest quarter goes, and every event is news again until the next look."""
    monkeypatch.setattr(picture_room, "ROOM", 8)
    picture = looked()
    for number in range(9):
        assert picture.news(said("add", f"/{number}", number + 1))
    assert len(picture) == 7
    assert picture.news(said("add", "/0", 20)), "it is news"
    assert picture.news(said("remove", "/1", 21)), "and so is the end of what nobody knows"
    picture.adopt(compared(picture, 30, a=seen(1)), True)
    assert picture._most == 2 * len(picture) + 8
