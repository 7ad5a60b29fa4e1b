"""The blocks of the pages in docs/agents: what an agent had before, what it has after.

A comment above a block says which it is, its name, and the function in it that makes one collection
if there is one::

    <!-- before states: update -->
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import attrs

PAGES: Final = Path(__file__).parent.parent / "docs" / "agents"
_BLOCK: Final = re.compile(
    r"^<!-- (before|after) ([\w ]+?)(?:: (\w+))? -->\n```(\w+)\n(.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@attrs.frozen
class Block:
    """Code of a page; ``function`` is empty where a block has none to call."""

    when: str
    name: str
    function: str
    language: str
    code: str


def pages() -> list[str]:
    """The names of all pages but the index."""
    return sorted(path.stem for path in PAGES.glob("*.md") if path.stem != "README")


def text_of(page: str) -> str:
    """All of a page."""
    return (PAGES / f"{page}.md").read_text("utf-8")


def blocks_of(page: str) -> list[Block]:
    """The marked blocks of a page, in its order."""
    return [Block(*found) for found in _BLOCK.findall(text_of(page))]


def block(page: str, when: str, name: str) -> Block:
    """The one block of a page that is marked so."""
    (found,) = (each for each in blocks_of(page) if (each.when, each.name) == (when, name))
    return found
