"""Numbers out of the texts of /proc/net.

May call ``errors``.
"""

from __future__ import annotations

from netlink_safe.errors import RemoteProtocolError


def counter(text: str, prefix: str, name: str) -> int:
    """A number of snmp or netstat (names in one line, values in the next) or sockstat (in pairs).

    Raises RemoteProtocolError where it is not there.
    """
    number = numbers(text, prefix).get(name)
    if number is None:
        raise RemoteProtocolError(
            f"/proc/net says nothing of {name}; use method='dump', which needs no file"
        )
    return number


def numbers(text: str, prefix: str) -> dict[str, int]:
    """All numbers that stand behind a prefix, by name."""
    lines = [line.split()[1:] for line in text.splitlines() if line.startswith(prefix)]
    if len(lines) == 1:
        lines = [lines[0][::2], lines[0][1::2]]
    return {
        name: int(word)
        for name, word in zip(*lines[:2], strict=False)
        if word.removeprefix("-").isdecimal()
    }
