"""Filters as text, in the language of ss: ``dst :443 and not src 127.0.0.0/8``.

::

    any        all { or not }                        or, |, ||
    all        not { [and] not }                     and, &, &&, or nothing between them
    not        { not } ( condition | "(" any ")" )   not, !
    condition  sport | dport | port   [ = == != < <= > >= ]  PORT | FIRST-LAST
               src | dst | host       [ = == != ]            ADDRESS | NETWORK[:PORT] | :PORT
               dev                    [ = == != ]            NAME | INDEX
               fwmark                 [ = == != ]            MARK | MARK/MASK
               cgroup                 [ = == != ]            PATH | NUMBER

``port`` and ``host`` mean either end, and ranges are more than ss knows; so are numbers of cgroups,
and names in quotes, with a backslash before a quote or backslash in them.
ss takes ``and`` and ``or`` from the left as they come (``misc/ssfilter.y`` of iproute2), and
everybody else takes ``and`` first: an ``and`` behind an ``or`` is an error, and wants parentheses.
So is an IPv6 address without brackets, since ss reads ``::1:443`` as one with a port.

May call ``families.filter_tokens``, ``families.filter_conditions``, ``families.filters`` and
``errors``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from netlink_safe.errors import FilterSyntaxError, LocalProtocolError
from netlink_safe.families.filter_conditions import (
    Address,
    Cgroup,
    Interface,
    Mark,
    Network,
    Port,
    Side,
)
from netlink_safe.families.filter_tokens import Token, tokens
from netlink_safe.families.filters import DEEPEST, AllOf, AnyOf, Filter

if TYPE_CHECKING:
    from collections.abc import Callable

_SIGNS: Final = "()&|!=<>"
_OR: Final = frozenset({"or", "|", "||"})
_AND: Final = frozenset({"and", "&", "&&"})
_CLOSING: Final = frozenset({")"})
_NOT: Final = frozenset({"not", "!"})
_COMPARISONS: Final = {
    "=": "=", "==": "=", "eq": "=", "!=": "!=", "ne": "!=", "neq": "!=",
    "<": "<", "lt": "<", "<=": "<=", "le": "<=", "leq": "<=",
    ">": ">", "gt": ">", ">=": ">=", "ge": ">=", "geq": ">=",
}  # fmt: skip
_EQUAL: Final = frozenset({"=", "!="})
_PORTS: Final[dict[str, Side]] = {"sport": "src", "dport": "dst", "port": "any"}
_HOSTS: Final[dict[str, Side]] = {"src": "src", "dst": "dst", "host": "any"}
#: What ss has and this has not, and what to say instead.
_ELSEWHERE: Final = {
    "state": "the states are asked for beside the filter: --state, or states=",
    "exclude": "the states are asked for beside the filter: --state, or states=",
    "autobound": "no row says so; compare sport with net.ipv4.ip_local_port_range",
    "family": "the families are asked for beside the filter: --family, or families=",
}
_MOST_PORT: Final = 0xFFFF
_BRACKETED: Final = re.compile(r"\[(?P<address>[^\[\]]+:[^\[\]]*)\](?::(?P<port>.*))?", re.DOTALL)
#: Without zeros before it, which ss takes for a sign of octal.
_NUMBER: Final = re.compile(r"0[xX][0-9a-fA-F]{1,16}|0|[1-9][0-9]{0,19}")


def parse_filter(text: str) -> Filter:
    """The filter that a text means, in the language of ss: ``dst :443 and not src 127.0.0.0/8``.

    It has at most 65,536 letters, parentheses and conditions at most 64 deep.
    Raises FilterSyntaxError, which knows the position; LocalProtocolError for what is no text.
    """
    if not isinstance(text, str):
        raise LocalProtocolError(f"{text!r} is no text; a filter's values need no parsing")
    return _Parser(text).parse()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(tokens(text))
        self._at = 0
        self._open = 0

    def parse(self) -> Filter:
        found = self._any()
        if not self._next.is_end:
            raise self._error(f"{self._next.text} closes nothing")
        return found

    @property
    def _next(self) -> Token:
        return self._tokens[self._at]

    def _is(self, words: frozenset[str]) -> bool:
        return not self._next.is_quoted and self._next.text.lower() in words

    def _take(self) -> Token:
        token = self._next
        self._at += not token.is_end
        return token

    def _error(self, reason: str, token: Token | None = None) -> FilterSyntaxError:
        return FilterSyntaxError(reason, self._text, (token or self._next).position)

    def _any(self) -> Filter:
        first = self._next
        parts = [self._all()]
        while self._is(_OR):
            self._take()
            parts.append(self._not())
        if self._goes_on:
            ambiguous = self._next
            if self._is(_AND):
                self._take()
            self._not()  # whatever is wrong with it comes out first
            raise self._error(
                "an 'and' behind an 'or', which ss takes from the left and others take first; put "
                "parentheses around what belongs together",
                ambiguous,
            )
        return self._combined(_either, parts, first)

    def _all(self) -> Filter:
        first = self._next
        parts = [self._not()]
        while self._goes_on and not self._is(_OR):
            if self._is(_AND):
                self._take()
            parts.append(self._not())
        return self._combined(_every, parts, first)

    @property
    def _goes_on(self) -> bool:
        return not self._next.is_end and not self._is(_CLOSING)

    def _combined(
        self, combine: Callable[[list[Filter]], Filter], parts: list[Filter], first: Token
    ) -> Filter:
        try:
            return combine(parts)
        except LocalProtocolError as error:  # too deep
            raise self._error(str(error), first) from None

    def _not(self) -> Filter:
        is_negated = False
        while self._is(_NOT):
            self._take()
            is_negated = not is_negated
        first = self._next
        found = self._one()
        return self._combined(lambda parts: ~parts[0], [found], first) if is_negated else found

    def _one(self) -> Filter:
        token = self._take()
        if token.text == "(" and not token.is_quoted:
            return self._in_parentheses(token)
        word = "" if token.is_quoted else token.text.lower()
        for sides, read in ((_PORTS, self._port), (_HOSTS, self._host)):
            if word in sides:
                return self._condition(token, sides[word], read)
        if word in _VALUES:
            return self._value(token, _VALUES[word])
        if word in _ELSEWHERE:
            raise self._error(f"{word}: {_ELSEWHERE[word]}", token)
        known = ", ".join([*_PORTS, *_HOSTS, *_VALUES])
        what = "a condition is missing" if token.is_end else f"{token.text!r} begins no condition"
        raise self._error(f"{what}; one begins with {known}, not or (", token)

    def _in_parentheses(self, opening: Token) -> Filter:
        self._open += 1
        if self._open > DEEPEST:
            raise self._error(f"parentheses are nested deeper than {DEEPEST}", opening)
        found = self._any()
        if self._next.is_end:
            raise self._error("a ) is missing")
        self._take()
        self._open -= 1
        return found

    def _comparison(self, allowed: frozenset[str]) -> str:
        token = self._next
        if token.is_quoted or token.text.lower() not in _COMPARISONS:
            return "="
        found = _COMPARISONS[self._take().text.lower()]
        if found not in allowed:
            raise self._error(f"{token.text} compares ports; here is = or !=", token)
        return found

    def _operand(self, what: str) -> Token:
        token = self._take()
        if token.is_end or (not token.is_quoted and token.text[0] in _SIGNS):
            raise self._error(f"{what} is missing", token)
        return token

    def _condition(self, keyword: Token, side: Side, read: Callable[[Side], Filter]) -> Filter:
        try:
            return read(side)
        except FilterSyntaxError:
            raise
        except LocalProtocolError as error:
            raise self._error(str(error), keyword) from None

    def _port(self, side: Side) -> Filter:
        comparison = self._comparison(frozenset(_COMPARISONS.values()))
        token = self._operand("a port")
        first, dash, last = token.text.removeprefix(":").partition("-")
        begin = self._port_number(first, token)
        if dash:
            if comparison not in _EQUAL:
                raise self._error("a range is compared by = or !=", token)
            found: Filter = Port(side, begin, self._port_number(last, token))
            return ~found if comparison == "!=" else found
        return self._compared(side, comparison, begin, token)

    def _compared(self, side: Side, comparison: str, port: int, token: Token) -> Filter:
        ranges = {
            "=": (port, port),
            "!=": (port, port),
            "<": (0, port - 1),
            "<=": (0, port),
            ">": (port + 1, _MOST_PORT),
            ">=": (port, _MOST_PORT),
        }
        first, last = ranges[comparison]
        if first > last:
            raise self._error(f"no port is {comparison} {port}", token)
        found = Port(side, first, last)
        return ~found if comparison == "!=" else found

    def _port_number(self, text: str, token: Token) -> int:
        if not re.fullmatch(r"0|[1-9][0-9]{0,4}", text) or int(text) > _MOST_PORT:
            raise self._error(f"{text!r} is no port; a port is a number from 0 to 65535", token)
        return int(text)

    def _host(self, side: Side) -> Filter:
        comparison = self._comparison(_EQUAL)
        token = self._operand("an address")
        address, port = self._split(token)
        network = None if address in {"", "*"} else self._network(address, token)
        number = None if port in {"", "*"} else self._port_number(port, token)
        if network is None and number is None:
            raise self._error("neither an address nor a port", token)
        ends: tuple[Side, ...] = (side,)
        if side == "any" and network is not None and number is not None:
            ends = ("src", "dst")  # both are to be of the same end
        found = _either([_end(end, network, number) for end in ends])
        return ~found if comparison == "!=" else found

    def _split(self, token: Token) -> tuple[str, str]:
        """An address and a port."""
        text = token.text
        if match := _BRACKETED.fullmatch(text):
            return match["address"], match["port"] or ""
        if "[" in text or "]" in text:
            raise self._error(
                "an IPv6 address and its prefix stand in brackets, and then the port: [::1], "
                "[2001:db8::/32]:443",
                token,
            )
        if text.count(":") > 1:
            raise self._error(
                "an IPv6 address stands in brackets, so that a port can be told from it: [::1], "
                "[::1]:443",
                token,
            )
        address, _, port = text.partition(":")
        return address, port

    def _network(self, address: str, token: Token) -> Network:
        try:
            return Address(address).network
        except LocalProtocolError as error:
            if "%" in address:
                raise self._error(str(error), token) from None
            raise self._error(
                f"{address!r} is no address; it is one in digits, such as 192.0.2.1, "
                "192.0.2.0/24, [2001:db8::1]:443 or :443",
                token,
            ) from None

    def _value(self, keyword: Token, made: Callable[[Token], Filter]) -> Filter:
        comparison = self._comparison(_EQUAL)
        token = self._operand(f"what {keyword.text} is to be")
        try:
            found = made(token)
        except LocalProtocolError as error:
            raise self._error(str(error), token) from None
        return ~found if comparison == "!=" else found


def _end(side: Side, network: Network | None, port: int | None) -> Filter:
    parts: list[Filter] = [] if network is None else [Address(network, side)]
    if port is not None:
        parts.append(Port(side, port))
    return parts[0] if len(parts) == 1 else AllOf(tuple(parts))


def _every(parts: list[Filter]) -> Filter:
    return parts[0] if len(parts) == 1 else AllOf(tuple(parts))


def _either(parts: list[Filter]) -> Filter:
    return parts[0] if len(parts) == 1 else AnyOf(tuple(parts))


def _interface(token: Token) -> Filter:
    is_index = not token.is_quoted and _NUMBER.fullmatch(token.text)
    return Interface(_integer(token.text) if is_index else token.text)


def _mark(token: Token) -> Filter:
    value, slash, mask = token.text.partition("/")
    for number in (value, mask) if slash else (value,):
        if not _NUMBER.fullmatch(number):
            raise LocalProtocolError(f"{number!r} is no number, such as 17 or 0x11")
    return Mark(_integer(value), _integer(mask)) if slash else Mark(_integer(value))


def _cgroup(token: Token) -> Filter:
    is_number = not token.is_quoted and _NUMBER.fullmatch(token.text)
    return Cgroup(_integer(token.text) if is_number else token.text)


def _integer(text: str) -> int:
    return int(text, 16) if text[:2].lower() == "0x" else int(text)


_VALUES: Final[dict[str, Callable[[Token], Filter]]] = {
    "dev": _interface,
    "fwmark": _mark,
    "cgroup": _cgroup,
}
