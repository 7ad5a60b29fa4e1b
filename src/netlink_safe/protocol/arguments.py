"""What a caller says by True or False, checked: a text such as "no" would be taken for a yes.

May call ``errors``.
"""

from __future__ import annotations

from netlink_safe.errors import LocalProtocolError


def check_truth(**given: bool) -> None:
    """Raise LocalProtocolError for the first, by its name, that is neither True nor False."""
    for name, value in given.items():
        if not isinstance(value, bool):
            raise LocalProtocolError(f"{name}={value!r} is neither True nor False")
