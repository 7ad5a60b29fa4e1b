"""The words and signs that a filter's text is made of.

May call ``errors``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import attrs

from netlink_safe.errors import FilterSyntaxError

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Letters of a filter's text.
LONGEST: Final = 65_536
_TOKEN: Final = re.compile(
    r"""\s*(?:
        "(?P<quoted>(?:[^"\\]|\\.)*)(?P<close>"?)
      | (?P<sign>[()]|&&?|\|\|?|!=|!|==|=|<=|<|>=|>)
      | (?P<word>[^\s()&|!=<>"]+)
    )""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)


def tokens(text: str) -> Iterator[Token]:
    """The words and signs of a text, and one that stands for its end.

    Raises FilterSyntaxError for a text that is too long, and for a quote that is not closed.
    """
    if len(text) > LONGEST:
        raise FilterSyntaxError(f"a filter has at most {LONGEST:,} letters", text, LONGEST)
    end = 0
    while match := _TOKEN.match(text, end):
        end = match.end()
        if (quoted := match["quoted"]) is None:
            kind = match.lastgroup or "word"
            yield Token(match[kind], match.start(kind))
        elif match["close"]:
            position = match.start("quoted") - 1
            yield Token(_ESCAPED.sub(r"\1", quoted), position, is_quoted=True)
        else:
            raise FilterSyntaxError("a quote that is not closed", text, match.start("quoted") - 1)
    yield Token("", len(text))


@attrs.frozen(slots=True)
class Token:
    """A word or a sign, and where in the text it begins."""

    text: str
    position: int
    is_quoted: bool = False

    @property
    def is_end(self) -> bool:
        """Whether it stands for the end of the text; what is in quotes may be empty."""
        return not self.text and not self.is_quoted
