"""Which module the kernel would load for a generic netlink family.

``net/netlink/genetlink.c``: ctrl_getfamily asks for the module by an alias of the family's name.

Calls nothing of ours.
"""

from __future__ import annotations

import contextlib
import os
from typing import Final

ALIASES: Final = "/lib/modules/{release}/modules.alias"


def family_alias(family: str) -> str:
    """The alias: protocol family 16 is netlink, and its protocol 16 is generic netlink."""
    return f"net-pf-16-proto-16-family-{family}"


def module_for(alias: str) -> str | None:
    """The module that is installed under an alias; None where none is, or where nobody can say."""
    with contextlib.suppress(OSError), open(_path(), encoding="utf-8", errors="replace") as file:
        for line in file:
            words = line.split()
            if len(words) == 3 and words[1].replace("-", "_") == alias.replace("-", "_"):
                return words[2]
    return None


def has_list_of_modules() -> bool:
    """Whether it can be said which modules are installed for the running kernel."""
    return os.access(_path(), os.R_OK)


def _path() -> str:
    return ALIASES.format(release=os.uname().release)
