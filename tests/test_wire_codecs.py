"""pyroute2's codecs: found by family and command, and named in the error where there is none."""

from __future__ import annotations

from typing import Any

import pytest
from pyroute2.netlink import genlmsg

from netlink_safe.errors import LocalProtocolError
from netlink_safe.wire import pyroute2 as pyroute2_room
from netlink_safe.wire.pyroute2 import CODECS, pyroute2_codec

pytestmark = pytest.mark.anywhere

EACH = [(family, command) for family, commands in CODECS.items() for command in commands]


@pytest.mark.parametrize(("family", "command"), EACH)
def test_every_codec_of_the_table_is_there(family: str, command: int | None) -> None:
    """In the pyroute2 that is installed, for requests and for replies."""
    _, *names = CODECS[family][command]
    for reply, name in ((False, names[0]), (True, names[-1])):
        codec = pyroute2_codec(family, command, reply=reply)
        assert issubclass(codec, genlmsg)
        assert codec.__name__ == name


def test_a_family_of_one_codec_has_it_for_every_command() -> None:
    """And where requests and replies differ, a request's is given unless said."""
    assert pyroute2_codec("wireguard", 77) is pyroute2_codec("wireguard")
    assert pyroute2_codec("TASKSTATS").__name__ == "tcmd"
    assert pyroute2_codec("TASKSTATS", 1, reply=True).__name__ == "taskstatsmsg"


COMMANDS = "ethtool has one for each of the commands 1, 2, 4, 6, 9, 15, 31"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ("ethtool",),
            f"no codec of pyroute2's is known for ethtool without a command; {COMMANDS}",
        ),
        (
            ("ethtool", 99),
            f"no codec of pyroute2's is known for ethtool, command 99; {COMMANDS}",
        ),
        (
            ("nothing", 1),
            (
                "no codec of pyroute2's is known for nothing; known are IPVS, TASKSTATS, "
                "VFS_DQUOT, acpi_event, devlink, ethtool, l2tp, mptcp_pm, nl80211, nlctrl, "
                "thermal_event, wireguard"
            ),
        ),
    ],
)
def test_what_is_not_in_the_table_is_said(arguments: tuple[Any, ...], words: str) -> None:
    """With what is."""
    with pytest.raises(LocalProtocolError) as error:
        pyroute2_codec(*arguments)
    assert str(error.value) == words


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (
            ("no_such_module", "message"),
            (
                "the pyroute2 that is installed has no message for another: No module named "
                "'pyroute2.netlink.no_such_module'"
            ),
        ),
        (
            ("", "no_such_message"),
            (
                "the pyroute2 that is installed has no no_such_message for another: module "
                "'pyroute2.netlink' has no attribute 'no_such_message'"
            ),
        ),
    ],
)
def test_another_pyroute2_may_lack_a_codec(
    monkeypatch: pytest.MonkeyPatch, entry: tuple[str, ...], words: str
) -> None:
    """The error says which, and what Python said of it."""
    monkeypatch.setitem(pyroute2_room.CODECS, "another", {None: entry})
    with pytest.raises(LocalProtocolError) as error:
        pyroute2_codec("another")
    assert str(error.value) == words
    assert isinstance(error.value.__cause__, ImportError | AttributeError)
