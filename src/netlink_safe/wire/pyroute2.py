"""pyroute2's codecs by family; the only file that imports pyroute2, and only when one is asked for.

Whoever has a codec class at hand gives that, and needs nothing of this.

May call ``errors``.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

from netlink_safe.errors import LocalProtocolError

_ETHTOOL: Final = "generic.ethtool"

#: By family, and by command where each has its own: module, request, and reply where it is another.
CODECS: Final[dict[str, dict[int | None, tuple[str, ...]]]] = {
    "IPVS": {None: ("generic.ipvs", "ipvsmsg")},
    "TASKSTATS": {None: ("taskstats", "tcmd", "taskstatsmsg")},
    "VFS_DQUOT": {None: ("event.dquot", "dquotmsg")},
    "acpi_event": {None: ("event.acpi_event", "acpimsg")},
    "devlink": {None: ("devlink", "devlinkcmd")},
    "ethtool": {
        1: (_ETHTOOL, "ethtool_strset_msg"),
        2: (_ETHTOOL, "ethtool_linkinfo_msg"),
        4: (_ETHTOOL, "ethtool_linkmode_msg"),
        6: (_ETHTOOL, "ethtool_linkstate_msg"),
        9: (_ETHTOOL, "ethtool_wol_msg"),
        15: (_ETHTOOL, "ethtool_rings_msg"),
        31: (_ETHTOOL, "ethtool_module_eeprom_msg"),
    },
    "l2tp": {None: ("generic.l2tp", "l2tpmsg")},
    "mptcp_pm": {None: ("generic.mptcp", "mptcp_msg")},
    "nl80211": {None: ("nl80211", "nl80211cmd")},
    "nlctrl": {None: ("", "ctrlmsg")},
    "thermal_event": {None: ("event.thermal", "thermal_msg")},
    "wireguard": {None: ("generic.wireguard", "wgmsg")},
}


def pyroute2_codec(family: str, command: int | None = None, *, reply: bool = False) -> Any:
    """pyroute2's ``genlmsg`` class for a family, and for one of its commands where they differ.

    ``command`` is a number, needed for ``ethtool`` alone; ``reply`` asks for the class that reads
    answers, where that is another one.
    Raises LocalProtocolError where pyroute2 has none, or none under the name that is known here,
    for ``ethtool`` without a command, and where pyroute2 is not installed.
    """
    commands = CODECS.get(family, {})
    entry = commands.get(command) or commands.get(None)
    if entry is None and commands:
        asked = f"{family} without a command" if command is None else f"{family}, command {command}"
        raise LocalProtocolError(
            f"no codec of pyroute2's is known for {asked}; {family} has one for each of the "
            f"commands {', '.join(map(str, commands))}"
        )
    if entry is None:
        raise LocalProtocolError(
            f"no codec of pyroute2's is known for {family}; known are {', '.join(sorted(CODECS))}"
        )
    module, *classes = entry
    name = classes[-1] if reply else classes[0]
    try:
        return getattr(import_module(f"pyroute2.netlink.{module}".rstrip(".")), name)
    except (ImportError, AttributeError) as error:
        raise LocalProtocolError(
            f"the pyroute2 that is installed has no {name} for {family}: {error}"
        ) from error
