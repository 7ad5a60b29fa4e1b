"""What is public is on a list, so that nothing is added, renamed or lost unseen.

``python tests/test_public_names.py`` writes the list anew; the changelog tells users of the rest.
"""

from __future__ import annotations

from pathlib import Path

from public_names import MODULES, names_of

LIST = Path(__file__).parent / "public_names.txt"


def listed() -> str:
    """A line for each name of each public module."""
    names = [f"{module}.{name}" for module in MODULES for name in names_of(module)]
    return "".join(f"{name}\n" for name in sorted(names))


def test_what_is_public_is_what_the_list_says() -> None:
    """Where it is meant, the list is written anew and the change has a fragment in changes/."""
    assert listed() == LIST.read_text("utf-8")


if __name__ == "__main__":
    LIST.write_text(listed(), "utf-8")
