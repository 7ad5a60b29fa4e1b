"""Which uevents a listener wants: patterns as data, and whether an event is meant by one.

May call ``families.uevent`` and ``errors``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from fnmatch import translate
from typing import TYPE_CHECKING, TypeAlias

import attrs

from netlink_safe.errors import LocalProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable

    from netlink_safe.families.uevent import Uevent

#: One text, several of which one will do, or None for any.
Texts: TypeAlias = str | Iterable[str] | None


def _checked(value: Texts) -> frozenset[str] | None:
    if value is None:
        return None
    texts = [*value] if isinstance(value, Iterable) and not isinstance(value, str) else [value]
    if not texts or not all(isinstance(text, str) for text in texts):
        raise LocalProtocolError(f"{value!r} is neither a text nor several; leave it out for any")
    for text in texts:
        try:
            raw = text.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            raise LocalProtocolError(f"{text!r} cannot be a text of the kernel's") from None
        if b"\0" in raw:
            raise LocalProtocolError(f"{text!r} has a zero byte, which no text of the kernel's has")
    return frozenset(texts)


def _checked_names(value: Texts) -> frozenset[str] | None:
    texts = _checked(value)
    if texts is not None and "" in texts:
        raise LocalProtocolError("an empty name matches nothing; leave it out for any")
    return texts


def _checked_properties(value: Mapping[str, Texts]) -> Mapping[str, frozenset[str] | None]:
    if not isinstance(value, Mapping):
        raise LocalProtocolError(f"properties={value!r} is no mapping of names to values")
    if strange := [name for name in value if not isinstance(name, str)]:
        raise LocalProtocolError(f"{strange[0]!r} is no name of a property")
    return {name: _checked(texts) for name, texts in value.items()}


@attrs.frozen(kw_only=True)
class UeventMatch:
    """An event is meant if all that is given here fits it.

    Each is a text, or several of which one will do.  ``devpath`` and the values of ``properties``
    are patterns as the shell has them (``*``, ``?``, ``[…]``; ``*`` stands for slashes too); a
    property's None says that it is there, whatever its value.  The others are names, and fit as
    they are.
    Raises LocalProtocolError for what is none of this, and for an empty name, no text at all, and a
    text with a NUL.
    """

    subsystem: frozenset[str] | None = attrs.field(default=None, converter=_checked_names)
    devtype: frozenset[str] | None = attrs.field(default=None, converter=_checked_names)
    action: frozenset[str] | None = attrs.field(default=None, converter=_checked_names)
    devpath: frozenset[str] | None = attrs.field(default=None, converter=_checked)
    properties: Mapping[str, frozenset[str] | None] = attrs.field(
        factory=dict, converter=_checked_properties, hash=False
    )


#: What ``match=`` takes: one match or several of which one will do, each as a mapping if liked.
MatchLike: TypeAlias = UeventMatch | Mapping[str, object]
Test: TypeAlias = "Callable[[Uevent], bool]"


def checked_matches(match: MatchLike | Iterable[MatchLike] | None) -> tuple[UeventMatch, ...]:
    """The matches that are meant; empty for None.  Raises LocalProtocolError for what is none."""
    if match is None:
        return ()
    if isinstance(match, UeventMatch | Mapping):
        return (_checked_match(match),)
    if isinstance(match, Iterable) and (several := tuple(match)):
        return tuple(map(_checked_match, several))
    raise LocalProtocolError(f"match={match!r} is no UeventMatch, nor several")


def _checked_match(match: object) -> UeventMatch:
    if isinstance(match, UeventMatch):
        return match
    if not isinstance(match, Mapping):
        raise LocalProtocolError(f"{match!r} is no UeventMatch")
    known = [field.name for field in attrs.fields(UeventMatch)]
    if strange := [name for name in match if name not in known]:
        raise LocalProtocolError(f"nothing matches by {strange[0]}; there are {', '.join(known)}")
    return UeventMatch(**match)


def subsystems_of(
    narrowing: UeventMatch, matches: tuple[UeventMatch, ...]
) -> frozenset[str] | None:
    """The subsystems outside which nothing can be meant; None where it can be any."""
    meant: frozenset[str] | None = None
    if matches and all(match.subsystem is not None for match in matches):
        meant = frozenset().union(*(match.subsystem or () for match in matches))
    if narrowing.subsystem is None:
        return meant
    return narrowing.subsystem if meant is None else narrowing.subsystem & meant


def test_of(narrowing: UeventMatch, matches: tuple[UeventMatch, ...]) -> Test | None:
    """Whether an event of the right subsystem fits the narrowing one and, if any, one other.

    None where every event does.
    """
    narrow = _test(attrs.evolve(narrowing, subsystem=None))
    others = [_test(match) for match in matches]
    if not others or None in others:
        return narrow
    tests = [test for test in others if test is not None]

    def fits(event: Uevent) -> bool:
        return (narrow is None or narrow(event)) and any(test(event) for test in tests)

    return fits


def _test(match: UeventMatch) -> Test | None:
    exact = [
        (name, wanted)
        for name, wanted in (
            ("subsystem", match.subsystem),
            ("action", match.action),
            ("devtype", match.devtype),
        )
        if wanted is not None
    ]
    path = _pattern(match.devpath)
    properties = {name: _pattern(wanted) for name, wanted in match.properties.items()}
    if not exact and path is None and not properties:
        return None

    def fits(event: Uevent) -> bool:
        if any(getattr(event, name) not in wanted for name, wanted in exact):
            return False
        if path is not None and not path.fullmatch(event.devpath):
            return False
        if not properties:
            return True
        said = event.properties
        return all(
            name in said and (pattern is None or pattern.fullmatch(said[name]) is not None)
            for name, pattern in properties.items()
        )

    return fits


def _pattern(texts: frozenset[str] | None) -> re.Pattern[str] | None:
    if texts is None:
        return None
    return re.compile("|".join(translate(text) for text in sorted(texts)))
